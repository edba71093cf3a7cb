"""Keeps artifacts within a disk limit: those of candidates that cannot win are deleted, and rebuilt on demand."""

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
    """Deletes artifacts of a study, the largest first, until the rest fits; finalists always keep theirs.

    Finalists are the baseline, the presets, the front and the picks of the profiles.
    """
    kept = {point.number for point in front.finalists}
    sizes = {point.number: _bytes(point.folder) for point in front.record.points}
    deletable = [point for point in front.record.points if point.number not in kept]
    total = sum(sizes.values())
    for point in sorted(deletable, key=lambda point: -sizes[point.number]):
        if total > limit_bytes and sizes[point.number]:
            total -= sizes[point.number]
            draft = point.folder.with_name(f".draft-{secrets.token_hex(4)}")  # whole or absent, even after a kill
            point.folder.rename(draft)
            shutil.rmtree(draft)


def make_again(
    record: Record,
    points: Sequence[Point],
    *,
    task: Task | None = None,
    working: Callable[[str], None] = lambda message: None,
) -> None:
    """Rebuilds deleted artifacts as they were, from checkpoints or by training again.

    Args:
        record: of a study that this process holds, see `autoprune.record.folder.driving`.
        points: candidates that were not rejected.
        task: the study's task, if it is already loaded; otherwise it is read again.
        working: called with a few words about the work in progress.

    Raises:
        AutopruneError: the data has changed, or this version interprets a recipe differently.
    """
    definition = Definition.of_record(record)
    task = task or definition.make_task()
    with lent(task):
        evaluator = Evaluator(definition, task, working=working)
        for point in points:
            candidate = point.candidate
            if evaluator.plan(candidate.recipe).key != candidate.key:
                raise AutopruneError(
                    f"candidate {candidate.number} cannot be rebuilt: this version of autoprune interprets its recipe "
                    "differently. Use the version that the study was searched with, or pick another candidate."
                )
            working(f"rebuilding the artifact of candidate {candidate.number}")
            evaluator.restore(
                Request(
                    recipe=candidate.recipe,
                    name=candidate.name,
                    number=candidate.number,
                    seed=definition.seed,
                    baseline=record.baseline.candidate if candidate.number else None,
                )
            )


def _bytes(folder: Path) -> int:
    """Bytes of an artifact's files; 0 if there is none. A file that artifacts share by hard links counts for each."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
