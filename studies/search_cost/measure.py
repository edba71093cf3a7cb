"""How long a search takes to find what a plain Optuna loop finds in 100 trials, from the trained dense model on.

    .venv/bin/python studies/search_cost/measure.py OUT --task movielens
    .venv/bin/python studies/search_cost/measure.py OUT --task interactions --data FOLDER

Both sides have the same space, the same dense model (each trains it before its clock starts) and the same data, and
judge by the same numbers: NDCG@20 of all validation users that a look asks, bytes of what would ship. Arms take turns
within a seed.

    plain      Optuna 5, TPE (multivariate, group) on NDCG and log2 bytes with the floor as a constraint; a recipe is
               trained as it says, scored in memory, never saved; equal recipes are not made twice; all cores
    random     the same loop, drawing at random
    search     this project's search, scan and training, as `autoprune` runs it
    scan       400 looks of its scan, and no training
    …          the scan without one of its ideas; no_scan: training alone
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import optuna

from autoprune.artifacts import artifact
from autoprune.artifacts.served import serve
from autoprune.config.compose import compose_config
from autoprune.config.sections import sections
from autoprune.models.model import Model
from autoprune.recipes.domain import Domain
from autoprune.recipes.recipe import digest, plan
from autoprune.recipes.space import Space
from autoprune.recipes.stages import run, run_stage
from autoprune.record.looks import LOOKS, Looks
from autoprune.study.definition import Definition, make_task
from autoprune.study.evaluation.evaluate import Evaluator
from autoprune.study.job import run_study, study_config
from autoprune.study.progress.progress import Watching

FLOOR = 0.9
"""The ratio of quality below which nothing counts."""

KEPT, SMALLER = 0.95, 25
"""What a search should have found within minutes: so much quality kept, and so many times smaller."""

FORMS: dict[str, list[str]] = {
    "search": [],
    "scan": ["study.looks=400", "study.trials=0"],
    "one_process": ["study.looks=400", "study.trials=0", "study.workers=1"],
    "drawn": ["study.looks=400", "study.trials=0", "study.sampler=random"],
    "no_scan": ["study.looks=0", "study.trials=100"],
}
"""The search, and the search without one of its ideas: overrides of each."""

Curve = list[tuple[float, float]]
"""Seconds since the dense model was there, and the hypervolume by then."""


def main() -> None:
    """Runs what is not there yet, an arm after the other, and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--task", default="movielens")
    parser.add_argument("--data", type=Path, help="of task=interactions")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(5)))
    parser.add_argument("--trials", type=int, default=100, help="of the plain loop")
    parser.add_argument("--arms", nargs="*", default=["plain", "random", *FORMS])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        overrides = [f"task={arguments.task}", "presets=none", "study.objectives=[quality,size]"]
        overrides += ["requirements=none", f"requirements.quality.drop={1 - FLOOR:.0%}"]  # as the plain loop is told
        overrides += [f"study.seed={seed}", "study.verify_rounds=0"]
        overrides += [f"task.data.path={arguments.data}"] if arguments.data else []
        for arm in arguments.arms:
            name = f"{arguments.task}-{seed}-{arm}"
            if (arguments.out / f"{name}.csv").exists():
                continue
            # Each has a folder of its own, so that none finds what another one has trained.
            asked = [*overrides, f"study.dir={arguments.out / name}", f"study.name={name}"]
            if arm in FORMS:
                curve = searched(asked + FORMS[arm])
            else:
                curve = looped(asked, trials=arguments.trials, seed=seed, random=arm == "random")
            with (arguments.out / f"{name}.csv").open("w") as file:
                csv.writer(file).writerows([("seconds", "hypervolume"), *curve])
            print(f"{name}: {curve[-1][0]:.0f} s, hypervolume {curve[-1][1]:.3f}", flush=True)
    if "plain" in arguments.arms:
        compare(arguments.out, arguments.task, arguments.seeds, arguments.arms)


def searched(overrides: Sequence[str]) -> Curve:
    """Runs the search; its curve counts looks, which are taken of the same users as the plain loop's scores."""
    taken: list[tuple[float, int]] = []
    folder: list[Path] = []

    def count(_: object) -> None:
        for path in folder:
            taken.append((time.monotonic(), path.read_bytes().count(b"\n") if path.exists() else 0))

    content = sections(compose_config(overrides))
    config = study_config(content)
    folder.append(Path(config.dir) / str(config.name) / LOOKS)
    begun: list[float] = []

    def report(progress: Any) -> None:
        if progress.latest.number == 0:
            begun.append(time.monotonic())

    run_study(content, overrides, watch=Watching(report=report, expect=count))
    looks = list(Looks(folder[0]).found.values())
    if not looks:
        return [(0.0, 0.0)]
    start, dense = begun[0], looks[0]
    metric = str(content["task"].get("metric", "ndcg@20"))
    points = [_gains(look.value(metric) / dense.value(metric), look.size_bytes / dense.size_bytes) for look in looks]
    return [(round(at - start, 2), volume(points[:many])) for at, many in taken]


def looped(overrides: Sequence[str], *, trials: int, seed: int, random: bool) -> Curve:
    """What an engineer writes in an afternoon with Optuna."""
    content = sections(compose_config(overrides))
    task = make_task(content["task"])
    evaluator = Evaluator(Definition.of_sections(content, study_config(content), task), task)
    space, bases = Space(content["space"]), dict[str, Model]()
    known: dict[str, tuple[float, int]] = {}

    def measured(recipe: dict[str, Any]) -> tuple[float, int]:
        made = plan(recipe, base_defaults=task.base, runtimes=task.runtimes)
        if made.key not in known:
            base = digest(made.base)
            if base not in bases:
                dense = plan({"base": made.base}, base_defaults=task.base)
                bases[base] = run(dense, task, evaluator.context, trainer=evaluator.trainer, store=evaluator.store)
            model = bases[base]
            for stage in made.stages:
                model = run_stage(
                    model, stage, task, evaluator.context, trainer=evaluator.trainer, key=digest(made.base)
                )
            parts = task.parts(model, made.runtime)
            quality = task.metrics[task.metric](task.look(serve(parts)))
            known[made.key] = quality, artifact.weighed(parts)
        return known[made.key]

    before = measured({})
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        directions=["maximize", "minimize"],
        sampler=optuna.samplers.RandomSampler(seed=seed)
        if random
        else optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True),
    )
    start, points, curve = time.monotonic(), list[list[float]](), Curve()
    for _ in range(trials):
        trial = study.ask()
        recipe = space.resolve(lambda domain: _suggest(trial, domain))  # noqa: B023  # called at once
        quality, size = measured(recipe)
        trial.set_constraint("quality", FLOOR - quality / before[0])
        study.tell(trial, [quality / before[0], math.log2(size)])
        points.append(_gains(quality / before[0], size / before[1]))
        curve.append((round(time.monotonic() - start, 2), volume(points)))
    return curve


def _suggest(trial: optuna.Trial, domain: Domain) -> Any:
    if domain.options:
        return trial.suggest_categorical(domain.path, domain.options)
    if domain.kind == "int":
        return trial.suggest_int(domain.path, int(domain.low), int(domain.high), step=int(domain.step or 1))
    return round(trial.suggest_float(domain.path, domain.low, domain.high, step=domain.step), 10)


def _gains(quality: float, size: float) -> list[float]:
    """What counts of a recipe: the share of the allowed loss that it leaves, and doublings smaller."""
    return [max(0.0, (quality - FLOOR) / (1 - FLOOR)), max(0.0, -math.log2(size))]


def volume(points: Sequence[Sequence[float]]) -> float:
    """The area that points cover."""
    return float(moocore.hypervolume(np.asarray(points), ref=[0.0, 0.0], maximise=True)) if points else 0.0


def compare(out: Path, task: str, seeds: Sequence[int], arms: Sequence[str]) -> None:
    """For each arm: how much sooner it has what the plain loop has in the end, seed by seed."""
    curves = {(arm, seed): read(out / f"{task}-{seed}-{arm}.csv") for arm in arms for seed in seeds}
    rows = []
    for arm in arms:
        factors = []
        for seed in seeds:
            took, wanted = curves["plain", seed][-1]
            reached = next((at for at, area in curves[arm, seed] if area >= wanted), math.inf)
            factors.append(took / max(reached, 0.01))
        ends = [curves[arm, seed][-1] for seed in seeds]
        quarter = sorted(factors)[len(factors) // 4]
        rows.append(
            (
                arm,
                f"{statistics.median(factors):.1f}",
                f"{quarter:.1f}",
                " ".join(f"{factor:.1f}" for factor in factors),
                f"{statistics.median(area for _, area in ends):.2f}",
                f"{statistics.median(at for at, _ in ends):.0f}",
            )
        )
    header = ("arm", "times_sooner", "lower_quartile", "by_seed", "hypervolume_in_the_end", "seconds")
    with (out / f"{task}.csv").open("w") as file:
        csv.writer(file).writerows([header, *rows])
    print("\n".join("  ".join(f"{cell:>15}" for cell in row) for row in [header, *rows]))
    for arm, seed in itertools.product([arm for arm in arms if arm in FORMS], seeds):
        name = f"{task}-{seed}-{arm}"
        first, most = smaller(out / name / name / LOOKS)
        print(f"{name}: {SMALLER}x smaller at {KEPT}x since look {first}, in the end {most:.0f}x")


def smaller(path: Path) -> tuple[int | None, float]:
    """The first look of a search at what keeps `KEPT` and is `SMALLER` times smaller, and how much smaller any is."""
    dense, *looks = Looks(path).found.values()
    metric = next(iter(dense.quality))
    shares = [
        dense.size_bytes / look.size_bytes if look.value(metric) >= KEPT * dense.value(metric) else 0.0
        for look in looks
        if not look.failed
    ]
    first = next((at for at, share in enumerate(shares, start=1) if share >= SMALLER), None)
    return first, max(shares, default=0.0)


def read(path: Path) -> Curve:
    """A curve that was written."""
    with path.open() as file:
        return [(float(row["seconds"]), float(row["hypervolume"])) for row in csv.DictReader(file)]


if __name__ == "__main__":
    main()
