"""Studies made up without training: as many candidates as a test needs, in the files that a search leaves behind.

The tests of what people look at need thousands of candidates, or none that is feasible; no search makes those in
seconds. Recipes and measurements have the shape of real ones (`task=interactions`), artifacts there are none.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from autoprune.fronts.front import Front
from autoprune.measure.measurement import RULES, SEARCH, VERIFY, Latency, Measurement
from autoprune.record.archive import TRIAL, Archive, Candidate
from autoprune.record.folder import note_machine
from autoprune.record.looks import LOOKS, Look, Looks
from autoprune.record.record import Record

SLICES = {"head": 1.4, "middle": 1.0, "tail": 0.6, "short": 0.9, "long": 1.1, "stranger": 0.95, "newcomer": 0.7}
"""Value of each slice, as a multiple of the whole."""

METRICS = {"ndcg@20": 0.11, "recall@20": 0.15}

MACHINE = {
    "id": "0123456789",
    "cpu": "made up",
    "cores": 2,
    "system": "Linux",
    "python": "3",
    "torch": "2",
    "numpy": "2",
}

IMPOSSIBLE = {"quality": {"drop": "1%"}, "size_bytes": {"max": "0.05x"}, "recall@20.tail": {"min": "1.5x"}}
"""What no candidate meets."""

UNITS = 600


def make_study(
    folder: Path,
    count: int = 40,
    *,
    verified: bool = True,
    requirements: dict[str, Any] | None = None,
    objectives: tuple[str, ...] = ("quality", "size", "latency"),
    task: str = "interactions",
    machine: str = "0123456789",
    seed: int = 0,
    space: dict[str, Any] | None = None,
    metrics: tuple[str, ...] = (),
) -> Record:
    """Writes a study of a baseline, two presets and trials, `count` in all; verifies its finalists if asked to.

    Args:
        folder: `runs/NAME`.
        metrics: the main ones, as of several benchmarks; by default the study knows of one alone.
        requirements: as in YAML; by default at most 5 % of quality and 20 % of the worst slice may go.
    """
    draw = np.random.default_rng(seed)
    definition = {
        "task": {"name": task, "metric": "ndcg@20", "dim": 64, "data": {"split": None}},
        "data": "34fea98e89a1",
        "space": space or {},
        "presets": {},
        "requirements": requirements
        if requirements is not None
        else {"quality": {"drop": "5%"}, "worst_slice": {"drop": "20%"}, "prefer": "size"},
        "study": {"seed": seed, "objectives": list(objectives), "sampler": "tpe", "device": "cpu"},
    }
    folder.mkdir(parents=True)
    overrides = [f"task={task}", "task.data.path=log.csv"]
    content: dict[str, Any] = {"definition": definition, "overrides": overrides}
    (folder / "study.yaml").write_text(yaml.safe_dump({**content, **({"metrics": list(metrics)} if metrics else {})}))
    note_machine(folder, {**MACHINE, "id": machine})
    archive = Archive(folder / "archive.jsonl")
    lines = [_candidate(number, draw, machine) for number in range(count)]
    # Written at once: a file that is synced five thousand times takes its time.
    archive.path.write_text("".join(json.dumps(one.to_json()) + "\n" for one in lines))
    if verified:
        archive = Archive(archive.path)
        for point in Front(Record(folder, archive)).finalists:
            archive.add(_verified(point.candidate, draw, machine))
    return Record(folder)


def add_looks(record: Record, count: int = 60, *, seed: int = 0) -> Record:
    """The same study with looks: one at each candidate, exact to 0.004x, then others, every tenth of which failed.

    Half of the others are beyond the front of what was measured, none is trained but the last, which is half way.
    """
    draw = np.random.default_rng(seed)
    baseline, *made = (point.candidate for point in record.points)
    dense = baseline.latest()
    known = [
        Look(
            number=one.number,
            key=one.key,
            recipe=one.recipe,
            summary=one.summary,
            units=200,
            quality={"ndcg@20": {"all": one.latest().quality["ndcg@20"]["all"] + 0.004 * 0.11 * (one.number % 2)}},
            counts={"ndcg@20": {"all": 200}} if not one.number else {},
            size_bytes=one.latest().size_bytes,
            products=1000,
        )
        for one in [baseline, *made]
        if one.latest().quality
    ]
    others = [
        Look(
            number=1000 + at,
            key=f"look{at}",
            recipe={"prune": {"rows": {"sparsity": {"item": at / count}}, "epochs": 0}},
            summary=f"rows item -{at / count:.0%}",
            of_epochs=8 * (at == count - 1),
            epochs=4 * (at == count - 1),
            **(
                {"failed": "ndcg@20 is nan"}
                if at % 10 == 5
                else {
                    "units": 200,
                    "quality": {"ndcg@20": {"all": 0.11 * (1.02 - 0.1 * (at / count) ** 2 - 0.05 * (at % 2))}},
                    "size_bytes": int(dense.size_bytes * 0.05 * (1 - at / count) + 100),
                    "products": 900,
                }
            ),
        )
        for at in draw.permutation(count).tolist()
    ]
    Looks(record.folder / LOOKS).add(*known, *others)
    return Record(record.folder)


def scattered(record: Record, missing: int, *, seed: int = 0) -> Record:
    """The same study as several evaluations at a time and a kill would leave it.

    The baseline comes first, the others in any order, and a number was given to a candidate that never arrived.
    """
    baseline, *others = record.archive.candidates.values()
    kept = [candidate for candidate in others if candidate.number != missing]
    order = [baseline, *(kept[at] for at in np.random.default_rng(seed).permutation(len(kept)))]
    record.archive.path.write_text("".join(json.dumps(candidate.to_json()) + "\n" for candidate in order))
    return Record(record.folder)


def make_kinds(folder: Path) -> Path:
    """Writes a study of each kind that people look at, by its name; returns the folder."""
    make_study(folder / "verified", seed=2)  # one whose front loses a point, and has no baseline
    make_study(folder / "raw", verified=False)
    make_study(folder / "none", requirements=IMPOSSIBLE)
    make_study(folder / "one", 1)
    make_study(folder / "long", 600, requirements={}, verified=False)
    return folder


def _candidate(number: int, draw: np.random.Generator, machine: str) -> Candidate:
    name = ("baseline", "int8", "half_dims")[number] if number < 3 else TRIAL
    bits = int(draw.choice([4, 8, 32]))
    sparsity = round(float(draw.uniform(0, 0.9)), 2)
    share = (bits / 32) * (1 - sparsity) if number else 1.0
    size = max(1, int(2_500_000 * share))
    # Smaller is worse, with luck: a front with a bend.
    kept = 1.0 - 0.02 * float(np.log2(1 / share)) ** 1.3 + float(draw.normal(0, 0.02)) if number else 1.0
    ratio = (
        (0.5 + 0.5 * (1 - sparsity)) * (1.3 if bits < 32 else 1.0) * float(draw.uniform(0.95, 1.05)) if number else 1.0
    )
    recipe: dict[str, Any] = {
        "base": {"dim": int(draw.choice([16, 32, 64]))},
        "prune": {"rows": {"sparsity": {"item": sparsity, "user": 0.0}}, "epochs": int(draw.choice([0, 5, 20]))},
        "encode": {"method": {"quantize": {"bits": bits}} if bits < 32 else {"none": {}}},
    }
    rejected = "size_bytes <= 0.02x" if number > 2 and share < 0.02 else ""
    found = Measurement(
        split=None if rejected else "validation",
        purpose=SEARCH,
        rules=RULES,
        machine=machine,
        quality={} if rejected else _quality(max(kept, 0.05), draw),
        units={} if rejected else {metric: dict.fromkeys(["all", *SLICES], UNITS) for metric in METRICS},
        size_bytes=size,
        memory_bytes=size + 33_000,
        structure=f"structure-{sparsity}-{bits}",
        latency={"single": _latency(0.16, ratio), "batch": _latency(30.0, ratio * 0.9)},
        errors={} if rejected else _errors(number, draw),
    )
    return Candidate(
        number=number,
        name=name,
        key=f"{number:012x}",
        recipe=recipe if number else {},
        summary=f"dim {recipe['base']['dim']}, rows item -{sparsity:.0%}, {bits} bits" if number else "",
        rejected=rejected,
        measurements=(found,),
        seconds=round(float(draw.uniform(1, 9)), 3),
    )


def _verified(candidate: Candidate, draw: np.random.Generator, machine: str) -> Candidate:
    """Test data are a little harder, and tell another story about each candidate."""
    searched = candidate.latest()
    luck = float(draw.normal(0, 0.01)) if candidate.number else 0.0
    quality = {
        metric: {part: value * 0.8 * (1 + luck) for part, value in parts.items()}
        for metric, parts in searched.quality.items()
    }
    latency = {}
    for name, timed in searched.latency.items():
        factors = draw.normal(1, 0.02, size=5) if candidate.number else np.ones(5)
        rounds = tuple(timed.ratio * float(factor) for factor in factors)
        latency[name] = dataclasses.replace(timed, ratio=float(np.exp(np.mean(np.log(rounds)))), rounds=rounds)
    ratio = quality["ndcg@20"]["all"] / (METRICS["ndcg@20"] * 0.8)
    draws = tuple(
        round(ratio + float(noise), 5) for noise in draw.normal(0, 0.008 if candidate.number else 0.0, size=500)
    )
    made = dataclasses.replace(
        searched, split="test", purpose=VERIFY, machine=machine, quality=quality, latency=latency, draws=draws
    )
    return candidate.with_measurement(made)


def _quality(kept: float, draw: np.random.Generator) -> dict[str, dict[str, float]]:
    exact = kept == 1.0
    return {
        metric: {
            "all": value * kept,
            **{
                part: value * times * kept * (1.0 if exact else float(draw.normal(1, 0.03)))
                for part, times in SLICES.items()
            },
        }
        for metric, value in METRICS.items()
    }


def _errors(number: int, draw: np.random.Generator) -> dict[str, float]:
    names = [f"{metric}{'' if part == 'all' else '.' + part}" for metric in METRICS for part in ["all", *SLICES]]
    return {name: float(draw.uniform(0.006, 0.02)) if number else 0.0 for name in [*names, "worst_slice"]}


def _latency(baseline_ms: float, ratio: float) -> Latency:
    return Latency(
        median_ms=baseline_ms * ratio,
        p95_ms=baseline_ms * ratio * 1.2,
        ratio=ratio,
        ratio_low=ratio * 0.99,
        ratio_high=ratio * 1.01,
        pairs=200,
    )
