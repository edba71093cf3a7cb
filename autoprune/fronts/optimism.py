"""How much too good the front looks because test data chose it (Efron & Tibshirani 1993, chapter 17)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from autoprune.fronts.pareto import UNKNOWN, bound, comparison, nondominated
from autoprune.fronts.requirements import Requirement, Requirements
from autoprune.measure.reading import Reading
from autoprune.record.point import Point


def optimism(
    points: Sequence[Point], objectives: Sequence[str], requirements: Requirements, *, metric: str
) -> dict[str, float]:
    """The mean bias of the verified front's test values, as a ratio to the baseline, by reading.

    Test data decided which points fell, so the values of the remaining ones are slightly too good. Every bootstrap
    sample chooses a new front from the points, by all floors and by which point beats which. The bias is the mean of
    (value in the sample - value) over the chosen points.

    The samples of quality are on record. Every other reading with a floor is drawn independently, from its standard
    error. For another benchmark that is right, because it shares no units with the main one. A slice does share units
    with the whole; the effect on the whole of choosing by a slice is neglected.

    Args:
        points: the verified points of the search's front, without the baseline.
        objectives: of the search; the first is quality.
        requirements: what must hold; a ceiling holds in all samples or in none.
        metric: the metric that `quality` means.

    Returns:
        The bias of the metric and of every other reading that has a floor and a known error; empty if there are no
        points, or if no sample chooses any.
    """
    if not points:
        return {}
    floors = [(item, _name(item, metric)) for item in requirements.items if not item.ceiling]
    ceilings = Requirements(items=tuple(item for item in requirements.items if item.ceiling))
    readings = {
        name: [point.verified.get(name) for point in points] for name in ("quality", *(name for _, name in floors))
    }
    values = np.array([point.verified["quality"].ratio for point in points])
    drawn = np.array([point.draws for point in points])
    shifts = {"quality": drawn - values[:, None]}  # of each sample, [points, samples]
    random = np.random.default_rng(0)
    errors = {name: np.array([read.error if read else math.nan for read in own]) for name, own in readings.items()}
    for name in [name for name in readings if name not in shifts]:
        shifts[name] = np.nan_to_num(errors[name])[:, None] * random.standard_normal(drawn.shape)
    feasible = np.isfinite(drawn) & np.array([[ceilings.hold(point.verified)] for point in points])
    for item, name in floors:
        feasible &= shifts[name] + np.array([[_margin(item, reading)] for reading in readings[name]]) >= 0
    bounds = np.array([bound(point.verified, "quality") for point in points])
    doubts = values - np.where(np.isnan(bounds), UNKNOWN, bounds)
    costs = np.array([comparison(point.verified, objectives[1:]) for point in points])
    chosen = np.zeros_like(feasible)
    for at in np.flatnonzero(feasible.any(axis=0)):
        able, sample = np.flatnonzero(feasible[:, at]), drawn[:, at]
        compared = np.column_stack([sample, sample - doubts, costs])[able]
        chosen[able[nondominated(compared.tolist(), maximise=[True] * compared.shape[1])], at] = True
    if not chosen.any():
        return {}
    sure = [name for name in shifts if name == "quality" or np.isfinite(errors[name]).all()]
    return {metric if name == "quality" else name: float(shifts[name][chosen].mean()) for name in sure}


def _name(item: Requirement, metric: str) -> str:
    return "quality" if item.reading == metric else item.reading


def _margin(item: Requirement, reading: Reading | None) -> float:
    """How far a reading is above its floor, as a ratio to the baseline's; below 0 if it misses the floor."""
    if reading is None:
        return -math.inf
    by = item.violation(reading)
    if not (reading.binds and reading.ratio > 0):
        return -math.inf if by > 0 else math.inf
    return -by * item.limit * (1.0 if item.relative else reading.ratio / reading.value)
