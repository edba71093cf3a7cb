"""Pareto fronts of plain numbers: who is beaten, and how much a front covers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import moocore
import numpy as np

from autoprune.measurement import Reading
from autoprune.requirements import OBJECTIVES

SLOWEST = 2.0
"""A point slower than this multiple of the baseline adds nothing to the hypervolume."""


def nondominated(points: Sequence[Sequence[float]], *, maximise: Sequence[bool]) -> list[int]:
    """Positions of the points that no other point beats, in order; of equal points the first.

    A point beats another if it is at least as good in every objective and better in one.

    Args:
        points: [n][objectives].
        maximise: for each objective, whether larger is better.
    """
    if not points:
        return []
    mask = moocore.is_nondominated(np.asarray(points, dtype=float), maximise=list(maximise), keep_weakly=False)
    return [int(position) for position in np.flatnonzero(mask)]


def coordinates(found: Mapping[str, Reading], objectives: Sequence[str]) -> list[float]:
    """What a candidate is compared by: values, and for latency the paired ratio, which drift does not touch."""
    read = [found[OBJECTIVES[objective][0]] for objective in objectives]
    return [
        reading.ratio if objective == "latency" else reading.value
        for objective, reading in zip(objectives, read, strict=True)
    ]


def hypervolume(front: Sequence[Mapping[str, Reading]], objectives: Sequence[str], *, floor: float) -> float:
    """How much a front covers: 0 for the baseline alone, more is better.

    Each point spans a box of what it gained: quality as the share of the allowed loss that it did not use (the
    baseline is 1), size as log2 of times smaller, latency as log2 of times faster than `SLOWEST` x the baseline.

    Args:
        front: readings of its candidates.
        floor: the lowest ratio of quality that counts.
    """
    assert floor < 1, "a floor at the baseline leaves no loss to allow"
    gain: dict[str, Callable[[float], float]] = {
        "quality": lambda ratio: (ratio - floor) / (1 - floor),
        "size": lambda ratio: -math.log2(ratio),
        "latency": lambda ratio: math.log2(SLOWEST / ratio),
    }
    gains = [[max(0.0, gain[name](found[OBJECTIVES[name][0]].ratio)) for name in objectives] for found in front]
    if not gains:
        return 0.0
    return float(moocore.hypervolume(np.asarray(gains), ref=[0.0] * len(objectives), maximise=True))
