"""Pareto fronts of plain numbers: who is beaten, how much a front covers, where it bends."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from autoprune.fronts.requirements import COUNTED, OBJECTIVES
from autoprune.measure.reading import SURE, Reading

SLOWEST = 2.0
"""A point slower than this multiple of the baseline adds nothing to the hypervolume."""

UNKNOWN = -1e300
"""Stands for a bound that nobody knows: worse than any. moocore and JSON want it finite."""

LEAST_ADDED = 1e-9
"""The share of what is covered that is no rounding error."""

Readings = Mapping[str, Reading]


def nondominated(points: Sequence[Sequence[float]], *, maximise: Sequence[bool]) -> list[int]:
    """Positions of the points that no other point beats, in order; of equal points the first.

    A point beats another if it is at least as good in every coordinate and better in one.

    Args:
        points: [n][coordinates].
        maximise: for each coordinate, whether larger is better.
    """
    if not points:
        return []
    import moocore  # here, because it takes a while to import, and not every verb compares

    mask = moocore.is_nondominated(np.asarray(points, dtype=float), maximise=list(maximise), keep_weakly=False)
    return [int(position) for position in np.flatnonzero(mask)]


def front_of(found: Sequence[Readings], objectives: Sequence[str]) -> list[int]:
    """Positions of the readings that no others beat."""
    compared = [comparison(one, objectives) for one in found]
    return nondominated(compared, maximise=[True] * len(compared[0]) if compared else [])


def beats(one: Readings, other: Readings, objectives: Sequence[str]) -> bool:
    """Whether one is at least as good in every objective, by its value and by its bound, and better in something."""
    pairs = list(zip(comparison(one, objectives), comparison(other, objectives), strict=True))
    return all(ours >= theirs for ours, theirs in pairs) and any(ours > theirs for ours, theirs in pairs)


def comparison(found: Readings, objectives: Sequence[str]) -> list[float]:
    """What decides who beats whom: every objective by its value, then by its bound; more is always better.

    The bound is what the true ratio is not worse than, with 95 % confidence (one-sided). So a candidate of which much
    is certain falls to none that merely looks better. A bound that nobody knows is worse than any: such candidates are
    compared with one another by their values, and none beats what is known. What is counted (`COUNTED`) has no bound.

    To ask instead whether the difference of two candidates is significant was tried: that is not transitive, and where
    users are few it leaves nearly everything on the front.
    """
    signs = {name: 1 if OBJECTIVES[name][1] else -1 for name in objectives}
    values = zip(signs.values(), coordinates(found, objectives), strict=True)
    bounds = [sign * bound(found, name) for name, sign in signs.items() if name not in COUNTED]
    return [*(sign * value for sign, value in values), *(UNKNOWN if math.isnan(one) else one for one in bounds)]


def bound(found: Readings, objective: str) -> float:
    """What the true ratio of an objective is not worse than, with 95 % confidence; nan where nobody knows."""
    name, larger = OBJECTIVES[objective]
    return found[name].bound(SURE, upper=not larger) if found[name].sure else math.nan


def coordinates(found: Readings, objectives: Sequence[str]) -> list[float]:
    """The values of objectives: each in its own unit, for latency the paired ratio, which drift does not touch."""
    read = [found[OBJECTIVES[objective][0]] for objective in objectives]
    return [
        reading.ratio if objective == "latency" else reading.value
        for objective, reading in zip(objectives, read, strict=True)
    ]


def gains(found: Readings, objectives: Sequence[str], *, floor: float) -> list[float]:
    """What a candidate gained, by objective: all of it relative to the baseline, and more is better.

    Quality is the share of the allowed loss that it did not use (the baseline's is 1), size and index log2 of times
    smaller, latency log2 of times faster than `SLOWEST` x the baseline.

    Args:
        floor: the lowest ratio of quality that counts, below 1.
    """
    assert floor < 1, "a floor at the baseline leaves no loss to allow"
    gain: dict[str, Callable[[float], float]] = {
        "quality": lambda ratio: (ratio - floor) / (1 - floor),
        "size": lambda ratio: -math.log2(ratio),
        "latency": lambda ratio: math.log2(SLOWEST / ratio),
        "index": lambda ratio: -math.log2(ratio),
    }
    return [gain[name](found[OBJECTIVES[name][0]].ratio) for name in objectives]


def hypervolume(front: Sequence[Readings], objectives: Sequence[str], *, floor: float) -> float:
    """How much a front covers: the volume of the boxes that its gains span; 0 for the baseline alone.

    Args:
        front: readings of its candidates.
        floor: as in `gains`.
    """
    return volume([gains(found, objectives, floor=floor) for found in front])


def volume(points: Sequence[Sequence[float]]) -> float:
    """How much is dominated by points of which more is better in every coordinate; what is not above 0 counts as 0."""
    if not points:
        return 0.0
    import moocore  # as above

    boxes = np.fmax(np.asarray(points, dtype=float), 0.0)  # of nan too
    return float(moocore.hypervolume(boxes, ref=[0.0] * boxes.shape[1], maximise=True))


def adding_most(points: Sequence[Sequence[float]], count: int, *, beside: Sequence[Sequence[float]]) -> list[int]:
    """Positions of points that cover most together with others, each in its turn the one that adds most.

    Those that add nothing are left out. What a point adds falls as others are taken in (hypervolume is submodular), so
    that greedy choice adds at least 1 - 1/e of what the best would (Guerreiro, Fonseca & Paquete 2016, "Greedy
    Hypervolume Subset Selection in Low Dimensions"), and only what is first in line must be asked again.

    Args:
        points: [n][coordinates], see `volume`.
        count: positions at most.
        beside: what is there in any case, [m][coordinates].
    """
    there, chosen = [list(one) for one in beside], list[int]()
    covered = volume(there)
    waiting = [(-(volume([*there, point]) - covered), at) for at, point in enumerate(points)]
    heapq.heapify(waiting)
    while waiting and len(chosen) < count:
        added = volume([*there, points[waiting[0][1]]]) - covered
        _, at = heapq.heappop(waiting)
        if waiting and (-added, at) > waiting[0]:
            heapq.heappush(waiting, (-added, at))
            continue
        if added <= LEAST_ADDED * covered:
            break
        chosen.append(at)
        there.append(list(points[at]))
        covered += added
    return chosen


def knee(front: Sequence[Readings], objectives: Sequence[str], *, floor: float) -> int | None:
    """Position of the point where the front bends most; None for fewer than three points.

    That is the point farthest beyond the plane through the best of each objective (Das 1999, "On characterizing the
    knee of the Pareto curve based on normal-boundary intersection"), each gain scaled to the front's own range.
    """
    if len(front) < 3:
        return None
    scaled = scaled_gains(front, objectives, floor=floor)
    return int(np.argmax(scaled.sum(axis=1)))


def spread_out(
    front: Sequence[Readings], objectives: Sequence[str], count: int, *, floor: float, given: Sequence[int] = ()
) -> list[int]:
    """Positions of `count` points that stand for a larger front: the best of each objective, then always the farthest.

    (Gonzalez 1985, "Clustering to minimize the maximum intercluster distance".) So the first of them stand for it too,
    as well as so few can.

    Args:
        given: positions of points that are among them in any case, and come first.
    """
    if not front:
        return []
    scaled = scaled_gains(front, objectives, floor=floor)
    kept = list(dict.fromkeys([*given, *(int(at) for at in scaled.argmax(axis=0))]))[:count]
    distance = np.min([np.linalg.norm(scaled - scaled[at], axis=1) for at in kept], axis=0)
    while len(kept) < min(count, len(front)):
        distance[kept] = -1.0  # of what is the same as one of them it is 0
        kept.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[kept[-1]], axis=1))
    return kept


def scaled_gains(
    front: Sequence[Readings], objectives: Sequence[str], *, floor: float
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Gains from 0, the least of the front, to 1, the most: [points, objectives]."""
    found = np.asarray([gains(one, objectives, floor=floor) for one in front])
    low, high = found.min(axis=0), found.max(axis=0)
    scaled: np.ndarray[tuple[int, int], np.dtype[np.float64]] = (found - low) / np.where(high > low, high - low, 1.0)
    return scaled
