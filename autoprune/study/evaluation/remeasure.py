"""Artifacts measured once more, as they lie on disk: quality on test data, latency of each on its own, in rounds.

A search sees validation data, and of many candidates it keeps those that look best there, by merit and by luck.
Test data, looked at after it, tells the two apart. Latency is taken again as well, of every artifact on its own,
where the search lets equal structures share one timing; and in several processes, because where a process puts its
memory changes a ratio by more than any number of requests within it can show.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served
from autoprune.deadline import NEVER, Deadline
from autoprune.machine import THREADS, cores, machine
from autoprune.measure.judge import Judge
from autoprune.measure.measurement import RULES, VERIFY, Latency, Measurement, with_items
from autoprune.measure.timing import on_threads, own_latency, paired_latency
from autoprune.record.archive import Candidate, processes
from autoprune.study.definition import Definition
from autoprune.study.evaluation.evaluate import LONGER
from autoprune.study.executors.executor import Worker
from autoprune.study.executors.forked import can_fork
from autoprune.study.settings import find_device
from autoprune.tasks.task import Task

ROUND_PAIRS = 7
"""Pairs that a round times at least: processes differ more than the pairs of one do."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What is measured, and against what; plain values.

    Attributes:
        candidate, baseline: archived, the same one for the baseline itself.
        seconds: that it may take, from when it is begun.
    """

    candidate: Candidate
    baseline: Candidate
    seconds: float = math.inf

    @property
    def own(self) -> bool:
        """Whether it is the baseline that is measured."""
        return self.candidate.key == self.baseline.key


def judged_at_once(workers: int | None) -> int:
    """Artifacts that are judged at the same time, by copies of this process: one where it cannot be copied.

    Args:
        workers: that may work; None: nobody says.
    """
    return min(workers or cores(), cores()) if can_fork() else 1


@contextmanager
def lent(task: Task) -> Iterator[None]:
    """Has a task report to whom it did before, once a remeasurer, which takes that over, is done with it."""
    before = task.report, task.pause
    try:
        yield
    finally:
        task.report, task.pause = before


class Remeasurer(Worker):
    """Measures the artifacts of a study once more. Data and the baseline's artifact are read when first needed.

    Args:
        definition: of the study.
        task: the study's, if it is at hand; read again otherwise.
        working: called with a few words about the work in progress.
    """

    def __init__(
        self, definition: Definition, task: Task | None = None, *, working: Callable[[str], None] = lambda message: None
    ) -> None:
        super().__init__(definition)
        self._given = task
        self._working, self._deadline = working, NEVER
        self._reference: Served | None = None
        self._last: tuple[str, Served] | None = None  # what was loaded last, by its key
        self._judge: Judge | None = None

    @cached_property
    def task(self) -> Task:
        """The study's task."""
        task = self._given or self.definition.make_task()
        task.report, task.pause = self._work, self._pause
        return task

    def _work(self, message: str) -> None:
        """Says what is being done, and stops if the time is over."""
        self._working(message)
        self._deadline.check(message)

    def _pause(self) -> None:
        self._deadline.check("verifying")

    def alone(self) -> None:
        self._working = lambda message: None

    def begin(self, pair: Pair) -> None:
        """Has the baseline answer, beside which all others are judged; copies of this process have that as well.

        Raises:
            OutOfTime, AutopruneError: as `judge`.
        """
        self._deadline = Deadline.after(pair.seconds)
        self.task.report, self.task.pause = self._work, self._pause  # who lent it may have taken it back since
        if self._judge is None:
            self._judge = Judge(self.task, "test", self._reference_of(pair), working=self._work)

    def judge(self, pair: Pair) -> Measurement:
        """Quality on test data; nothing is timed.

        Raises:
            OutOfTime: the pair's seconds are over.
            AutopruneError: an artifact is missing or damaged, or the data is not what it was.
        """
        self.begin(pair)
        assert self._judge is not None, "it has begun"
        served = self._served(pair)
        folder = self.definition.artifacts / pair.candidate.key
        judged = self._judge.baseline if pair.own else self._judge.judge(self._judge.rows(served))
        return Measurement(
            split="test",
            purpose=VERIFY,
            machine=str(machine(self.definition.device)["id"]),
            quality=judged.quality,
            units=judged.units,
            asides=judged.asides,
            rules=RULES,
            size_bytes=artifact.size_bytes(folder),
            folder_bytes=artifact.folder_bytes(folder),
            history_bytes=served.history_bytes,
            memory_bytes=served.memory_bytes,
            vector_bytes=served.vector_bytes,
            structure=pair.candidate.latest().structure,
            latency={},
            errors=judged.errors,
            draws=judged.draws,
        )

    def time(self, pair: Pair) -> dict[str, Latency]:
        """One round of latency, by workload.

        Raises:
            OutOfTime, AutopruneError: as `judge`.
        """
        self._deadline = Deadline.after(pair.seconds)
        return self._timed(self._served(pair), self._reference_of(pair), own=pair.own)

    def _reference_of(self, pair: Pair) -> Served:
        """The baseline's artifact, which is kept."""
        if self._reference is None:
            self._reference = self._loaded(pair.baseline)
        return self._reference

    def _served(self, pair: Pair) -> Served:
        key = pair.candidate.key
        if pair.own:
            return self._reference_of(pair)
        if self._last is None or self._last[0] != key:
            self._last = None  # two at a time need not fit
            self._last = key, self._loaded(pair.candidate)
        return self._last[1]

    def _loaded(self, candidate: Candidate) -> Served:
        with on_threads(THREADS):
            folder = self.definition.artifacts / candidate.key
            served = artifact.load_on(folder, find_device(self.definition.device))
        served.pause = self._pause
        return served

    def _timed(self, served: Served, reference: Served, *, own: bool) -> dict[str, Latency]:
        workloads, seconds = self.task.workloads(served), self.definition.latency_seconds
        if own:
            timed = own_latency(workloads, seconds=LONGER * seconds, fewest=ROUND_PAIRS, deadline=self._deadline)
        else:
            before = self.task.workloads(reference)
            timed = paired_latency(workloads, before, seconds=seconds, fewest=ROUND_PAIRS, deadline=self._deadline)
        return with_items(timed, self.task.workload_items)


def rounds_of(candidate: Candidate, *, machine: str) -> int:
    """How many processes have timed a candidate on a machine for its verification; 0 if none has, by today's rules."""
    measured = candidate.measured(VERIFY, machine=machine)
    return processes(measured) if measured and measured.rules == RULES else 0


def with_round(candidate: Candidate, latency: dict[str, Latency], *, machine: str) -> Candidate:
    """A candidate whose verification on a machine has one more round of timings, perhaps its first."""
    measured = candidate.measured(VERIFY, machine=machine)
    assert measured is not None, "rounds add to a verification"
    before = measured.latency
    joined = {name: before[name].with_round(timed) if name in before else timed for name, timed in latency.items()}
    return candidate.with_measurement(dataclasses.replace(measured, latency=joined))
