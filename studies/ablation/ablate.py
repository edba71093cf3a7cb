"""What each method is worth: the hypervolume that a search of equal budget loses without it.

Runs the same search of MovieLens (objectives quality and size, quality at most 10 % below the baseline) over the
whole table space and over the space without one method after the other, each under several seeds, and writes one row
a search to searches.csv. Single searches of a small budget differ a good deal by luck, so a second table, pooled.csv,
takes all candidates of a seed together and tells what their front loses without those that use a method.

    .venv/bin/python studies/ablation/ablate.py --jobs 2
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from autoprune.fronts.front import Front
from autoprune.fronts.pareto import hypervolume
from autoprune.recipes.recipe import Plan, plan
from autoprune.record.record import Record
from autoprune.steps.coded import Coded

FLOOR = 0.9
"""Of the baseline's quality: what every search must keep."""

SPACES: dict[str, list[str]] = {
    "everything": [],
    "without magnitude": ["~space.prune.method.choose.magnitude"],
    "without dims": ["~space.prune.method.choose.dims"],
    "without rows": ["~space.prune.rows"],
    "without l1": ["~space.prune.l1"],
    "without cubic": ["space.prune.schedule.any_of=[one_shot,iterative]"],
    "without iterative": ["space.prune.schedule.any_of=[one_shot,cubic]"],
    "without quantize": ["~space.encode.method.choose.quantize"],
    "without mixed": ["~space.encode.method.choose.mixed"],
    "without product": ["~space.encode.method.choose.product"],
    "without training on codes": ["space.encode.epochs=0"],
    "without smaller dense models": ["space.base.dim=64"],
    "without fine-tuning": ["space.prune.epochs=0", "space.encode.epochs=0"],
}

USES: dict[str, Callable[[Plan], bool]] = {
    **{
        name: lambda plan, name=name: any(step.name == name for stage in plan.stages for step in stage.steps)
        for name in ("magnitude", "dims", "rows", "l1", "quantize", "mixed", "product")
    },
    "cubic": lambda plan: any(stage.schedule == "cubic" for stage in plan.stages),
    "iterative": lambda plan: any(stage.rounds for stage in plan.stages),
    "training on codes": lambda plan: any(
        stage.epochs and any(isinstance(step, Coded) for step in stage.steps) for stage in plan.stages
    ),
    "smaller dense models": lambda plan: bool(plan.base),
    "fine-tuning": lambda plan: any(stage.epochs for stage in plan.stages),
}
"""Whether a plan makes use of a method."""

CONF = Path(__file__).parent / "conf"
"""Holds the space of every method, `whole`."""


def search(name: str, seed: int, overrides: list[str], runs: Path) -> tuple[float, int, float]:
    """One search in a process of its own: hypervolume, points on the front, the smallest size ratio on it."""
    own = [f"study.name={name.replace(' ', '_')}-{seed}", f"study.seed={seed}", f"study.dir={runs}"]
    with tempfile.TemporaryDirectory() as scratch:
        # Latency is no objective here: with a lock of its own no search waits for another's clock.
        ended = subprocess.run(
            [sys.executable, "-m", "autoprune", f"--config-dir={CONF}", "space=whole", *overrides, *SPACES[name], *own],
            env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": scratch},
            capture_output=True,
            text=True,
        )
    if ended.returncode:
        raise SystemExit(f"{name}, seed {seed}:\n{ended.stderr}")
    front = Front(Record(runs / f"{name.replace(' ', '_')}-{seed}"))
    return front.hypervolume, len(front), min(point.found["size_bytes"].ratio for point in front)


def pooled(runs: Path, seed: int) -> Iterator[tuple[str, float]]:
    """The hypervolume of all candidates of a seed, and what is left of it without those that use each method."""
    found = []
    for folder in sorted(runs.glob(f"*-{seed}")):
        record = Record(folder)
        judged = Front(record).feasible
        found += [(plan(point.candidate.recipe, base_defaults={"dim": 64}), point.found) for point in judged]
    yield "everything", hypervolume([point for _, point in found], ["quality", "size"], floor=FLOOR)
    for name, uses in USES.items():
        left = [point for made, point in found if not uses(made)]
        yield f"without {name}", hypervolume(left, ["quality", "size"], floor=FLOOR)


def write_pooled(runs: Path, path: Path, seeds: int) -> None:
    """Writes one row a seed and method."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["space", "seed", "hypervolume"])
        table.writerows((name, seed, value) for seed in range(seeds) for name, value in pooled(runs, seed))


def main() -> None:
    """Runs every search, resuming those that were stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50, help="recipes of each search (default 50)")
    parser.add_argument("--seeds", type=int, default=3, help="searches of each space (default 3)")
    parser.add_argument("--jobs", type=int, default=1, help="searches at a time (default 1)")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"), help="where the studies lie")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the tables go")
    parser.add_argument("overrides", nargs="*", default=["task=movielens"], help="the task (default task=movielens)")
    asked = parser.parse_args()
    overrides = [*asked.overrides, "presets=none", "requirements=none", f"requirements.quality.drop={1 - FLOOR:.0%}"]
    overrides += ["study.objectives=[quality,size]", "study.latency_seconds=0.01", f"study.trials={asked.trials}"]
    jobs = [(name, seed) for seed in range(asked.seeds) for name in SPACES]
    with ThreadPoolExecutor(asked.jobs) as pool, (asked.out / "searches.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["space", "seed", "hypervolume", "points", "smallest_ratio"])
        running = {pool.submit(search, name, seed, overrides, asked.runs): (name, seed) for name, seed in jobs}
        for done in as_completed(running):
            table.writerow([*running[done], *done.result()])
            file.flush()
            print(*running[done], *done.result(), flush=True)
    write_pooled(asked.runs, asked.out / "pooled.csv", asked.seeds)


if __name__ == "__main__":
    main()
