"""Artifacts under a bound: those of candidates that cannot win go, and are made again where they are asked for."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.study.definition import Definition
from autoprune.study.evaluation.evaluate import Evaluator
from autoprune.study.evaluation.task_worker import lent
from autoprune.study.request import Request
from autoprune.tasks.task import Task


def evict(front: Front, *, limit_bytes: float) -> None:
    """Deletes artifacts of a study, the largest first, until the rest fits, as far as none is a finalist's.

    The baseline, the front, what profiles would pick and the presets keep theirs, however large they are.
    """
    kept = {point.number for point in front.finalists}
    sizes = {point.number: _bytes(point.folder) for point in front.record.points}
    losing = [point for point in front.record.points if point.number not in kept]
    total = sum(sizes.values())
    for point in sorted(losing, key=lambda point: -sizes[point.number]):
        if total > limit_bytes and sizes[point.number]:
            total -= sizes[point.number]
            gone = point.folder.with_name(f".draft-{secrets.token_hex(4)}")  # whole or not there, also after a kill
            point.folder.rename(gone)
            shutil.rmtree(gone)


def make_again(
    record: Record,
    points: Sequence[Point],
    *,
    task: Task | None = None,
    working: Callable[[str], None] = lambda message: None,
) -> None:
    """Makes artifacts that are gone, as they were: from checkpoints, or by training anew.

    Args:
        record: of a study that this process holds, see `autoprune.record.folder.driving`.
        points: none of which was rejected.
        task: the study's, if it is at hand; read again otherwise.
        working: called with a few words about the work in progress.

    Raises:
        AutopruneError: the data is not what it was, or this version makes something else of a recipe.
    """
    definition = Definition.of_record(record)
    task = task or definition.make_task()
    with lent(task):
        evaluator = Evaluator(definition, task, working=working)
        for point in points:
            made = point.candidate
            if evaluator.plan(made.recipe).key != made.key:
                raise AutopruneError(
                    f"candidate {made.number} cannot be made again: this version of autoprune makes something else of "
                    "its recipe. Use the version that the study was searched with, or pick another."
                )
            working(f"making the artifact of candidate {made.number} again")
            evaluator.restore(
                Request(
                    recipe=made.recipe,
                    name=made.name,
                    number=made.number,
                    seed=definition.seed,
                    baseline=record.baseline.candidate if made.number else None,
                )
            )


def _bytes(folder: Path) -> int:
    """Bytes of an artifact's files; 0 where there is none. What several share by hard links counts for each."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
