"""The order in which candidates are shown."""

from __future__ import annotations

import math
from collections.abc import Iterable

from autoprune.errors import unknown
from autoprune.fronts.requirements import OBJECTIVES, is_cost
from autoprune.record.point import Point
from autoprune.record.record import Record


def ordered(points: Iterable[Point], record: Record, sort: str) -> list[Point]:
    """Points with the best first, by verified readings if there are any; points without the reading come last.

    Args:
        sort: `quality`, `size`, `latency`, or any reading.

    Raises:
        AutopruneError: there is no such reading.
    """
    name = OBJECTIVES[sort][0] if sort in OBJECTIVES else sort
    if name not in record.names:
        raise unknown("--sort", sort, dict.fromkeys([*OBJECTIVES, *record.names]))
    sign = 1 if is_cost(name) else -1

    def place(point: Point) -> float:
        value = point.known[name].ratio if name in point.known else math.inf
        return math.inf if math.isinf(value) or math.isnan(value) else sign * value

    return sorted(points, key=place)
