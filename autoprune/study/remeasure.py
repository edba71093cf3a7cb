"""Artifacts measured once more, as they lie on disk: quality on test data, latency of each on its own, in rounds.

A search sees validation data, and of many candidates it keeps those that look best there, by merit and by luck.
Test data, looked at after it, tells the two apart. Latency is taken again as well, of every artifact on its own,
where the search lets equal structures share one timing; and in several processes, because where a process puts its
memory changes a ratio by more than any number of requests within it can show.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served
from autoprune.machine import THREADS, machine
from autoprune.measure.judge import Judge
from autoprune.measure.measurement import RULES, VERIFY, Latency, Measurement
from autoprune.measure.timing import on_threads, own_latency, paired_latency
from autoprune.record.archive import Candidate, processes
from autoprune.study.definition import Definition
from autoprune.study.evaluate import LONGER
from autoprune.study.executor import Worker
from autoprune.study.settings import find_device
from autoprune.tasks.task import Task

ROUND_PAIRS = 7
"""Pairs that a round times at least: processes differ more than the pairs of one do."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What is measured, and against what: archived candidates, the same one for the baseline itself; plain values."""

    candidate: Candidate
    baseline: Candidate

    @property
    def own(self) -> bool:
        """Whether it is the baseline that is measured."""
        return self.candidate.key == self.baseline.key


class Remeasurer(Worker):
    """Measures the artifacts of a study once more. Data and the baseline's artifact are read when first needed.

    Args:
        definition: of the study.
        task: the study's, if it is at hand; read again otherwise.
    """

    def __init__(self, definition: Definition, task: Task | None = None) -> None:
        super().__init__(definition)
        self._given = task
        self._reference: Served | None = None
        self._judge: Judge | None = None

    @cached_property
    def task(self) -> Task:
        """The study's task."""
        return self._given or self.definition.make_task()

    def measure(self, pair: Pair) -> Measurement:
        """Quality on test data, and one round of latency.

        Raises:
            AutopruneError: an artifact is missing or damaged, or the data is not what it was.
        """
        reference, served = self._load(pair)
        if self._judge is None:
            self._judge = Judge(self.task, "test", reference)
        folder = self.definition.artifacts / pair.candidate.key
        judged = self._judge.baseline if pair.own else self._judge.judge(served)
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
            structure=pair.candidate.latest().structure,
            latency=self._timed(served, reference, own=pair.own),
            errors=judged.errors,
            draws=judged.draws,
        )

    def time(self, pair: Pair) -> dict[str, Latency]:
        """One round of latency, by workload.

        Raises:
            AutopruneError: as `measure`.
        """
        reference, served = self._load(pair)
        return self._timed(served, reference, own=pair.own)

    def _load(self, pair: Pair) -> tuple[Served, Served]:
        """The baseline's artifact, which is kept, and the candidate's."""
        if self._reference is None:
            self._reference = self._loaded(pair.baseline)
        return self._reference, self._reference if pair.own else self._loaded(pair.candidate)

    def _loaded(self, candidate: Candidate) -> Served:
        with on_threads(THREADS):
            return artifact.load(self.definition.artifacts / candidate.key, device=find_device(self.definition.device))

    def _timed(self, served: Served, reference: Served, *, own: bool) -> dict[str, Latency]:
        workloads, seconds = self.task.workloads(served), self.definition.latency_seconds
        if own:
            return own_latency(workloads, seconds=LONGER * seconds, fewest=ROUND_PAIRS)
        return paired_latency(workloads, self.task.workloads(reference), seconds=seconds, fewest=ROUND_PAIRS)


def rounds_of(candidate: Candidate, *, machine: str) -> int:
    """How many processes have timed a candidate on a machine for its verification; 0 if none has, by today's rules."""
    measured = candidate.measured(VERIFY, machine=machine)
    return processes(measured) if measured and measured.rules == RULES else 0


def with_round(candidate: Candidate, latency: dict[str, Latency], *, machine: str) -> Candidate:
    """A candidate whose verification on a machine has one more round of timings."""
    measured = candidate.measured(VERIFY, machine=machine)
    assert measured is not None, "rounds add to a verification"
    joined = {name: timed.with_round(latency[name]) for name, timed in measured.latency.items()}
    return candidate.with_measurement(dataclasses.replace(measured, latency=joined))
