"""Artifacts measured once more, as they lie on disk: quality on test data, latency of each on its own, in rounds.

A search sees validation data, and of many candidates it keeps those that look best there, by merit and by luck.
Test data, looked at after it, tells the two apart. Latency is taken again as well, of every artifact on its own,
where the search lets equal structures share one timing; and in several processes, because where a process puts its
memory changes a ratio by more than any number of requests within it can show.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served
from autoprune.errors import AutopruneError
from autoprune.machine import THREADS, machine
from autoprune.measure.judge import Judge
from autoprune.measure.measurement import VERIFY, Latency, Measurement
from autoprune.measure.timing import on_threads, own_latency, paired_latency
from autoprune.record.archive import Candidate, processes
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.tasks.task import Task

ROUND_PAIRS = 7
"""Pairs that a round times at least: processes differ more than the pairs of one do."""

LONGER = 4
"""How many times as long as all others the baseline is timed: all milliseconds rest on it."""


def rounds_of(candidate: Candidate) -> int:
    """How many processes have timed a candidate on this machine for its verification; 0 if it is not verified here."""
    measured = candidate.measured(VERIFY, machine=str(machine()["id"]))
    return processes(measured) if measured else 0


def remeasure(
    record: Record,
    task: Task,
    points: Sequence[Point],
    *,
    device: torch.device,
    latency_seconds: float,
    working: Callable[[str], None] = lambda words: None,
) -> None:
    """Measures artifacts on test data and times them once; appends each measurement to the record's archive.

    The baseline comes last, also if it is not among them and was not measured on this machine: what is read against it
    counts once all of it is there. The record's points are those of before; make a new one to see.

    Args:
        record: its archive is open for this process alone.
        task: on the data that the study was searched on.
        points: what is measured; none of them rejected.
        device: that the artifacts are loaded on.
        latency_seconds: for how long each workload is timed.
        working: called with a few words about the work in progress.

    Raises:
        AutopruneError: an artifact is missing or damaged; what was measured before it is kept.
    """
    baseline = record.baseline
    reference = load(record, baseline, device)
    judge = Judge(task, "test", reference)
    needed = any(not point.number for point in points) or not rounds_of(baseline.candidate)
    missing = [point for point in points if point.number] + [baseline] * needed
    for number, point in enumerate(missing, start=1):
        working(f"verifying {number}/{len(missing)}: {point.number} {point.candidate.summary or 'baseline'}")
        own = point.number == 0
        served = reference if own else load(record, point, device)
        judged = judge.baseline if own else judge.judge(served)
        measurement = Measurement(
            split="test",
            purpose=VERIFY,
            machine=str(machine()["id"]),
            quality=judged.quality,
            units=judged.units,
            size_bytes=artifact.size_bytes(point.folder),
            memory_bytes=served.memory_bytes,
            structure=point.candidate.latest().structure,
            latency=_time(task, served, None if own else reference, seconds=latency_seconds),
            errors=judged.errors,
            draws=judged.draws,
        )
        record.archive.add(record.archive.candidates[point.candidate.key].with_measurement(measurement))


def time_again(
    record: Record, task: Task, points: Iterable[Point], *, device: torch.device, latency_seconds: float
) -> Iterator[tuple[Point, dict[str, Latency]]]:
    """Times artifacts once, each on its own; yields what each took as soon as it is known.

    Raises:
        AutopruneError: an artifact is missing or damaged.
    """
    reference = load(record, record.baseline, device)
    for point in points:
        own = point.number == 0
        served = reference if own else load(record, point, device)
        yield point, _time(task, served, None if own else reference, seconds=latency_seconds)


def with_round(candidate: Candidate, latency: dict[str, Latency]) -> Candidate:
    """A candidate whose verification on this machine has one more round of timings."""
    measured = candidate.measured(VERIFY, machine=str(machine()["id"]))
    assert measured is not None, "rounds add to a verification"
    joined = {name: timed.with_round(latency[name]) for name, timed in measured.latency.items()}
    return candidate.with_measurement(dataclasses.replace(measured, latency=joined))


def _time(task: Task, served: Served, reference: Served | None, *, seconds: float) -> dict[str, Latency]:
    if reference is None:
        return own_latency(task.workloads(served), seconds=LONGER * seconds, fewest=ROUND_PAIRS)
    return paired_latency(task.workloads(served), task.workloads(reference), seconds=seconds, fewest=ROUND_PAIRS)


def load(record: Record, point: Point, device: torch.device) -> Served:
    """The artifact of a point.

    Raises:
        AutopruneError: it is missing or damaged; the message says how to make it again.
    """
    try:
        with on_threads(THREADS):
            return artifact.load(point.folder, device=device)
    except AutopruneError as error:
        again = record.folder.parent / f"{record.name}-{point.number}" / "artifacts" / point.folder.name
        remedy = (
            "The study's own command makes the baseline's artifact again; then verify once more."
            if point.number == 0
            else f"Or make it again and put it in its place:\n  {record.command(point)}\n"
            f"  rm -rf {point.folder} && cp -r {again} {point.folder}"
        )
        raise AutopruneError(
            f"candidate {point.number} cannot be verified: {error}\n{remedy}\n"
            "What was verified before it is kept; the same command goes on from here."
        ) from error
