"""Pareto fronts of plain numbers: which points are beaten, how much a front covers, where it bends."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from autoprune.fronts.requirements import COUNTED, OBJECTIVES
from autoprune.measure.reading import Reading

SLOWEST = 2.0
"""A point slower than this multiple of the baseline adds nothing to the hypervolume."""

UNKNOWN = -1e300
"""Replaces an unknown bound: worse than any other, but finite, because moocore and JSON need that."""

LEAST_ADDED = 1e-9
"""A point that adds no larger share of the covered volume adds nothing but rounding error."""

Readings = Mapping[str, Reading]


def nondominated(points: Sequence[Sequence[float]], *, maximise: Sequence[bool]) -> list[int]:
    """Positions of the points that no other point beats, in order; among equal points, the first.

    A point beats another if it is at least as good in every coordinate and better in one.

    Args:
        points: [n][coordinates].
        maximise: for each coordinate, whether larger is better.
    """
    if not points:
        return []
    import moocore  # here, because importing it is slow and not every verb compares points

    mask = moocore.is_nondominated(np.asarray(points, dtype=float), maximise=list(maximise), keep_weakly=False)
    return [int(position) for position in np.flatnonzero(mask)]


def front_of(points: Sequence[Readings], objectives: Sequence[str]) -> list[int]:
    """Positions of the points that no other point beats."""
    compared = [comparison(readings, objectives) for readings in points]
    return nondominated(compared, maximise=[True] * len(compared[0]) if compared else [])


def beats(one: Readings, other: Readings, objectives: Sequence[str]) -> bool:
    """Whether the first is at least as good in every objective, by value and by bound, and better in something."""
    pairs = list(zip(comparison(one, objectives), comparison(other, objectives), strict=True))
    return all(ours >= theirs for ours, theirs in pairs) and any(ours > theirs for ours, theirs in pairs)


def comparison(readings: Readings, objectives: Sequence[str]) -> list[float]:
    """The numbers that decide which point beats which: the values of all objectives, then their bounds; more is better.

    With 95 % confidence (one-sided), the true ratio is no worse than the bound. So a candidate whose ratios are well
    known is not beaten by one that merely looks better. An unknown bound is worse than any other: candidates without
    bounds are compared with each other by their values, and beat no candidate with bounds. Objectives that are counted
    (`COUNTED`) have no bound.

    A test of significance for the difference of two candidates was tried instead. It is not transitive, and with few
    users it leaves nearly every candidate on the front.
    """
    signs = {name: 1 if OBJECTIVES[name][1] else -1 for name in objectives}
    values = zip(signs.values(), coordinates(readings, objectives), strict=True)
    bounds = [sign * bound(readings, name) for name, sign in signs.items() if name not in COUNTED]
    return [*(sign * value for sign, value in values), *(UNKNOWN if math.isnan(edge) else edge for edge in bounds)]


def bound(readings: Readings, objective: str) -> float:
    """The bound of an objective's ratio, with 95 % confidence; nan if unknown."""
    name, larger = OBJECTIVES[objective]
    return readings[name].sure_bound(upper=not larger)


def coordinates(readings: Readings, objectives: Sequence[str]) -> list[float]:
    """The values of objectives, each in its own unit; for latency the paired ratio, which does not drift."""
    read = [readings[OBJECTIVES[objective][0]] for objective in objectives]
    return [
        reading.ratio if objective == "latency" else reading.value
        for objective, reading in zip(objectives, read, strict=True)
    ]


def gains(readings: Readings, objectives: Sequence[str], *, floor: float) -> list[float]:
    """What a candidate gains in each objective, relative to the baseline; more is better.

    Quality: the share of the allowed loss that the candidate did not use (1 for the baseline). Size and index: log2 of
    how many times smaller. Latency: log2 of how many times faster than `SLOWEST` x the baseline.

    Args:
        readings: of the candidate.
        objectives: names in `OBJECTIVES`.
        floor: the lowest ratio of quality that counts, below 1.
    """
    assert floor < 1, "a floor at the baseline leaves no loss to allow"
    gain: dict[str, Callable[[float], float]] = {
        "quality": lambda ratio: (ratio - floor) / (1 - floor),
        "size": lambda ratio: -math.log2(ratio),
        "latency": lambda ratio: math.log2(SLOWEST / ratio),
        "index": lambda ratio: -math.log2(ratio),
    }
    return [gain[name](readings[OBJECTIVES[name][0]].ratio) for name in objectives]


def hypervolume(front: Sequence[Readings], objectives: Sequence[str], *, floor: float) -> float:
    """How much a front covers: the volume of the boxes that its gains span; 0 for the baseline alone.

    Args:
        front: the readings of its candidates.
        objectives: names in `OBJECTIVES`.
        floor: as in `gains`.
    """
    return volume([gains(readings, objectives, floor=floor) for readings in front])


def volume(points: Sequence[Sequence[float]]) -> float:
    """The volume between 0 and points, if more is better in every coordinate; nan and negative numbers count as 0."""
    if not points:
        return 0.0
    import moocore  # as above

    boxes = np.fmax(np.asarray(points, dtype=float), 0.0)
    return float(moocore.hypervolume(boxes, ref=[0.0] * boxes.shape[1], maximise=True))


def adding_most(points: Sequence[Sequence[float]], count: int, *, beside: Sequence[Sequence[float]]) -> list[int]:
    """Positions of the points that cover most together with given ones, chosen greedily: always the one that adds most.

    Points that add nothing are left out. A point adds less the more other points are taken (hypervolume is submodular).
    So the greedy choice adds at least 1 - 1/e of what the best choice would (Guerreiro, Fonseca & Paquete 2016, "Greedy
    Hypervolume Subset Selection in Low Dimensions"), and only the first of the queue must be evaluated again.

    Args:
        points: [n][coordinates], see `volume`.
        count: the most positions to return.
        beside: points that are taken in any case, [m][coordinates].
    """
    taken, chosen = [list(point) for point in beside], list[int]()
    covered = volume(taken)
    is_within = _within(points, taken)
    queue = [(-(volume([*taken, point]) - covered), at) for at, point in enumerate(points) if not is_within[at]]
    heapq.heapify(queue)
    while queue and len(chosen) < count:
        added = volume([*taken, points[queue[0][1]]]) - covered
        _, at = heapq.heappop(queue)
        if queue and (-added, at) > queue[0]:
            heapq.heappush(queue, (-added, at))
            continue
        if added <= LEAST_ADDED * covered:
            break
        chosen.append(at)
        taken.append(list(points[at]))
        covered += added
    return chosen


def _within(points: Sequence[Sequence[float]], boxes: Sequence[Sequence[float]]) -> list[bool]:
    """Whether each point lies within one of some boxes, or has no volume: then it adds nothing to them."""
    if not len(points):
        return []
    ours = np.fmax(np.asarray(points, dtype=float), 0.0)
    theirs = np.asarray(boxes, dtype=float).reshape(len(boxes), ours.shape[1])
    is_within = (ours[:, None] <= theirs).all(axis=2).any(axis=1) | (ours == 0).any(axis=1)
    return list(map(bool, is_within))


def knee(front: Sequence[Readings], objectives: Sequence[str], *, floor: float) -> int | None:
    """Position of the point where the front bends most; None for fewer than three points.

    That is the point farthest beyond the plane through the best points of each objective (Das 1999, "On characterizing
    the knee of the Pareto curve based on normal-boundary intersection"), with gains scaled to the range of the front.
    """
    if len(front) < 3:
        return None
    scaled = scaled_gains(front, objectives, floor=floor)
    return int(np.argmax(scaled.sum(axis=1)))


def spread_out(
    front: Sequence[Readings], objectives: Sequence[str], count: int, *, floor: float, given: Sequence[int] = ()
) -> list[int]:
    """Positions of `count` points that represent a front: the best of each objective, then always the farthest one.

    (Gonzalez 1985, "Clustering to minimize the maximum intercluster distance".) Any first few of the positions also
    represent the front, as well as that many points can.

    Args:
        front: the readings of its candidates.
        objectives: names in `OBJECTIVES`.
        count: the most positions to return.
        floor: as in `gains`.
        given: positions of points that are taken in any case, and come first.
    """
    if not front:
        return []
    scaled = scaled_gains(front, objectives, floor=floor)
    kept = list(dict.fromkeys([*given, *(int(at) for at in scaled.argmax(axis=0))]))[:count]
    distance = np.min([np.linalg.norm(scaled - scaled[at], axis=1) for at in kept], axis=0)
    while len(kept) < min(count, len(front)):
        distance[kept] = -1.0  # below the 0 of a point that equals one of them
        kept.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[kept[-1]], axis=1))
    return kept


def scaled_gains(
    front: Sequence[Readings], objectives: Sequence[str], *, floor: float
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Gains, scaled from 0 for the least of the front to 1 for the most: [points, objectives]."""
    own = np.asarray([gains(readings, objectives, floor=floor) for readings in front])
    low, high = own.min(axis=0), own.max(axis=0)
    scaled: np.ndarray[tuple[int, int], np.dtype[np.float64]] = (own - low) / np.where(high > low, high - low, 1.0)
    return scaled
