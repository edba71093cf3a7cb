"""The groups of candidates that every plot draws."""

from __future__ import annotations

from autoprune.fronts.front import Front
from autoprune.record.archive import TRIAL
from autoprune.record.point import Point

LAYERS = ("rejected", "infeasible", "feasible", "presets", "fell", "front", "baseline")
"""In drawing order, from the back of a plot to its front.

Every candidate is in exactly one: a preset on the front is in `front`, any other preset in `presets`."""


def layers(front: Front) -> dict[str, list[Point]]:
    """The candidates of a study by layer (see `LAYERS`), in the order of their numbers."""
    on_front, feasible = {point.number for point in front}, {point.number for point in front.feasible}
    fallen = {fall.point.number for fall in front.falls}
    members: dict[str, list[Point]] = {layer: [] for layer in LAYERS}
    for point in front.record.points:
        if point.candidate.rejected or "quality" not in point.found:
            layer = "rejected"
        elif point.number in (0, *fallen, *on_front):
            layer = "baseline" if not point.number else "fell" if point.number in fallen else "front"
        elif point.candidate.name != TRIAL:
            layer = "presets"
        else:
            layer = "feasible" if point.number in feasible else "infeasible"
        members[layer].append(point)
    return members
