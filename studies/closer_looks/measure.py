"""What closer looks are worth: what a scan's finds keep of quality on all of validation, and on test data.

    .venv/bin/python studies/closer_looks/measure.py OUT --gowalla FOLDER --places 0 3000 --asked 1024 --seeds 0 1

A part of Gowalla is cut, its dense model trained once, and scanned for each seed by looks that ask `--asked` users.
Then twelve recipes are chosen: by the looks alone, by all of their front, and by closer looks at so many times twelve.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from autoprune.artifacts.served import serve
from autoprune.config.compose import compose_config
from autoprune.config.sections import sections
from autoprune.deadline import NEVER
from autoprune.fronts.pareto import hypervolume
from autoprune.fronts.promises import Promises
from autoprune.measure.reading import Reading
from autoprune.recipes.space import Space
from autoprune.recipes.stages import run
from autoprune.recommender import task as recommender
from autoprune.record.looks import Look, Looks
from autoprune.study.definition import Definition, make_task
from autoprune.study.evaluation.evaluate import Evaluator
from autoprune.study.evaluation.looker import Asked
from autoprune.study.executors.executor import Serial
from autoprune.study.job import study_config
from autoprune.study.making import MADE
from autoprune.study.sampling import finds
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.scan import Scan

FLOOR, CAREFUL = 0.95, 0.99
"""What must be kept of quality, and what a careful user asks for."""

FEWEST = 6
"""Of the places, that a user must have been at."""

TIMES = (2, 3)

OBJECTIVES = ("quality", "size")


def main() -> None:
    """Prints a line for each seed and way of choosing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="where the part, its dense model and looks are kept")
    parser.add_argument("--gowalla", type=Path, required=True, help="the folder of train.txt, valid.txt and test.txt")
    parser.add_argument("--places", type=int, nargs=2, default=[0, 3000], help="from and to which rank of visits")
    parser.add_argument("--asked", type=int, default=1024, help="users that a look asks; a closer one asks all")
    parser.add_argument("--looks", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    arguments = parser.parse_args()
    cut(arguments.gowalla, arguments.out / "data", *arguments.places)
    recommender.LOOK_USERS = recommender.LOOK_SCORES = arguments.asked
    recommender.CLOSER = 1000
    study = Study(arguments.out)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(
        ("seed", "chosen by", "looks", "made", "hold", "hypervolume", f"at {CAREFUL}x", "on test", "told too much")
    )
    for seed in arguments.seeds:
        taken = study.lookout(f"looks-{seed}-{arguments.asked}.jsonl")
        Scan(study.choices, taken, drawn=False, seed=seed, most=arguments.looks).run([{}], until=NEVER)
        ways = {"looks": (MADE, 0), "looks, all of their front": (len(taken.promises.front()), 0)}
        ways |= {f"closer looks, {times} times as many": (MADE, times) for times in TIMES}
        for name, (count, finds.TIMES) in ways.items():
            closer = study.lookout(f"closer-{seed}-{arguments.asked}.jsonl", closer=True)
            chosen = finds.Finds(taken.promises, closer if finds.TIMES else None)
            found = chosen.choose(count, beside=(), until=NEVER)
            told = closer.promises if finds.TIMES else taken.promises
            table.writerow((seed, name, len(taken.looks), *study.worth(found, told, closer)))


def cut(gowalla: Path, folder: Path, low: int, high: int) -> None:
    """Writes the part of a folder with the places of some ranks, and the users who were at enough of them."""
    splits = {path.name: [line.split() for line in path.read_text().splitlines()] for path in gowalla.glob("*.txt")}
    counts = Counter(place for line in splits["train.txt"] for place in line[1:])
    kept = {place for place, _ in counts.most_common()[low:high]}
    parts = {
        name: {line[0]: [place for place in line[1:] if place in kept] for line in lines if line}
        for name, lines in splits.items()
    }
    users = [user for user, places in parts["train.txt"].items() if len(places) >= FEWEST]
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        (folder / name).write_text("".join(f"{user} {' '.join(part[user])}\n" for user in users if part.get(user)))


class Study:
    """Who looks at recipes of the part."""

    def __init__(self, out: Path) -> None:
        overrides = ["task=interactions", f"task.data.path={out / 'data'}", f"study.dir={out}", "study.name=closer"]
        overrides += [f"requirements.quality.drop={1 - FLOOR:.0%}", f"study.objectives=[{','.join(OBJECTIVES)}]"]
        content = sections(compose_config(overrides))
        self._out, self._task = out, make_task(content["task"])
        self._evaluator = Evaluator(Definition.of_sections(content, study_config(content), self._task), self._task)
        self.choices = Choices(Space(content["space"]), base=self._task.base)
        self._known: dict[str, float] = {}  # quality on test, by key of the plan
        self._dense = self._quality({})

    def lookout(self, name: str, *, closer: bool = False) -> Lookout:
        """Over a file of looks, which may be there from before."""
        looks = Looks(self._out / name)
        if looks.dense is None:
            looks.keep(self._evaluator.look(Asked(number=0, recipe={}, closer=closer)))
        assert looks.dense is not None, "it was just taken"
        promises = Promises(
            looks.dense,
            baseline=looks.dense.measurement(),
            metrics=self._task.main_metrics,
            requirements=self._evaluator.requirements,
            objectives=OBJECTIVES,
        )
        return Lookout(self._evaluator, Serial(), looks, promises, closer=closer)

    def worth(self, found: Sequence[Look], told: Promises, closer: Lookout) -> tuple[Any, ...]:
        """How many were made and hold, their hypervolume, the smallest of the careful, the hypervolume on test.

        And how far above that of all users the quality was by which they were chosen, in the mean.
        """
        looks = closer.take([look.recipe for look in found], until=NEVER)
        known = [closer.promises.readings(look) for look in looks if look is not None]
        held = [at for at, one in enumerate(known) if one["quality"].ratio >= FLOOR]
        careful = [1 / known[at]["size_bytes"].ratio for at in held if known[at]["quality"].ratio >= CAREFUL]
        tests = [{**known[at], "quality": Reading(0.0, self._quality(found[at].recipe) / self._dense)} for at in held]
        volumes = [hypervolume(front, OBJECTIVES, floor=FLOOR) for front in ([known[at] for at in held], tests)]
        smallest = f"{max(careful):.1f}" if careful else "none"
        pairs = zip(found, known, strict=True)
        gap = mean(told.readings(look)["quality"].ratio - one["quality"].ratio for look, one in pairs)
        return len(found), len(held), f"{volumes[0]:.3f}", smallest, f"{volumes[1]:.3f}", f"{gap:.3f}"

    def _quality(self, recipe: dict[str, Any]) -> float:
        made, evaluator = self._evaluator.plan(recipe), self._evaluator
        if made.key not in self._known:
            model = run(made, self._task, evaluator.context, trainer=evaluator.trainer, store=evaluator.store)
            rows = self._task.score(serve(self._task.parts(model, made.runtime)), "test")
            self._known[made.key] = self._task.metrics[self._task.metric](rows)
        return self._known[made.key]


if __name__ == "__main__":
    main()
