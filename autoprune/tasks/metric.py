"""What a metric is: a function of rows, and how much it would differ on other rows of the same kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import pandas as pd

Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]
"""Float64 [n]."""

DRAWS = 500
"""Bootstrap samples: the standard error they give is itself within 3 % (one standard deviation)."""

MOST_GROUPS = 20_000
"""More units than this are resampled in random groups of equal size, which bounds memory and errs as little."""


class Resamples:
    """Bootstrap samples of units, the same for every model: what they say of a difference is paired.

    Args:
        units: of the rows; each counts once, however often it is named.
        seed: draws the samples.
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
        """The mean over each sample; nan where a sample has no unit of those given.

        Args:
            values: by unit; units may be missing.
        """
        at = np.searchsorted(self.units, values.index.to_numpy())
        groups = at if self._group is None else self._group[at]
        size = self._counts.shape[1]
        sums = self._counts @ np.bincount(groups, weights=values.to_numpy(), minlength=size).astype(np.float32)
        there = self._counts @ np.bincount(groups, minlength=size).astype(np.float32)
        found: Numbers = np.divide(sums, there, out=np.full(DRAWS, np.nan), where=there > 0, dtype=np.float64)
        return found


class Metric(ABC):
    """A function of rows; larger is better."""

    @abstractmethod
    def __call__(self, rows: pd.DataFrame) -> float:
        """The value; nan where there are no rows."""

    @abstractmethod
    def draws(self, rows: pd.DataFrame, resamples: Resamples) -> Numbers:
        """The value on each bootstrap sample, [DRAWS]; nan where a sample has no rows."""


class MeanMetric(Metric):
    """A mean over units."""

    @abstractmethod
    def per_unit(self, rows: pd.DataFrame) -> pd.Series:
        """One value for every unit that has rows, indexed by unit."""

    def __call__(self, rows: pd.DataFrame) -> float:
        return float(self.per_unit(rows).mean())

    def draws(self, rows: pd.DataFrame, resamples: Resamples) -> Numbers:
        return resamples.means(self.per_unit(rows))
