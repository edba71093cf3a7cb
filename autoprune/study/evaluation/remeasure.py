"""Measures artifacts on disk again: quality on test data, and the latency of each in several rounds.

A search keeps the candidates that look best on validation data, by merit and by luck. Test data, used only afterwards,
tells the two apart. Latency is measured again too: for every artifact on its own, whereas in the search equal
structures share one timing; and in several processes, because the memory layout of a process changes a ratio by more
than any number of requests within it can show.
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
"""Pairs that a round times at least: processes differ more than the pairs within one."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A candidate to measure and the baseline to compare it to, as plain values.

    Attributes:
        candidate, baseline: archived; both are the baseline if the baseline itself is measured.
        seconds: that measuring may take from its start.
    """

    candidate: Candidate
    baseline: Candidate
    seconds: float = math.inf

    @property
    def own(self) -> bool:
        """Whether the baseline itself is measured."""
        return self.candidate.key == self.baseline.key


def judged_at_once(workers: int | None) -> int:
    """Artifacts that are judged at the same time, by copies of this process; 1 if it cannot be copied.

    Args:
        workers: processes that may judge; None: not set.
    """
    return min(workers or cores(), cores()) if can_fork() else 1


class Remeasurer(TaskWorker):
    """Measures the artifacts of a study again."""

    doing = "verifying"

    _judge: Judge | None = None
    _reference: Loaded | None = None  # the baseline's artifact, loaded once
    _last: Loaded | None = None

    def begin(self, pair: Pair) -> None:
        """Has the baseline answer, against which all others are judged; copies of this process inherit its answers.

        Raises:
            OutOfTime, AutopruneError: as `judge`.
        """
        self._deadline = Deadline.after(pair.seconds)
        self._listen(self.task)  # another worker may have borrowed the task since
        if self._judge is None:
            self._judge = Judge(self.task, "test", self._baseline(pair).served, working=self._work)

    def judge(self, pair: Pair) -> Measurement:
        """Quality on test data; nothing is timed.

        Raises:
            OutOfTime: the pair's seconds are over.
            AutopruneError: an artifact is missing or damaged, or the data has changed.
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
        """The pair's artifact; apart from the baseline, only the last one stays loaded."""
        if pair.own:
            return self._baseline(pair)
        if self._last is None or self._last.folder.name != pair.candidate.key:
            self._last = None  # two at a time may not fit into memory
            self._last = self._load(pair.candidate)
        return self._last

    def _load(self, candidate: Candidate) -> Loaded:
        return load(self.definition.artifacts / candidate.key, device=self.device, pause=self._pause)


def rounds_of(candidate: Candidate, *, machine: str) -> int:
    """Processes that have timed a candidate on a machine for its verification by the current rules; 0 if none has."""
    measured = candidate.measured(VERIFY, machine=machine)
    return processes(measured) if measured and measured.rules == RULES else 0


def with_round(candidate: Candidate, latency: dict[str, Latency], *, machine: str) -> Candidate:
    """The candidate with one more round of timings in its verification on a machine."""
    measured = candidate.measured(VERIFY, machine=machine)
    assert measured is not None, "rounds add to a verification"
    earlier = measured.latency
    joined = {name: earlier[name].with_round(timed) if name in earlier else timed for name, timed in latency.items()}
    return candidate.with_measurement(dataclasses.replace(measured, latency=joined))
