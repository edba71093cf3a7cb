"""The search may not grade itself: its finalists are measured once more, on data that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from autoprune.artifacts import artifact
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import UNCHANGED, Limits
from autoprune.machine import machine
from autoprune.measure.measurement import VERIFY
from autoprune.record.archive import ROUNDS, Archive, Candidate
from autoprune.record.folder import driving, note_machine
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.study.definition import Definition
from autoprune.study.executor import Executor, FreshProcess, Serial
from autoprune.study.remeasure import Pair, Remeasurer, rounds_of, with_round

Found = TypeVar("Found")


def verify(
    folder: Path,
    limits: Limits = UNCHANGED,
    *,
    everything: bool = False,
    again: bool = False,
    rounds: int = ROUNDS,
    working: Callable[[str], None] = lambda message: None,
) -> Front:
    """Measures the finalists of a study once more, on test data; returns the front with what was found.

    This process measures quality and times each artifact once, then `rounds` - 1 others time each once more. What
    was verified on this machine before is left as it is, so that an interrupted verification goes on where it stopped.

    Args:
        folder: of the study.
        limits: under which finalists are chosen, in place of the study's own requirements.
        everything: whether every candidate that has an artifact is verified, not the finalists alone.
        again: whether what was verified on this machine is measured anew, in place of what it was.
        rounds: processes that time each artifact; an interval of latency takes at least 3.
        working: called with a few words about the work in progress.

    Raises:
        AutopruneError: another process drives the study, its data is not what it was, or an artifact is damaged.
    """
    if rounds < 1:
        raise AutopruneError(f"rounds: a whole number >= 1 must be given, but got {rounds}.")
    Record(folder)  # refuses a folder that holds no study before a lock is made in it
    with driving(folder):
        record = Record(folder, Archive(folder / "archive.jsonl", mending=True))
        front = Front(record, limits)
        whole = [point for point in record.points if not point.candidate.rejected]
        verification = _Verification(record, rounds=rounds, working=working)
        verification.run(whole if everything else front.finalists, again=again)
    return Front(record.renewed(), limits)


class _Verification:
    """The rounds of one verification."""

    def __init__(self, record: Record, *, rounds: int, working: Callable[[str], None]) -> None:
        self._record = record
        self._rounds = rounds
        self._working = working
        self._definition = Definition.of_record(record)
        facts = machine(self._definition.device)
        self._machine = str(facts["id"])
        note_machine(record.folder, facts)

    def run(self, points: Sequence[Point], *, again: bool) -> None:
        missing = [point for point in points if again or not self._rounds_of(point)]
        if missing:
            self._measure(missing)  # in a call of its own: the processes that follow need the memory of its data
        for number in range(2, self._rounds + 1):
            late = [point for point in points if self._rounds_of(point) < number]
            if any(point.number for point in late):  # of the baseline alone there is no ratio
                self._working(f"timing in process {number} of {self._rounds}: reading data")
                with FreshProcess() as executor:
                    self._time(late, executor, number=number)
        baseline = self._archived(self._record.baseline).here(VERIFY, self._machine)
        if baseline is not None:  # verified here before, and elsewhere since
            self._record.archive.add(baseline)

    def _measure(self, points: Sequence[Point]) -> None:
        """Measures artifacts on test data and times them once.

        The baseline comes last, also if it is not among them and was not measured on this machine: what is read
        against it counts once all of it is there.
        """
        baseline = self._record.baseline
        needed = any(not point.number for point in points) or not self._rounds_of(baseline)
        missing = [point for point in points if point.number] + [baseline] * needed
        self._working("reading data")
        remeasurer = Remeasurer(self._definition, task=self._definition.make_task())
        with Serial() as executor:
            for place, point in enumerate(missing, start=1):
                label = point.candidate.summary or "baseline"
                self._working(f"verifying {place}/{len(missing)}: {point.number} {label}")
                measured = self._ask(executor, remeasurer.measure, point)
                self._record.archive.add(self._archived(point).with_measurement(measured))

    def _time(self, points: Sequence[Point], executor: Executor, *, number: int) -> None:
        """Has another process time artifacts once; each is archived as soon as it is known."""
        remeasurer = Remeasurer(self._definition)
        for done, point in enumerate(points, start=1):
            latency = self._ask(executor, remeasurer.time, point)
            self._record.archive.add(with_round(self._archived(point), latency, machine=self._machine))
            self._working(f"timing in process {number} of {self._rounds}: {done}/{len(points)}")

    def _ask(self, executor: Executor, function: Callable[[Pair], Found], point: Point) -> Found:
        pair = Pair(candidate=self._archived(point), baseline=self._archived(self._record.baseline))
        try:
            return executor.submit(function, pair).result()
        except AutopruneError as error:
            raise self._explained(error, point) from error

    def _explained(self, error: AutopruneError, point: Point) -> AutopruneError:
        """The same error with the way out, where an artifact is missing or damaged."""
        record = self._record
        for one in (record.baseline, point):
            try:
                artifact.read(one.folder)
            except AutopruneError as damage:
                again = record.folder.parent / f"{record.name}-{one.number}" / "artifacts" / one.folder.name
                remedy = (
                    "The study's own command makes the baseline's artifact again; then verify once more."
                    if one.number == 0
                    else f"Or make it again and put it in its place:\n  {record.command(one)}\n"
                    f"  rm -rf {one.folder} && cp -r {again} {one.folder}"
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
