"""How much choosing on test data flatters what was chosen (Efron & Tibshirani 1993, chapter 17)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoprune.fronts.pareto import UNKNOWN, bound, comparison, nondominated
from autoprune.record.point import Point


def optimism(points: Sequence[Point], objectives: Sequence[str], *, floor: float) -> float | None:
    """The bias of the test values of those that verification left, as a ratio, in the mean.

    Test data decided what fell, and so says a little too much good of the rest. In every bootstrap sample the
    search's front is chosen from anew, by the floor on quality and by who beats whom; the mean of (value in the
    sample - value) over what is chosen is the bias.

    Args:
        points: the search's front, as far as it was verified, without the baseline.
        objectives: of the search; the first is quality.
        floor: the ratio of quality that requirements ask for; 0 where they don't.

    Returns:
        None where there are no points, or no sample chooses any.
    """
    if not points:
        return None
    drawn = np.array([point.draws for point in points])
    values = np.array([point.verified["quality"].ratio for point in points])
    bounds = np.array([bound(point.verified, "quality") for point in points])
    doubts = values - np.where(np.isnan(bounds), UNKNOWN, bounds)
    costs = np.array([comparison(point.verified, objectives[1:]) for point in points])
    surplus: list[float] = []
    for sample in drawn.T:
        held = np.flatnonzero(np.isfinite(sample) & (sample >= floor))
        compared = np.column_stack([sample, sample - doubts, costs])[held]
        chosen = nondominated(compared.tolist(), maximise=[True] * compared.shape[1])
        surplus += (sample[held] - values[held])[chosen].tolist()
    return float(np.mean(surplus)) if surplus else None
