"""What is asked of an evaluator: plain values, which can be sent anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoprune.measure.measurement import SEARCH, Latency
from autoprune.record.archive import Candidate

Timings = Mapping[str, Mapping[str, dict[str, Latency]]]
"""Latencies that are known, by machine, then by structure; equal structures share one timing on a machine."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A feasible candidate.

    Attributes:
        number: of the candidate.
        quality: ratio of the main metric to the baseline's.
        error: standard error of that ratio.
        size_bytes: of its artifact.
        vector_bytes: that are stored of each text, where users store any.
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
        number: that the candidate is to have.
        seed: of everything random in making it.
        baseline: what it is measured against; None for the baseline itself.
        timed: what need not be timed again.
        rivals: by which it can fall before all of its answers are known.
        seconds: that it may take, from when it is begun.
    """

    recipe: Mapping[str, Any]
    name: str
    number: int
    seed: int
    baseline: Candidate | None = None
    timed: Timings = field(default_factory=dict)
    rivals: tuple[Rival, ...] = ()
    seconds: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Retiming:
    """An archived candidate whose artifact is to be timed on the machine that is asked.

    Attributes:
        candidate: not rejected.
        baseline: timed on that machine before; None where the candidate is the baseline itself.
        timed: what need not be timed again.
        seconds: that it may take, from when it is begun.
    """

    candidate: Candidate
    baseline: Candidate | None
    timed: Timings
    seconds: float = math.inf


def timings(candidates: Iterable[Candidate]) -> Timings:
    """What a search knows of latency."""
    found: dict[str, dict[str, dict[str, Latency]]] = {}
    for candidate in candidates:
        for measured in candidate.measurements:
            if measured.purpose == SEARCH and measured.latency:
                found.setdefault(measured.machine, {}).setdefault(measured.structure, measured.latency)
    return found
