"""One number for several benchmarks: how much of each the model keeps, on average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from autoprune.tasks.metric import DRAWS, Metric, Numbers, Resamples

WEIGHT = "weight"
"""The column of rows with the weight of their benchmark's score: 1 / (benchmarks x the dense model's score)."""


@dataclass(frozen=True)
class Retention(Metric):
    """The mean over benchmarks of a model's score divided by the dense model's on the same split.

    On a slice, scores have the same weights as on all rows. A benchmark with too few rows in the slice for a score is
    left out.

    Attributes:
        parts: the metric of each benchmark, by the benchmark's name.
    """

    parts: Mapping[str, Metric]

    def __call__(self, rows: pd.DataFrame) -> float:
        values = [weight * _score(metric, own) for metric, own, weight in self._scored_parts(rows)]
        return float(np.sum(values)) if values else float("nan")

    def units(self, rows: pd.DataFrame) -> int:
        return sum(metric.units(own) for metric, own, _ in self._scored_parts(rows))

    def draws(self, rows: pd.DataFrame, resamples: Resamples) -> Numbers:
        weighted = [
            weight * np.nan_to_num(metric.draws(own, resamples)) for metric, own, weight in self._scored_parts(rows)
        ]
        return np.sum(weighted, axis=0) if weighted else np.full(DRAWS, np.nan)

    def influence(self, rows: pd.DataFrame) -> pd.Series:
        weighted = [weight * metric.influence(own) for metric, own, weight in self._scored_parts(rows)]
        return pd.concat(weighted) if weighted else pd.Series(dtype=np.float64)

    def _scored_parts(self, rows: pd.DataFrame) -> list[tuple[Metric, pd.DataFrame, float]]:
        """For each benchmark with enough rows: its metric, its rows, and the weight of its score."""
        parts = []
        for name, metric in self.parts.items():
            own = rows[rows["benchmark"] == name]
            if len(own) > 2:
                parts.append((metric, own, float(own[WEIGHT].iloc[0])))
        return parts


def _score(metric: Metric, rows: pd.DataFrame) -> float:
    """The score, or 0 if it is undefined: a model that gives all pairs the same value keeps nothing."""
    value = metric(rows)
    return value if np.isfinite(value) else 0.0
