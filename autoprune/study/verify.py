"""Verification: a search must not grade itself, so its finalists are measured again, on data that it never saw."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from pathlib import Path

from autoprune.artifacts import artifact
from autoprune.deadline import NEVER, Deadline, OutOfTime
from autoprune.errors import AutopruneError, Ended, doing
from autoprune.fronts.front import Front
from autoprune.fronts.limits import UNCHANGED, Limits
from autoprune.machine import machine
from autoprune.measure.measurement import VERIFY
from autoprune.record.archive import ROUNDS, Archive, Candidate, processes
from autoprune.record.folder import GO_ON, driving, note_machine
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.study.definition import Definition
from autoprune.study.evaluation.candidates import some_named
from autoprune.study.evaluation.eviction import make_again
from autoprune.study.evaluation.remeasure import Pair, Remeasurer, judged_at_once, rounds_of, with_round
from autoprune.study.evaluation.task_worker import lent
from autoprune.study.executors.executor import Executor, FreshProcess
from autoprune.study.executors.forked import SETTINGS
from autoprune.study.executors.staff import Staff
from autoprune.study.progress.outlook import STARTING_S
from autoprune.study.progress.progress import Expected, Watching
from autoprune.study.teams.storage import team_of
from autoprune.study.teams.team import MEASURING
from autoprune.tasks.task import Task

MOST_PICKS = 3
"""At most so many candidates are verified before training."""


def verify(
    folder: Path,
    limits: Limits = UNCHANGED,
    *,
    everything: bool = False,
    again: bool = False,
    rounds: int = ROUNDS,
    working: Callable[[str], None] = lambda message: None,
    expect: Callable[[Expected | None], None] = lambda expected: None,
    deadline: Deadline = NEVER,
    storage: str | None = None,
) -> Front:
    """Measures the finalists of a study again, on test data, and returns the updated front.

    Quality is measured for as many artifacts at once as `study.workers` says. Each artifact is timed once, alone, and
    then once more in each of `rounds` - 1 other processes. What was verified on this machine before is kept, so an
    interrupted verification continues where it stopped. A verification that runs out of time can be continued too; the
    baseline and the likely picks come first and are always measured.

    Args:
        folder: the study's folder.
        limits: choose the finalists, in place of the study's own requirements.
        everything: whether to verify every candidate that has an artifact, not only the finalists.
        again: whether to measure again what was verified on this machine, replacing the earlier results.
        rounds: processes that time each artifact; an interval of latency takes at least 3.
        working: called with a few words about the work in progress.
        expect: called with an estimate of the remaining work.
        deadline: when verification is to end.
        storage: the database that the drivers of the study share, as in `study.storage`. Only one of them verifies at a
            time; the others then find the work done.

    Raises:
        AutopruneError: another process drives the study, its data has changed, or an artifact is damaged.
    """
    if rounds < 1:
        raise AutopruneError(f"rounds: a whole number >= 1 must be given, but got {rounds}.")
    Record(folder)  # refuses a folder without a study before a lock is created in it
    with (
        driving(folder, together=storage is not None),
        doing(f"the verification of study {folder.name!r} was stopped", GO_ON),
        team_of(storage, folder) as team,
        team.alone(MEASURING, until=deadline) as claimed,
    ):
        record = Record(folder, Archive(folder / "archive.jsonl", turn=team.turn))
        if storage is not None and (not claimed or is_verified(Front(record, limits), rounds=rounds)):
            return Front(record, limits)
        return verify_finalists(
            record,
            limits,
            everything=everything,
            again=again,
            rounds=rounds,
            watch=Watching(working=working, expect=expect),
            deadline=deadline,
        )


def verify_finalists(
    record: Record,
    limits: Limits = UNCHANGED,
    *,
    task: Task | None = None,
    everything: bool = False,
    again: bool = False,
    rounds: int = ROUNDS,
    watch: Watching = Watching(),  # noqa: B008  # it is frozen
    deadline: Deadline = NEVER,
) -> Front:
    """As `verify`, for a study that this process already drives.

    Args:
        task: the study's task, if it is already loaded.
    """
    front = Front(record, limits)
    not_rejected = [point for point in record.points if not point.candidate.rejected]
    points = not_rejected if everything else front.finalists
    verification = _Verification(record, task=task, rounds=rounds, watch=watch, deadline=deadline)
    verification.run(points, always=_always(front), again=again)
    return Front(record.renewed(), limits)


def verify_pick(record: Record, *, task: Task, watch: Watching, deadline: Deadline = NEVER) -> Front:
    """Verifies the candidate that would be picked, in this process alone, until the pick is a verified one.

    Verifying the whole front takes far longer: for an encoder, a minute per candidate. Candidates that were verified
    before, on whatever machine, count towards `MOST_PICKS`.

    Args:
        record: of a study that this process already drives.
        task: the study's task.
    """
    quiet_watch = Watching(working=watch.working)  # the estimate for the whole search stays in place
    verification = _Verification(record, task=task, rounds=1, watch=quiet_watch, deadline=deadline)
    front = Front(record)
    purposes = [one.purpose for point in front.feasible if point.number for one in point.candidate.measurements]
    count = purposes.count(VERIFY)
    for _ in range(count, MOST_PICKS):
        try:
            picked = front.pick()
        except AutopruneError:  # nothing is feasible, or nothing held up
            break
        if picked.verified or deadline.left <= 0:
            break
        verification.run([record.baseline, picked], always=set(), again=False)
        front = Front(record.renewed())
    return front


def is_verified(front: Front, *, rounds: int) -> bool:
    """Whether all finalists are verified, on whatever machine, and were timed in at least `rounds` processes."""
    return all(point.verified and processes(point.candidate.latest(VERIFY)) >= rounds for point in front.finalists)


def _always(front: Front) -> set[int]:
    """Numbers of the candidates that are verified even after the deadline: the baseline and the likely pick."""
    return {0, front.pick(verified=False).number} if front.feasible else {0}


class _Verification:
    """The rounds of one verification."""

    def __init__(
        self,
        record: Record,
        *,
        task: Task | None,
        rounds: int,
        watch: Watching,
        deadline: Deadline,
    ) -> None:
        self._record = record
        self._task, self._rounds = task, rounds
        self._working, self._report_expected = watch.working, watch.expect
        self._deadline = deadline
        self._definition = Definition.of_record(record)
        facts = machine(self._definition.device)
        self._machine = str(facts["id"])
        self._remeasurer: Remeasurer | None = None
        self._round_seconds = 0.0  # seconds that one process takes to time all candidates
        note_machine(record.folder, facts)

    def run(self, points: Sequence[Point], *, always: set[int], again: bool) -> None:
        points = sorted(points, key=lambda point: point.number not in always)
        timing = self._definition.latency_seconds * len(self._record.baseline.candidate.latest().latency)
        self._round_seconds = STARTING_S + len(points) * timing
        unverified = [point for point in points if again or not self._rounds_of(point)]
        incomplete = [point for point in points if point.number and (again or self._rounds_of(point) < self._rounds)]
        without_artifact = [point for point in incomplete if not point.folder.exists()]
        if without_artifact:
            make_again(self._record, without_artifact, task=self._task, working=self._working)
        if unverified:
            self._measure(unverified, always)  # a call of its own, so that the data is freed for the next processes
        if self._rounds > 1:
            self._remeasurer = None
        for number in range(2, self._rounds + 1):
            to_time = [point for point in points if 0 < self._rounds_of(point) < number]
            if any(point.number for point in to_time) and self._deadline.left > 0:  # the baseline alone gives no ratio
                self._working(f"timing in process {number} of {self._rounds}: reading data")
                with FreshProcess(SETTINGS) as executor:
                    self._time(to_time, executor, number=number)
        baseline = self._archived(self._record.baseline).here(VERIFY, self._machine)
        if baseline is not None:  # it was verified here, and later elsewhere
            self._record.archive.add(baseline)

    def _measure(self, points: Sequence[Point], always: set[int]) -> None:
        """Judges artifacts on test data and times them once, those outside `always` only while there is time.

        `study.workers` artifacts are judged at once; each is timed alone. The baseline comes last. It is measured even
        if it is not among `points` but was not measured on this machine. The results of the others count once the
        baseline's are recorded.
        """
        baseline = self._record.baseline
        baseline_is_missing = any(not point.number for point in points) or not self._rounds_of(baseline)
        candidates = [point for point in points if point.number]
        points_to_judge = candidates + [baseline] * baseline_is_missing
        self._working("reading data")
        task = self._task or self._definition.make_task()
        if self._remeasurer is None:
            self._remeasurer = Remeasurer(self._definition, task=task, working=self._working)
        workers = min(judged_at_once(self._record.workers), max(1, len(candidates)))
        with lent(task), Staff(self._remeasurer, workers) as staff:
            urgent = {0} if any(point.number in always for point in points_to_judge) else set[int]()
            try:
                with self._explaining(baseline):
                    self._remeasurer.begin(self._pair(baseline, urgent))
            except OutOfTime:
                return
            started, batch_size = time.monotonic(), workers if staff.hire(self._judging_seconds(len(candidates))) else 1
            for done in range(0, len(points_to_judge), batch_size):
                batch = points_to_judge[done : done + batch_size]
                labels = [f"#{point.number} {point.candidate.summary or 'baseline'}" for point in batch]
                self._working(f"verifying {some_named(labels)}; {done} of {len(points_to_judge)} are done")
                if self._judge_and_time(batch, always, staff, self._remeasurer):
                    self._report_remaining(started, done + len(batch), len(points_to_judge), rounds=self._rounds - 1)

    def _judging_seconds(self, count: int) -> float:
        """A lower bound on the seconds that judging `count` candidates takes."""
        candidates = self._record.archive.candidates.values()
        return count * min((one.seconds for one in candidates if one.number and not one.rejected), default=0.0)

    def _judge_and_time(
        self, points: Sequence[Point], always: Collection[int], staff: Staff, remeasurer: Remeasurer
    ) -> int:
        """Judges artifacts in parallel, then times them one by one; archives each once it is judged and timed.

        Returns:
            How many were archived before the time was over.
        """
        archived = 0
        futures = [staff.submit(remeasurer.judge, self._pair(point, always)) for point in points]
        wait(futures)
        for point, future in zip(points, futures, strict=True):
            with suppress(OutOfTime), self._explaining(point):
                try:
                    measurement = future.result()
                except Ended:  # too little memory for so many, or the model starts processes itself
                    measurement = remeasurer.judge(self._pair(point, always))
                latency = staff.here(remeasurer.time, self._pair(point, always))
                candidate = self._archived(point).with_measurement(measurement)
                self._record.archive.add(with_round(candidate, latency, machine=self._machine))
                archived += 1
        return archived

    def _time(self, points: Sequence[Point], executor: Executor, *, number: int) -> None:
        """Has another process time each artifact once; archives each result at once."""
        remeasurer, start = Remeasurer(self._definition), time.monotonic()
        for done, point in enumerate(points, start=1):
            try:
                with self._explaining(point):
                    latency = executor.submit(remeasurer.time, self._pair(point)).result()
            except OutOfTime:
                return
            self._record.archive.add(with_round(self._archived(point), latency, machine=self._machine))
            self._working(f"timing in process {number} of {self._rounds}: {done}/{len(points)}")
            self._report_remaining(start, done, len(points), rounds=self._rounds - number)
        self._round_seconds = time.monotonic() - start

    def _report_remaining(self, start: float, done: int, total: int, *, rounds: int) -> None:
        """Reports how much work remains: the rest of this round, and `rounds` more."""
        current = (time.monotonic() - start) / done * (total - done)
        self._report_expected(
            Expected(current=current, after=rounds * self._round_seconds, limit=max(0.0, self._deadline.left))
        )

    def _pair(self, point: Point, always: Collection[int] = ()) -> Pair:
        """What a worker is given; it has unlimited time for candidates in `always`."""
        seconds = math.inf if point.number in always else self._deadline.left
        return Pair(candidate=self._archived(point), baseline=self._archived(self._record.baseline), seconds=seconds)

    @contextmanager
    def _explaining(self, point: Point) -> Iterator[None]:
        try:
            yield
        except OutOfTime:
            raise
        except AutopruneError as error:
            raise self._explained(error, point) from error

    def _explained(self, error: AutopruneError, point: Point) -> AutopruneError:
        """The error with a remedy, if an artifact is missing or damaged."""
        record = self._record
        for one in (record.baseline, point):
            try:
                artifact.read(one.folder, whole=True)
            except AutopruneError as damage:
                place = str(one.folder)
                rebuilt = record.folder.parent / f"{record.name}-{one.number}" / "artifacts" / one.folder.name
                remedy = (
                    "Running the study's own command again rebuilds the baseline's artifact; then verify once more."
                    if one.number == 0
                    else f"Or rebuild it and put it in its place:\n  {record.command(one)}\n"
                    f"  {shlex.join(['rm', '-rf', place])} && {shlex.join(['cp', '-r', str(rebuilt), place])}"
                )
                return AutopruneError(
                    f"candidate {one.number} cannot be verified: {damage}\n{remedy}\n"
                    "What was already verified is kept; the same command goes on from here."
                )
        return error

    def _archived(self, point: Point) -> Candidate:
        """A point's candidate as it now stands in the archive."""
        return self._record.archive.candidates[point.candidate.key]

    def _rounds_of(self, point: Point) -> int:
        return rounds_of(self._archived(point), machine=self._machine)
