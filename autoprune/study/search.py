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
    """Runs the study that a config describes, verifies its finalists if it says so, and returns the front.

    Where training is expected to take long, what would be picked is verified before it begins, in one process, so that
    there is something that holds on test data meanwhile.

    Args:
        sections, overrides, config_dir, watch: as `autoprune.study.job.run_study` takes them.

    Raises:
        AutopruneError: as `run_study`.
    """
    config, watch = study_config(sections), watch or Watching()
    deadline = time_of(config)

    def between(record: Record, task: Task) -> None:
        if config.verify_rounds:
            front = verify_pick(record, task=task, watch=watch, deadline=deadline)
            if held := _held(front):
                watch.note(held)

    record = run_study(sections, overrides, config_dir=config_dir, watch=watch, deadline=deadline, between=between)
    if not config.verify_rounds or (record.unfinished and len(record.points) == 1):
        return Front(record)  # beside the dense model alone there is nothing to verify
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
            f"study.minutes={config.minutes:.10g} was over in the verification: {verified} of {len(finalists)} "
            f"finalists are verified, some perhaps in fewer processes; autoprune verify {record.name} goes on."
        )
    return front


def _held(front: Front) -> str:
    """What a front has that was verified before training, in a line; nothing where nothing was."""
    held = [point for point in front if point.verified and point.number]
    if held:
        found = min((point.known for point in held), key=lambda known: known["size_bytes"].ratio)
        return (
            f"On test data {1 / found['size_bytes'].ratio:.1f}x smaller at {found['quality'].ratio:.3f}x holds so far, "
            f"before anything was trained; autoprune front {front.record.name} shows it meanwhile"
        )
    others = [point.candidate for point in front.record.points if point.number]
    verified = any(one.purpose == VERIFY for candidate in others for one in candidate.measurements)
    return "Nothing that was verified holds on test data so far, before anything was trained" if verified else ""
