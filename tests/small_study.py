"""A study of seven candidates, each written down by hand: what a test says of it can be counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml

from autoprune.measure.measurement import RULES, Latency, Measurement
from autoprune.record.archive import Archive, Candidate
from autoprune.record.record import Record

OVERRIDES = ["task=interactions", "task.data.path=/srv/me/films", "study.trials=90", "study.dir=/srv/me/runs"]


def measured(quality: float, size_bytes: int, ratio: float, *, purpose: str = "search") -> Measurement:
    timing = Latency(median_ms=ratio, p95_ms=2.0, ratio=ratio, ratio_low=ratio, ratio_high=ratio, pairs=15)
    return Measurement(
        split="validation" if purpose == "search" else "test",
        purpose=purpose,
        rules=RULES,
        machine="here",
        quality={"ndcg@20": {"all": quality, "tail": quality / 2}},
        units={"ndcg@20": {"all": 200, "tail": 150}},
        size_bytes=size_bytes,
        memory_bytes=size_bytes,
        structure="s",
        latency={"single": timing},
    )


def candidate(number: int, name: str, *measurements: Measurement, rejected: str = "") -> Candidate:
    return Candidate(
        number=number,
        name=name,
        key=f"key{number}",
        recipe={"quantize": {"bits": 8}} if number else {},
        summary=f"summary {number}" if number else "dense",
        rejected=rejected,
        measurements=measurements,
        seconds=1.0,
    )


def record(folder: Path, candidates: list[Candidate], *, drop: str = "10%") -> Record:
    folder.mkdir(parents=True, exist_ok=True)
    definition = {
        "task": {"name": "interactions", "metric": "ndcg@20", "titles": "/srv/me/titles.txt"},
        "data": "0123456789ab",
        "space": {},
        "presets": {},
        "requirements": {"quality": {"drop": drop}},
        "study": {"seed": 0, "objectives": ["quality", "size", "latency"], "device": "cpu"},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump({"definition": definition, "overrides": OVERRIDES}))
    archive = Archive(folder / "archive.jsonl")
    for one in candidates:
        archive.add(one)
    return Record(folder)


def many() -> list[Candidate]:
    """Baseline, two presets (one on the front), two trials on the front, one infeasible, one rejected."""
    rejected = dataclasses.replace(measured(0.5, 10, 1.0), quality={}, units={}, split=None)
    return [
        candidate(0, "baseline", measured(0.5, 1000, 1.0)),
        candidate(1, "int8", measured(0.49, 260, 1.5)),
        candidate(2, "bad", measured(0.3, 300, 1.6)),
        candidate(3, "trial", measured(0.48, 100, 1.2)),
        candidate(4, "trial", measured(0.46, 50, 1.1)),
        candidate(5, "trial", measured(0.1, 40, 1.0)),
        candidate(6, "trial", rejected, rejected="size_bytes <= 0.1x"),
    ]


def verified(candidates: list[Candidate], *, rounds: tuple[float, ...] = (), error: float = 0.0) -> list[Candidate]:
    """The finalists of `many`, measured again: all lose a little, candidate 4 too much.

    Args:
        rounds: what each round of timing found, as multiples of the ratio.
        error: standard error of the ratio of quality.
    """
    test = {0: 0.4, 1: 0.39, 2: 0.2, 3: 0.38, 4: 0.3}
    return [
        one.with_measurement(
            dataclasses.replace(
                measured(test[one.number], one.latest().size_bytes, 1.3, purpose="verify"),
                latency={
                    "single": dataclasses.replace(
                        one.latest().latency["single"],
                        median_ms=2.0,
                        rounds=[one.latest().latency["single"].ratio * times for times in rounds if one.number],
                    )
                },
                errors={"ndcg@20": error} if error and one.number else {},
            )
        )
        if one.number in test
        else one
        for one in candidates
    ]
