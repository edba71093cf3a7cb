"""Where candidates stand, and in which groups they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from autoprune.fronts.front import Front
from autoprune.record.point import Point
from autoprune.views.layers import layers


class Groups(NamedTuple):
    """The baseline, the rest of the front, the presets beside it, what fell, and all others that have a quality."""

    baseline: Point
    on_front: list[Point]
    presets: list[Point]
    fallen: list[Point]
    others: list[Point]


def groups(front: Front) -> Groups:
    """The candidates of a front's study as the picture draws them, each group in the order of numbers."""
    found = layers(front)
    others = sorted([*found["feasible"], *found["infeasible"]], key=lambda point: point.number)
    return Groups(front.record.baseline, found["front"], found["presets"], found["fell"], others)


def places(points: Sequence[Point], name: str) -> tuple[list[float], list[float]]:
    """Ratios of a reading and of quality, of the points that have both."""
    # What was timed on another machine than the baseline has no place among the latencies.
    found = [point.known for point in points if name in point.known]
    return [readings[name].ratio for readings in found], [readings["quality"].ratio for readings in found]
