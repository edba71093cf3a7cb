"""The groups in which candidates are drawn, and their coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from autoprune.fronts.front import Front
from autoprune.record.point import Point
from autoprune.views.layers import layers


class Groups(NamedTuple):
    """The baseline, the rest of the front, other presets, fallen candidates, and all others with a quality."""

    baseline: Point
    on_front: list[Point]
    presets: list[Point]
    fallen: list[Point]
    others: list[Point]


def groups(front: Front) -> Groups:
    """The candidates of a front's study in the groups of the picture, each in the order of numbers."""
    members = layers(front)
    others = sorted([*members["feasible"], *members["infeasible"]], key=lambda point: point.number)
    return Groups(front.record.baseline, members["front"], members["presets"], members["fell"], others)


def places(points: Sequence[Point], name: str) -> tuple[list[float], list[float]]:
    """Ratios of a reading and of quality, of the points that have both."""
    # Points that were timed on another machine than the baseline have no latency.
    known = [point.known for point in points if name in point.known]
    return [readings[name].ratio for readings in known], [readings["quality"].ratio for readings in known]
