"""The search may not grade itself: its finalists are measured once more, on data that it never saw."""

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
"""Candidates that are verified before training, at most."""


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
    """Measures the finalists of a study once more, on test data; returns the front with what was found.

    Quality is measured of as many artifacts at once as `study.workers` says; each is timed once, alone, and then
    `rounds` - 1 other processes time each once more. What was verified on this machine before is left as it is, so
    that an interrupted verification goes on where it stopped.
    Once its time is over it stops likewise; the baseline and what would be picked come first, and are always measured.

    Args:
        folder: of the study.
        limits: under which finalists are chosen, in place of the study's own requirements.
        everything: whether every candidate that has an artifact is verified, not the finalists alone.
        again: whether what was verified on this machine is measured anew, in place of what it was.
        rounds: processes that time each artifact; an interval of latency takes at least 3.
        working: called with a few words about the work in progress.
        expect: called with what is still to come, by what was measured so far.
        deadline: when it is to end.
        storage: where other drivers of the study are found, as `study.storage` names it. One of them verifies at a
            time; whoever comes later finds that done.

    Raises:
        AutopruneError: another process drives the study, its data is not what it was, or an artifact is damaged.
    """
    if rounds < 1:
        raise AutopruneError(f"rounds: a whole number >= 1 must be given, but got {rounds}.")
    Record(folder)  # refuses a folder that holds no study before a lock is made in it
    with (
        driving(folder, together=storage is not None),
        doing(f"the verification of study {folder.name!r} was stopped", GO_ON),
        team_of(storage, folder) as team,
        team.alone(MEASURING, until=deadline) as mine,
    ):
        record = Record(folder, Archive(folder / "archive.jsonl", turn=team.turn))
        if storage is not None and (not mine or is_verified(Front(record, limits), rounds=rounds)):
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
    """As `verify`, of a study that this process drives already.

    Args:
        task: the study's, if it is at hand.
    """
    front = Front(record, limits)
    whole = [point for point in record.points if not point.candidate.rejected]
    points = whole if everything else front.finalists
    verification = _Verification(record, task=task, rounds=rounds, watch=watch, deadline=deadline)
    verification.run(points, first=_first(front), again=again)
    return Front(record.renewed(), limits)


def verify_pick(record: Record, *, task: Task, watch: Watching, deadline: Deadline = NEVER) -> Front:
    """Verifies what would be picked, in this process alone, until the pick is one that was verified.

    The whole front takes far longer: of an encoder a minute for each of its points. What others verified, on whatever
    machine, counts among `MOST_PICKS`.

    Args:
        record: of a study that this process drives already.
        task: the study's.
    """
    quiet = Watching(working=watch.working)  # what is expected of the search stands meanwhile
    verification = _Verification(record, task=task, rounds=1, watch=quiet, deadline=deadline)
    front = Front(record)
    measured = [one.purpose for point in front.feasible if point.number for one in point.candidate.measurements]
    seen = measured.count(VERIFY)
    for _ in range(seen, MOST_PICKS):
        try:
            picked = front.pick()
        except AutopruneError:  # nothing is feasible, or nothing held
            break
        if picked.verified or deadline.left <= 0:
            break
        verification.run([record.baseline, picked], first=set(), again=False)
        front = Front(record.renewed())
    return front


def is_verified(front: Front, *, rounds: int) -> bool:
    """Whether all finalists are, on whatever machine, timed in so many processes."""
    return all(point.verified and processes(point.candidate.latest(VERIFY)) >= rounds for point in front.finalists)


def _first(front: Front) -> set[int]:
    """The numbers of what is verified however late it is: the baseline, and what would be picked."""
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
        self._working, self._expect = watch.working, watch.expect
        self._deadline = deadline
        self._definition = Definition.of_record(record)
        facts = machine(self._definition.device)
        self._machine = str(facts["id"])
        self._remeasurer: Remeasurer | None = None
        self._round = 0.0  # seconds that a process takes for all
        note_machine(record.folder, facts)

    def run(self, points: Sequence[Point], *, first: set[int], again: bool) -> None:
        points = sorted(points, key=lambda point: point.number not in first)
        timing = self._definition.latency_seconds * len(self._record.baseline.candidate.latest().latency)
        self._round = STARTING_S + len(points) * timing
        missing = [point for point in points if again or not self._rounds_of(point)]
        wanted = [point for point in points if point.number and (again or self._rounds_of(point) < self._rounds)]
        gone = [point for point in wanted if not point.folder.exists()]
        if gone:
            make_again(self._record, gone, task=self._task, working=self._working)
        if missing:
            self._measure(missing, first)  # in a call of its own: the processes that follow need the memory of its data
        if self._rounds > 1:
            self._remeasurer = None
        for number in range(2, self._rounds + 1):
            late = [point for point in points if 0 < self._rounds_of(point) < number]
            if any(point.number for point in late) and self._deadline.left > 0:  # of the baseline alone: no ratio
                self._working(f"timing in process {number} of {self._rounds}: reading data")
                with FreshProcess(SETTINGS) as executor:
                    self._time(late, executor, number=number)
        baseline = self._archived(self._record.baseline).here(VERIFY, self._machine)
        if baseline is not None:  # verified here before, and elsewhere since
            self._record.archive.add(baseline)

    def _measure(self, points: Sequence[Point], first: set[int]) -> None:
        """Judges artifacts on test data and times them once; what is not among the first, while there is time.

        As many are judged at once as `study.workers` says; each is timed alone. The baseline comes last, also if it is
        not among them and was not measured on this machine: what is read against it counts once all of it is there.
        """
        baseline = self._record.baseline
        needed = any(not point.number for point in points) or not self._rounds_of(baseline)
        others = [point for point in points if point.number]
        missing = others + [baseline] * needed
        self._working("reading data")
        task = self._task or self._definition.make_task()
        if self._remeasurer is None:
            self._remeasurer = Remeasurer(self._definition, task=task, working=self._working)
        workers = min(judged_at_once(self._record.workers), max(1, len(others)))
        with lent(task), Staff(self._remeasurer, workers) as staff:
            urgent = {0} if any(point.number in first for point in missing) else set[int]()
            try:
                with self._explaining(baseline):
                    self._remeasurer.begin(self._pair(baseline, urgent))
            except OutOfTime:
                return
            start, at_once = time.monotonic(), workers if staff.hire(self._judging(len(others))) else 1
            for done in range(0, len(missing), at_once):
                together = missing[done : done + at_once]
                labels = [f"#{point.number} {point.candidate.summary or 'baseline'}" for point in together]
                self._working(f"verifying {some_named(labels)}; {done} of {len(missing)} are done")
                if self._judge_and_time(together, first, staff, self._remeasurer):
                    self._tell(start, done + len(together), len(missing), rounds=self._rounds - 1)

    def _judging(self, count: int) -> float:
        """Seconds that judging so many takes, at least."""
        known = self._record.archive.candidates.values()
        return count * min((one.seconds for one in known if one.number and not one.rejected), default=0.0)

    def _judge_and_time(
        self, points: Sequence[Point], first: Collection[int], staff: Staff, remeasurer: Remeasurer
    ) -> int:
        """Judges artifacts at the same time, then times one after the other; each is archived once it has both.

        Returns:
            How many there was time for.
        """
        kept = 0
        flying = [staff.submit(remeasurer.judge, self._pair(point, first)) for point in points]
        wait(flying)
        for point, judged in zip(points, flying, strict=True):
            with suppress(OutOfTime), self._explaining(point):
                try:
                    measured = judged.result()
                except Ended:  # too little memory for so many, or a model that starts processes itself
                    measured = remeasurer.judge(self._pair(point, first))
                latency = staff.here(remeasurer.time, self._pair(point, first))
                candidate = self._archived(point).with_measurement(measured)
                self._record.archive.add(with_round(candidate, latency, machine=self._machine))
                kept += 1
        return kept

    def _time(self, points: Sequence[Point], executor: Executor, *, number: int) -> None:
        """Has another process time artifacts once; each is archived as soon as it is known."""
        remeasurer, start = Remeasurer(self._definition), time.monotonic()
        for done, point in enumerate(points, start=1):
            try:
                with self._explaining(point):
                    latency = executor.submit(remeasurer.time, self._pair(point)).result()
            except OutOfTime:
                return
            self._record.archive.add(with_round(self._archived(point), latency, machine=self._machine))
            self._working(f"timing in process {number} of {self._rounds}: {done}/{len(points)}")
            self._tell(start, done, len(points), rounds=self._rounds - number)
        self._round = time.monotonic() - start

    def _tell(self, start: float, done: int, of: int, *, rounds: int) -> None:
        """Says what is still to come: the rest of this process, and `rounds` more."""
        current = (time.monotonic() - start) / done * (of - done)
        self._expect(Expected(current=current, after=rounds * self._round, limit=max(0.0, self._deadline.left)))

    def _pair(self, point: Point, first: Collection[int] = ()) -> Pair:
        """What is asked of a worker; of the first, however late it is."""
        seconds = math.inf if point.number in first else self._deadline.left
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
        """The same error with the way out, where an artifact is missing or damaged."""
        record = self._record
        for one in (record.baseline, point):
            try:
                artifact.read(one.folder, whole=True)
            except AutopruneError as damage:
                place = str(one.folder)
                again = record.folder.parent / f"{record.name}-{one.number}" / "artifacts" / one.folder.name
                remedy = (
                    "The study's own command makes the baseline's artifact again; then verify once more."
                    if one.number == 0
                    else f"Or make it again and put it in its place:\n  {record.command(one)}\n"
                    f"  {shlex.join(['rm', '-rf', place])} && {shlex.join(['cp', '-r', str(again), place])}"
                )
                return AutopruneError(
                    f"candidate {one.number} cannot be verified: {damage}\n{remedy}\n"
                    "What was verified before it is kept; the same command goes on from here."
                )
        return error

    def _archived(self, point: Point) -> Candidate:
        """The candidate of a point as it is in the archive now."""
        return self._record.archive.candidates[point.candidate.key]

    def _rounds_of(self, point: Point) -> int:
        return rounds_of(self._archived(point), machine=self._machine)
