"""What users keep who have no row: quality by how their vectors are found, against that of their own rows.

    .venv/bin/python studies/strangers/measure.py OUT --task movielens
    .venv/bin/python studies/strangers/measure.py OUT --task interactions --data FOLDER

Of a trained dense model 99 % of the users lose their row; nothing else is changed. All are asked what they are asked in
a search, and are served from the training data, on validation and on test.
"""

from __future__ import annotations

import argparse
import copy
import csv
import sys
import time
from pathlib import Path

from autoprune.artifacts.served import serve
from autoprune.config.compose import compose_config
from autoprune.config.sections import sections
from autoprune.models.model import Model
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run, run_stage
from autoprune.recommender import strangers
from autoprune.recommender.model import Factorization
from autoprune.recommender.served import Recommender
from autoprune.recommender.task import RecommenderTask
from autoprune.study.definition import Definition, make_task
from autoprune.study.evaluation.evaluate import Evaluator
from autoprune.study.job import study_config

GONE = {"rows": {"sparsity": {"user": 0.99}}}

SPLITS = ("validation", "test")


def main() -> None:
    """Prints a line for each way and split."""
    parser = asking(__doc__)
    parser.add_argument("--step", type=float, default=strangers.STEP, help="how far users go along the slope")
    parser.add_argument("--steps", type=int, default=4, help="how many along the slope, at most")
    parser.add_argument("--ridges", type=float, nargs="+", default=[4.0, 6.0, 8.0])
    arguments = parser.parse_args()
    strangers.STEP = arguments.step
    task, evaluator, dense = trained(arguments)
    pruned = without_users(dense, task, evaluator, epochs=0)
    ways = {"regression (alpha 0, ridge 0.5)": {"alpha": 0.0, "ridge": 0.5}}
    for ridge in arguments.ridges:
        known = {"ridge": ridge, "temperature": task.config.temperature}
        ways |= {f"ridge {ridge}, {steps} steps": {**known, "steps": steps} for steps in range(arguments.steps + 1)}
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("users are found by", *SPLITS, "seconds"))
    own = [quality(task, dense, split) for split in SPLITS]
    for name, fold_in in ways.items():
        model = copy.deepcopy(pruned)
        model.fold_in = fold_in
        start = time.monotonic()
        kept = [quality(task, model, split) / one for split, one in zip(SPLITS, own, strict=True)]
        table.writerow((name, *(f"{share:.3f}" for share in kept), f"{time.monotonic() - start:.1f}"))


def asking(description: str | None) -> argparse.ArgumentParser:
    """What says which task, and where its dense model is kept."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="where the dense model is kept")
    parser.add_argument("--task", default="movielens")
    parser.add_argument("--data", type=Path, help="of task=interactions")
    parser.add_argument("--set", nargs="*", default=[], help="of the task, such as task.temperature=0.1")
    return parser


def trained(arguments: argparse.Namespace) -> tuple[RecommenderTask, Evaluator, Model]:
    """The task, what makes its models, and the dense one."""
    overrides = [f"task={arguments.task}", f"study.dir={arguments.out}", "study.name=strangers", "presets=none"]
    overrides += [f"task.data.path={arguments.data}"] if arguments.data else []
    content = sections(compose_config([*overrides, *arguments.set]))
    task = make_task(content["task"])
    assert isinstance(task, RecommenderTask), "users have rows in a recommender"
    evaluator = Evaluator(Definition.of_sections(content, study_config(content), task), task)
    empty = plan({}, base_defaults=task.base)
    return task, evaluator, run(empty, task, evaluator.context, trainer=evaluator.trainer, store=evaluator.store)


def without_users(dense: Model, task: RecommenderTask, evaluator: Evaluator, *, epochs: int) -> Factorization:
    """The dense model without most users, its items trained on for so many epochs."""
    recipe = plan({"prune": {**GONE, "schedule": "one_shot", "epochs": epochs}}, base_defaults=task.base)
    made = dense
    for stage in recipe.stages:
        made = run_stage(made, stage, task, evaluator.context, trainer=evaluator.trainer, key="")
    assert isinstance(made, Factorization), "as its task makes it"
    return made


def quality(task: RecommenderTask, model: Factorization, split: str) -> float:
    """The main metric of all users of a split."""
    served = serve(task.parts(model))
    assert isinstance(served, Recommender), "as its artifact says"
    return task.metrics[task.metric](task.score(served, split))


if __name__ == "__main__":
    main()
