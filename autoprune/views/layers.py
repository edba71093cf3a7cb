"""What a candidate is to a front: every picture draws the same groups."""

from __future__ import annotations

from autoprune.fronts.front import Front
from autoprune.record.archive import TRIAL
from autoprune.record.point import Point

LAYERS = ("rejected", "infeasible", "feasible", "presets", "fell", "front", "baseline")
"""From the one at the back of a picture to the one in front.

A candidate is in one of them: a preset on the front is in `front`, one beside it in `presets`."""


def layers(front: Front) -> dict[str, list[Point]]:
    """Every candidate of a study in one of `LAYERS`, in the order of numbers."""
    chosen, feasible = {point.number for point in front}, {point.number for point in front.feasible}
    fallen = {fall.point.number for fall in front.falls}
    found: dict[str, list[Point]] = {layer: [] for layer in LAYERS}
    for point in front.record.points:
        if point.candidate.rejected or "quality" not in point.found:
            layer = "rejected"
        elif point.number in (0, *fallen, *chosen):
            layer = "baseline" if not point.number else "fell" if point.number in fallen else "front"
        elif point.candidate.name != TRIAL:
            layer = "presets"
        else:
            layer = "feasible" if point.number in feasible else "infeasible"
        found[layer].append(point)
    return found
