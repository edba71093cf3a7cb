"""A search and the verification of what it found, within one budget of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autoprune.fronts.front import Front
from autoprune.study.job import run_study, study_config, time_of
from autoprune.study.progress import Expected, Progress
from autoprune.study.suited import Sections
from autoprune.study.verify import verify


def search(
    sections: Sections,
    overrides: Sequence[str],
    *,
    config_dir: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    working: Callable[[str], None] = lambda message: None,
    note: Callable[[str], None] = lambda message: None,
    expect: Callable[[Expected], None] = lambda expected: None,
) -> Front:
    """Runs the study that a config describes, verifies its finalists if it says so, and returns the front.

    Args:
        sections, overrides, config_dir, report, working, note: as `autoprune.study.job.run_study` takes them.
        expect: called while finalists are verified, with what is still to come.

    Raises:
        AutopruneError: as `run_study`.
    """
    config = study_config(sections)
    deadline = time_of(config)
    record = run_study(
        sections,
        overrides,
        config_dir=config_dir,
        report=report,
        working=working,
        note=note,
        deadline=deadline,
    )
    if not config.verify_rounds or (record.unfinished and len(record.points) == 1):
        return Front(record)  # beside the dense model alone there is nothing to verify
    front = verify(record.folder, rounds=config.verify_rounds, working=working, expect=expect, deadline=deadline)
    if deadline.left <= 0:
        finalists = [point for point in front.finalists if point.number]
        verified = sum(bool(point.verified) for point in finalists)
        note(
            f"study.minutes={config.minutes:.10g} was over in the verification: {verified} of {len(finalists)} "
            f"finalists are verified, some perhaps in fewer processes; autoprune verify {record.name} goes on."
        )
    return front
