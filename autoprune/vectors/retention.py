"""One number for several benchmarks: how much of each the model keeps, in the mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from autoprune.tasks.metric import DRAWS, Metric, Numbers, Resamples

WEIGHT = "weight"
"""The column of rows that says what a score of their benchmark counts: 1 / (benchmarks x the dense model's score)."""


@dataclass(frozen=True)
class Retention(Metric):
    """The mean over benchmarks of a model's score as a share of the dense model's on the same split; of it, 1.

    On a slice the scores of the slice count as much as those of the whole do. A benchmark of which a slice has too few
    rows for a score is left out of it.

    Attributes:
        parts: the metric of each benchmark, by the benchmark's name.
    """

    parts: Mapping[str, Metric]

    def __call__(self, rows: pd.DataFrame) -> float:
        values = [weight * _score(metric, own) for metric, own, weight in self._told(rows)]
        return float(np.sum(values)) if values else float("nan")

    def units(self, rows: pd.DataFrame) -> int:
        return sum(metric.units(own) for metric, own, _ in self._told(rows))

    def draws(self, rows: pd.DataFrame, resamples: Resamples) -> Numbers:
        found = [weight * np.nan_to_num(metric.draws(own, resamples)) for metric, own, weight in self._told(rows)]
        return np.sum(found, axis=0) if found else np.full(DRAWS, np.nan)

    def influence(self, rows: pd.DataFrame) -> pd.Series:
        found = [weight * metric.influence(own) for metric, own, weight in self._told(rows)]
        return pd.concat(found) if found else pd.Series(dtype=np.float64)

    def _told(self, rows: pd.DataFrame) -> list[tuple[Metric, pd.DataFrame, float]]:
        """Of each benchmark that has rows enough: its metric, its rows, and what its score counts."""
        found = []
        for name, metric in self.parts.items():
            own = rows[rows["benchmark"] == name]
            if len(own) > 2:
                found.append((metric, own, float(own[WEIGHT].iloc[0])))
        return found


def _score(metric: Metric, rows: pd.DataFrame) -> float:
    """What a model that says the same of all pairs keeps is nothing."""
    value = metric(rows)
    return value if np.isfinite(value) else 0.0
