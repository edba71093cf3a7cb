"""What codes of few bits keep of a recommender's quality, and the bytes that they take.

    .venv/bin/python studies/codes/measure.py OUT --task movielens
    .venv/bin/python studies/codes/measure.py OUT --task interactions --data FOLDER

A dense model is trained and kept in OUT. Its tables are coded in each way, nothing is trained further, and all users
are asked what they are asked in a search, on validation and on test.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Parts, serve
from autoprune.config.compose import compose_config
from autoprune.config.sections import sections
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run, run_stage
from autoprune.recommender.served import Recommender
from autoprune.recommender.task import RecommenderTask
from autoprune.study.definition import Definition, make_task
from autoprune.study.evaluation.evaluate import Evaluator
from autoprune.study.job import study_config

SPLITS = ("validation", "test")

WIDTHS = {"even": (8, 4, 3, 2, 1), "normal": (4, 3, 2, 1.6, 1)}

RATES = {"even": (5.0, 4.0, 3.4, 3.0, 2.7, 2.4, 2.1, 1.8), "normal": (3.4, 3.0, 2.7, 2.4, 2.1, 1.8)}

PAIRS = {"even": ((8, 4), (4, 2), (4, 1)), "normal": ((8, 4), (4, 2), (4, 1.6), (4, 1))}


def ways() -> dict[str, dict[str, Any]]:
    """The steps, by what a line is called."""
    found: dict[str, dict[str, Any]] = {}
    for levels, widths in WIDTHS.items():
        for bits in widths:
            found[f"{bits} bits, {levels}"] = {"quantize": {"bits": bits, "levels": levels}}
    for levels, rates in RATES.items():
        for rate in rates:
            found[f"{rate} bits in the mean, {levels}"] = {
                "quantize": {"bits": rate, "levels": levels, "entropy": True}
            }
    for rate in RATES["even"]:
        weighed = {"bits": rate, "by_frequency": {"item": 1.0}, "entropy": True}
        found[f"{rate} bits in the mean, even, by frequency"] = {"quantize": weighed}
    for levels, pairs in PAIRS.items():
        for head, tail in pairs:
            mixed = {"head": 0.3, "head_bits": head, "tail_bits": tail, "levels": levels}
            found[f"30% of rows {head} bits, others {tail}, {levels}"] = {"mixed": mixed}
    for width in (2, 4):
        found[f"product, {width} dimensions a byte"] = {"product": {"width": width}}
        found[f"product, {width} dimensions a byte, lengths"] = {"product": {"width": width, "lengths": True}}
    return found


def main() -> None:
    """Prints a line for each way of coding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="where the dense model is kept")
    parser.add_argument("--task", default="movielens")
    parser.add_argument("--data", type=Path, help="of task=interactions")
    parser.add_argument("--only", default="", help="what the names of ways must hold, such as mean")
    arguments = parser.parse_args()
    overrides = [f"task={arguments.task}", f"study.dir={arguments.out}", "study.name=codes", "presets=none"]
    overrides += [f"task.data.path={arguments.data}"] if arguments.data else []
    content = sections(compose_config(overrides))
    task = make_task(content["task"])
    assert isinstance(task, RecommenderTask), "whose users and items have tables"
    evaluator = Evaluator(Definition.of_sections(content, study_config(content), task), task)
    dense = run(
        plan({}, base_defaults=task.base), task, evaluator.context, trainer=evaluator.trainer, store=evaluator.store
    )
    whole = task.parts(dense)
    own = {split: quality(task, whole, split) for split in SPLITS}
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("codes", *SPLITS, "bytes", "times smaller", "entropy-coded", "times smaller"))
    for name, step in ways().items():
        if arguments.only not in name:
            continue
        (stage,) = plan({"encode": step}, base_defaults=task.base).stages
        model = run_stage(dense, stage, task, evaluator.context, trainer=evaluator.trainer, key="")
        model.entropy = False
        parts = task.parts(model)
        kept = [f"{quality(task, parts, split) / own[split]:.3f}" for split in SPLITS]
        model.entropy = True
        sizes = [artifact.weighed(parts), artifact.weighed(task.parts(model))]
        bytes_of = [cell for size in sizes for cell in (size, f"{artifact.weighed(whole) / size:.2f}")]
        table.writerow((name, *kept, *bytes_of))
        sys.stdout.flush()


def quality(task: RecommenderTask, parts: Parts, split: str) -> float:
    """The main metric of all users of a split."""
    served = serve(parts)
    assert isinstance(served, Recommender), "as its artifact says"
    return task.metrics[task.metric](task.score(served, split))


if __name__ == "__main__":
    main()
