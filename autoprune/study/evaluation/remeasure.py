"""Artifacts measured once more, as they lie on disk: quality on test data, latency of each on its own, in rounds.

A search sees validation data, and of many candidates it keeps those that look best there, by merit and by luck.
Test data, looked at after it, tells the two apart. Latency is taken again as well, of every artifact on its own,
where the search lets equal structures share one timing; and in several processes, because where a process puts its
memory changes a ratio by more than any number of requests within it can show.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from autoprune.deadline import Deadline
from autoprune.machine import cores
from autoprune.measure.judge import Judge
from autoprune.measure.measurement import RULES, VERIFY, Latency, Measurement
from autoprune.record.archive import Candidate, processes
from autoprune.study.evaluation.loaded import Loaded, load, timed
from autoprune.study.evaluation.task_worker import TaskWorker
from autoprune.study.executors.forked import can_fork

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


class Remeasurer(TaskWorker):
    """Measures the artifacts of a study once more."""

    doing = "verifying"

    _judge: Judge | None = None
    _reference: Loaded | None = None  # the baseline's artifact, loaded once
    _last: Loaded | None = None

    def begin(self, pair: Pair) -> None:
        """Has the baseline answer, beside which all others are judged; copies of this process have that as well.

        Raises:
            OutOfTime, AutopruneError: as `judge`.
        """
        self._deadline = Deadline.after(pair.seconds)
        self._listen(self.task)  # who lent it may have taken it back since
        if self._judge is None:
            self._judge = Judge(self.task, "test", self._baseline(pair).served, working=self._work)

    def judge(self, pair: Pair) -> Measurement:
        """Quality on test data; nothing is timed.

        Raises:
            OutOfTime: the pair's seconds are over.
            AutopruneError: an artifact is missing or damaged, or the data is not what it was.
        """
        self.begin(pair)
        assert self._judge is not None, "it has begun"
        loaded = self._loaded(pair)
        judged = self._judge.baseline if pair.own else self._judge.judge(self._judge.rows(loaded.served))
        return loaded.measurement(judged, split="test", purpose=VERIFY, machine=self.machine, latency={})

    def time(self, pair: Pair) -> dict[str, Latency]:
        """One round of latency, by workload.

        Raises:
            OutOfTime, AutopruneError: as `judge`.
        """
        self._deadline = Deadline.after(pair.seconds)
        return timed(
            self.task,
            self._loaded(pair).served,
            None if pair.own else self._baseline(pair).served,
            seconds=self.definition.latency_seconds,
            fewest=ROUND_PAIRS,
            deadline=self._deadline,
        )

    def _baseline(self, pair: Pair) -> Loaded:
        if self._reference is None:
            self._reference = self._load(pair.baseline)
        return self._reference

    def _loaded(self, pair: Pair) -> Loaded:
        """The artifact that is measured; of those beside the baseline the last one is kept."""
        if pair.own:
            return self._baseline(pair)
        if self._last is None or self._last.folder.name != pair.candidate.key:
            self._last = None  # two at a time need not fit
            self._last = self._load(pair.candidate)
        return self._last

    def _load(self, candidate: Candidate) -> Loaded:
        return load(self.definition.artifacts / candidate.key, device=self.device, pause=self._pause)


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
