"""Requests to an evaluator, as plain values that can be sent to another process."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoprune.measure.measurement import SEARCH, Latency
from autoprune.record.archive import Candidate

Timings = Mapping[str, Mapping[str, dict[str, Latency]]]
"""Known latencies by machine, then by structure; equal structures share one timing on a machine."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A feasible candidate.

    Attributes:
        number: the candidate's number.
        quality: ratio of the main metric to the baseline's.
        error: standard error of that ratio.
        size_bytes: size of its artifact.
        vector_bytes: size of each text's stored vector; None if no vectors are stored.
    """

    number: int
    quality: float
    error: float
    size_bytes: int
    vector_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """A recipe to be made and measured.

    Attributes:
        recipe: as nested plain values.
        name: `baseline`, the name of a preset, or `trial`; only trials can be rejected.
        number: for the candidate.
        seed: of everything random in making it.
        baseline: what it is measured against; None for the baseline itself.
        timed: known latencies, which need not be timed again.
        rivals: candidates that may beat it before it is fully measured.
        seconds: that it may take from its start.
        training_seconds: from its start, after which the training of the dense model is cut short once it is slow.
    """

    recipe: Mapping[str, Any]
    name: str
    number: int
    seed: int
    baseline: Candidate | None = None
    timed: Timings = field(default_factory=dict)
    rivals: tuple[Rival, ...] = ()
    seconds: float = math.inf
    training_seconds: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Retiming:
    """A request to time the artifact of an archived candidate on the machine that receives it.

    Attributes:
        candidate: not rejected.
        baseline: already timed on that machine; None if the candidate is the baseline itself.
        timed: known latencies, which need not be timed again.
        seconds: that it may take from its start.
    """

    candidate: Candidate
    baseline: Candidate | None
    timed: Timings
    seconds: float = math.inf


def timings(candidates: Iterable[Candidate]) -> Timings:
    """The latencies that a search has measured."""
    latencies: dict[str, dict[str, dict[str, Latency]]] = {}
    for candidate in candidates:
        for measurement in candidate.measurements:
            if measurement.purpose == SEARCH and measurement.latency:
                latencies.setdefault(measurement.machine, {}).setdefault(measurement.structure, measurement.latency)
    return latencies
