"""An artifact loaded from disk, its measurement and its timing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served
from autoprune.deadline import Deadline
from autoprune.machine import THREADS
from autoprune.measure.judge import Judged
from autoprune.measure.measurement import RULES, Latency, Measurement, with_items
from autoprune.measure.timing import FEWEST_PAIRS, on_threads, own_latency, paired_latency
from autoprune.study.evaluation.provenance import structure_of
from autoprune.tasks.task import Task

LONGER = 4
"""The baseline is timed so many times as long as others, since all milliseconds are derived from it."""


@dataclass(frozen=True)
class Loaded:
    """An artifact, ready to answer."""

    folder: Path
    served: Served
    structure: str

    def measurement(
        self, judged: Judged, *, split: str, purpose: str, machine: str, latency: dict[str, Latency]
    ) -> Measurement:
        """A measurement with its quality, sizes and latency."""
        return Measurement(
            split=split,
            purpose=purpose,
            machine=machine,
            quality=judged.quality,
            units=judged.units,
            errors=judged.errors,
            asides=judged.asides,
            rules=RULES,
            size_bytes=artifact.size_bytes(self.folder),
            folder_bytes=artifact.folder_bytes(self.folder),
            history_bytes=self.served.history_bytes,
            memory_bytes=self.served.memory_bytes,
            vector_bytes=self.served.vector_bytes,
            structure=self.structure,
            latency=latency,
            draws=judged.draws if split == "test" else (),  # a search measures far more candidates and never reads them
        )


def load(folder: Path, *, device: Any, pause: Callable[[], None]) -> Loaded:
    """Loads an artifact.

    Args:
        device: on which it answers.
        pause: called between requests, see `Served.pause`.

    Raises:
        AutopruneError: the artifact is missing or damaged.
    """
    with on_threads(THREADS):
        parts, served = artifact.load_on(folder, device)
    served.pause = pause
    return Loaded(folder, served, structure_of(parts))


def timed(
    task: Task,
    served: Served,
    baseline: Served | None,
    *,
    seconds: float,
    fewest: int = FEWEST_PAIRS,
    deadline: Deadline,
) -> dict[str, Latency]:
    """The latency of each of the task's workloads, timed in turns with the baseline.

    Args:
        baseline: None if the baseline itself is timed.
        seconds: for each workload; the baseline gets `LONGER` times as many.
        fewest: pairs to time at least.
    """
    workloads = task.workloads(served)
    if baseline is None:
        latency = own_latency(workloads, seconds=LONGER * seconds, fewest=fewest, deadline=deadline)
    else:
        baseline_workloads = task.workloads(baseline)
        latency = paired_latency(workloads, baseline_workloads, seconds=seconds, fewest=fewest, deadline=deadline)
    return with_items(latency, task.workload_items)
