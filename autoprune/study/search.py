"""A search and the verification of what it found, within one budget of time."""

from __future__ import annotations

from collections.abc import Sequence

from autoprune.fronts.front import Front
from autoprune.measure.measurement import VERIFY
from autoprune.record.record import Record
from autoprune.study.job import run_study, study_config, time_of
from autoprune.study.progress.progress import Watching
from autoprune.study.suited import Sections
from autoprune.study.verify import verify, verify_pick
from autoprune.tasks.task import Task


def search(
    sections: Sections,
    overrides: Sequence[str],
    *,
    config_dir: str | None = None,
    watch: Watching | None = None,
) -> Front:
    """Runs the study that a config describes, verifies its finalists if the config says so, and returns the front.

    If training is expected to take long, the likely picks are first verified in one process, so that a result on test
    data is available in the meantime.

    Args:
        sections, overrides, config_dir, watch: as for `autoprune.study.job.run_study`.

    Raises:
        AutopruneError: as `run_study`.
    """
    config, watch = study_config(sections), watch or Watching()
    deadline = time_of(config)

    def between(record: Record, task: Task) -> None:
        if config.verify_rounds:
            front = verify_pick(record, task=task, watch=watch, deadline=deadline)
            if message := _verified_so_far(front):
                watch.note(message)

    record = run_study(sections, overrides, config_dir=config_dir, watch=watch, deadline=deadline, between=between)
    if not config.verify_rounds or (record.unfinished and len(record.points) == 1):
        return Front(record)  # with the dense model alone there is nothing to verify
    front = verify(
        record.folder,
        rounds=config.verify_rounds,
        working=watch.working,
        expect=watch.expect,
        deadline=deadline,
        storage=config.storage,
    )
    if deadline.left <= 0:
        finalists = [point for point in front.finalists if point.number]
        verified = sum(bool(point.verified) for point in finalists)
        watch.note(
            f"study.minutes={config.minutes:.10g} ran out during verification: {verified} of {len(finalists)} "
            f"finalists are verified, some perhaps in fewer processes; autoprune verify {record.name} continues it."
        )
    return front


def _verified_so_far(front: Front) -> str:
    """A line about the candidates that were verified before training; empty if none were."""
    holding = [point for point in front if point.verified and point.number]
    if holding:
        smallest = min((point.known for point in holding), key=lambda known: known["size_bytes"].ratio)
        return (
            f"On test data {1 / smallest['size_bytes'].ratio:.1f}x smaller at {smallest['quality'].ratio:.3f}x the "
            f"quality, verified before training; autoprune front {front.record.name} shows it meanwhile"
        )
    candidates = [point.candidate for point in front.record.points if point.number]
    verified = any(one.purpose == VERIFY for candidate in candidates for one in candidate.measurements)
    return "No candidate that was verified before training holds on test data" if verified else ""
