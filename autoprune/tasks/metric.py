"""Metrics: functions of rows, with bootstrap samples and influences that give their standard errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pandas as pd
import scipy.special

Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]
"""Float64 [n]."""

DRAWS = 500
"""Bootstrap samples; the standard error that they give is accurate to 3 % (one standard deviation)."""

FEWEST_DIFFERING = 10
"""If fewer units differ between two models, the bootstrap alone does not show the error of their difference."""

NONE_DIFFERS = 3 / float(scipy.special.ndtri(0.95))
"""Divided by n, the standard error if none of n units differs: with 95 % confidence (one-sided), at most 3/n of the
population would (Hanley & Lippman-Hand 1983, "If Nothing Goes Wrong, Is Everything All Right?")."""

MOST_GROUPS = 20_000
"""More units than this are resampled in random groups of equal size, which bounds memory and is as accurate."""


class Resamples:
    """Bootstrap samples of units, the same for every model, so that differences are paired.

    Args:
        units: of the rows; each counts once, however many rows it has.
        seed: of the samples.
    """

    def __init__(self, units: np.ndarray[Any, Any], *, seed: int = 0) -> None:
        self.units = np.unique(units)
        draw = np.random.default_rng(seed)
        count = min(len(self.units), MOST_GROUPS)
        self._group = draw.permutation(len(self.units)) % count if len(self.units) > count else None
        # How often each group is in each sample, [DRAWS, groups].
        self._counts = np.stack(
            [np.bincount(draw.integers(count, size=count), minlength=count) for _ in range(DRAWS)]
        ).astype(np.float32)

    def means(self, values: pd.Series) -> Numbers:
        """The mean of values over each sample; nan if a sample has none of their units.

        Args:
            values: indexed by unit; units may be missing.
        """
        groups = self._groups(values.index.to_numpy())
        size = self._counts.shape[1]
        sums = self._counts @ np.bincount(groups, weights=values.to_numpy(), minlength=size).astype(np.float32)
        drawn = self._counts @ np.bincount(groups, minlength=size).astype(np.float32)
        means: Numbers = np.divide(sums, drawn, out=np.full(DRAWS, np.nan), where=drawn > 0, dtype=np.float64)
        return means

    def times_drawn(self, units: np.ndarray[Any, Any]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """How often each of `units` is in each sample, [DRAWS, len(units)]; for metrics that are not means."""
        return self._counts[:, self._groups(units)]

    def _groups(self, units: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.intp]]:
        at = np.searchsorted(self.units, units)
        return at if self._group is None else self._group[at]


class Metric(ABC):
    """A function of rows; larger is better."""

    @abstractmethod
    def __call__(self, rows: pd.DataFrame) -> float:
        """The value; nan if there are no rows."""

    @abstractmethod
    def units(self, rows: pd.DataFrame) -> int:
        """How many units the value rests on."""

    @abstractmethod
    def draws(self, rows: pd.DataFrame, resamples: Resamples) -> Numbers:
        """The value on each bootstrap sample, [DRAWS]; nan if a sample has no rows."""

    @abstractmethod
    def influence(self, rows: pd.DataFrame) -> pd.Series:
        """How much each unit moves the value (Hampel 1974), indexed by unit; they sum to 0."""


class MeanMetric(Metric):
    """A mean over units."""

    @abstractmethod
    def per_unit(self, rows: pd.DataFrame) -> pd.Series:
        """One value for every unit that has rows, indexed by unit."""

    def __call__(self, rows: pd.DataFrame) -> float:
        return float(self.per_unit(rows).mean())

    def units(self, rows: pd.DataFrame) -> int:
        return len(self.per_unit(rows))

    def draws(self, rows: pd.DataFrame, resamples: Resamples) -> Numbers:
        return resamples.means(self.per_unit(rows))

    def influence(self, rows: pd.DataFrame) -> pd.Series:
        values = self.per_unit(rows)
        return (values - values.mean()) / max(len(values), 1)


def cautious_error(
    drawn: Numbers, *, ratio: float, ours: pd.Series, before: pd.Series, value: float, value_before: float
) -> float:
    """The standard error of the ratio of two values, cautious if few units differ.

    The spread of bootstrapped ratios is too small if a handful of units make the difference: another handful would make
    another difference. So the variance gets additional units, as many as `FEWEST_DIFFERING` exceeds the number that
    differ, but at least one. Each moves the ratio as much as the unit that moves it most. The result is then widened as
    Student's t is wider than the normal distribution, at the degrees of freedom that the kurtosis of the influences
    leaves to a variance. If no unit differs, others still might: see `NONE_DIFFERS`. `studies/calibration` checks all
    of this.

    Args:
        drawn: bootstrapped ratios, [DRAWS].
        ratio: of the values.
        ours, before: influences of the units on the two values.
        value, value_before: the two values.

    Returns:
        The standard error; nan if most samples have no ratio.
    """
    finite = drawn[np.isfinite(drawn)]
    if len(finite) <= len(drawn) / 2 or not np.isfinite(ratio):
        return float("nan")
    ours, before = ours.align(before, fill_value=0.0)
    count = len(ours)
    differing = int((np.abs(count * (ours - before) + (value - value_before)) > 1e-9).sum())
    if not differing:
        return NONE_DIFFERS / count
    moved = (ours / value - before / value_before).to_numpy() * ratio if value else -before.to_numpy() / value_before
    squares = moved**2
    missing = max(1, FEWEST_DIFFERING - differing)
    variance = float(finite.var(ddof=1)) + missing * float(squares.max())
    kurtosis = float((squares**2).mean() / max(squares.mean() ** 2, 1e-300))
    freedom = 2 * count / max(kurtosis - 1, 1e-9)
    return float(np.sqrt(variance) * scipy.special.stdtrit(freedom, 0.975) / scipy.special.ndtri(0.975))
