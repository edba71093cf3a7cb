"""The search may not grade itself: finalists are measured once more, on data that it never saw.

A search sees validation data, and of many candidates it keeps those that look best there, by merit and by luck.
Test data, looked at after it, tells the two apart. Latency is taken again as well: longer, and of every artifact on
its own, where the search lets equal structures share one timing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from autoprune import artifact
from autoprune.errors import AutopruneError
from autoprune.machine import machine
from autoprune.measure import MOST_PAIRS, THREADS, on_threads, own_latency, paired_latency, quality
from autoprune.measurement import VERIFY, Latency, Measurement
from autoprune.record import Point, Record
from autoprune.runtime.served import Served
from autoprune.tasks.task import Task

LONGER = 4
"""How many times as long as in the search, and as many pairs at most, each workload is timed."""


def unverified(points: Sequence[Point]) -> list[Point]:
    """The points that were not verified on this machine yet."""
    here = machine()["id"]
    return [
        point
        for point in points
        if not any(found.purpose == VERIFY and found.machine == here for found in point.candidate.measurements)
    ]


def verify(
    record: Record,
    task: Task,
    points: Sequence[Point],
    *,
    device: torch.device,
    latency_seconds: float,
    working: Callable[[str], None] = lambda words: None,
) -> None:
    """Measures artifacts on test data and times them again; appends each measurement to the record's archive.

    The baseline comes first. What was verified on this machine before is left as it is, so that an interrupted
    verification goes on where it stopped. The record's points are those of before; make a new one to see.

    Args:
        record: its archive is open for this process alone.
        task: on the data that the study was searched on.
        points: what is verified; none of them rejected.
        latency_seconds: for how long the search timed each workload.
        working: called with a few words about the work in progress.

    Raises:
        AutopruneError: an artifact is missing or damaged; what was measured before it is kept.
    """
    baseline = record.baseline
    missing = unverified([baseline, *(point for point in points if point.candidate.number)])
    reference: Served | None = None
    for number, point in enumerate(missing, start=1):
        working(f"verifying {number}/{len(missing)}: {point.candidate.number} {point.candidate.words or 'baseline'}")
        reference = reference or _load(record, baseline, device)
        own = point.candidate.number == 0
        served = reference if own else _load(record, point, device)
        values, units = quality(task, task.score(served, "test"))
        latency = _latency(task, served, None if own else reference, seconds=LONGER * latency_seconds)
        measurement = Measurement(
            split="test",
            purpose=VERIFY,
            machine=str(machine()["id"]),
            quality=values,
            units=units,
            size_bytes=artifact.size_bytes(point.folder),
            memory_bytes=served.memory_bytes,
            structure=point.candidate.measured().structure,
            latency=latency,
        )
        record.archive.add(point.candidate.with_measurement(measurement))


def _latency(task: Task, served: Served, reference: Served | None, *, seconds: float) -> dict[str, Latency]:
    workloads, most = task.workloads(served), LONGER * MOST_PAIRS
    if reference is None:
        return own_latency(workloads, seconds=LONGER * seconds, most=most)  # all milliseconds rest on these
    return paired_latency(workloads, task.workloads(reference), seconds=seconds, most=most)


def _load(record: Record, point: Point, device: torch.device) -> Served:
    try:
        with on_threads(THREADS):
            return artifact.load(point.folder, device=device)
    except AutopruneError as error:
        again = record.folder.parent / f"{record.name}-{point.candidate.number}" / "artifacts" / point.folder.name
        remedy = (
            "The study's own command makes the baseline's artifact again; then verify once more."
            if point.candidate.number == 0
            else f"Or make it again and put it in its place:\n  {record.command(point)}\n"
            f"  rm -rf {point.folder} && cp -r {again} {point.folder}"
        )
        raise AutopruneError(
            f"candidate {point.candidate.number} cannot be verified: {error}\n{remedy}\n"
            "What was verified before it is kept; the same command goes on from here."
        ) from error
