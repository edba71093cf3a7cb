"""Metrics of rows of several benchmarks; each metric reads the rows of one benchmark.

Rows have the columns benchmark (its name), unit (int64), value (float64, of the model) and gold (float64, the label, or
nan if the benchmark has none).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from autoprune.tasks.metric import DRAWS, MeanMetric, Metric, Numbers, Resamples

DRAWS_AT_ONCE = 50
"""Bootstrap samples that are ranked at a time, which bounds memory."""


@dataclass(frozen=True)
class MeanValue(MeanMetric):
    """The mean of `value` over the units of a benchmark."""

    benchmark: str

    def per_unit(self, rows: pd.DataFrame) -> pd.Series:
        own = rows[rows["benchmark"] == self.benchmark]
        return pd.Series(own["value"].to_numpy(np.float64), index=own["unit"].to_numpy())


@dataclass(frozen=True)
class Spearman(Metric):
    """The rank correlation of `value` and `gold` over the units of a benchmark; nan for fewer than three."""

    benchmark: str

    def __call__(self, rows: pd.DataFrame) -> float:
        _, value, gold = self._columns(rows)
        once = np.ones((1, len(value)))
        return float(_correlations(Ordered(value), Ordered(gold), once)[0])

    def units(self, rows: pd.DataFrame) -> int:
        return int((rows["benchmark"] == self.benchmark).sum())

    def draws(self, rows: pd.DataFrame, resamples: Resamples) -> Numbers:
        units, value, gold = self._columns(rows)
        ordered = Ordered(value), Ordered(gold)
        counts = resamples.times_drawn(units)
        pieces = [
            _correlations(*ordered, counts[at : at + DRAWS_AT_ONCE].astype(np.float64))
            for at in range(0, DRAWS, DRAWS_AT_ONCE)
        ]
        return np.concatenate(pieces)

    def influence(self, rows: pd.DataFrame) -> pd.Series:
        """The influence function at the sample, divided by the number of units.

        Croux & Dehon 2010 give it for continuous distributions. With F̃(x) = P(X < x) + P(X = x)/2 instead of F it holds
        for ties: ρ = cov(F̃, G̃) / √(var F̃ · var G̃). A point moves each of the three by itself and by how it changes F̃
        and G̃.
        """
        units, value, gold = self._columns(rows)
        count = len(units)
        if not np.isfinite(self(rows)):
            return pd.Series(np.zeros(count), index=units)
        ordered = [Ordered(value), Ordered(gold)]
        once = np.ones((1, count))
        scores = [(order.ranks(once)[0] - 0.5) / count for order in ordered]

        def covariance(one: int, other: int) -> tuple[float, Numbers]:
            """A covariance of F̃ and G̃, and how each unit moves it."""
            product = scores[one] * scores[other]
            beyond = ordered[one].mean_beyond(scores[other]) + ordered[other].mean_beyond(scores[one])
            return float(product.mean()) - 0.25, product + beyond - 3 * product.mean()

        (both, by_both), (first, by_first), (second, by_second) = covariance(0, 1), covariance(0, 0), covariance(1, 1)
        scale = np.sqrt(first * second)
        influences = by_both / scale - both / scale * (by_first / first + by_second / second) / 2
        return pd.Series(influences / count, index=units)

    def _columns(self, rows: pd.DataFrame) -> tuple[np.ndarray[Any, Any], Numbers, Numbers]:
        own = rows[rows["benchmark"] == self.benchmark]
        return own["unit"].to_numpy(), own["value"].to_numpy(np.float64), own["gold"].to_numpy(np.float64)


class Ordered:
    """Values that are sorted once and then ranked in many samples.

    Args:
        values: float64 [n].

    Attributes:
        finite: whether all values are finite.
        order: positions of the values, ascending.
    """

    def __init__(self, values: Numbers) -> None:
        self.finite = bool(np.isfinite(values).all())
        self.order = np.argsort(values, kind="stable")
        ascending = values[self.order]
        first = np.ones(len(values), dtype=bool)
        first[1:] = ascending[1:] != ascending[:-1]
        self._tie = np.cumsum(first) - 1
        self._starts = np.flatnonzero(first)
        self._ends = np.append(self._starts[1:], len(values))

    def ranks(self, counts: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Average ranks from 1, [samples, n].

        Args:
            counts: how often each value is in each sample, [samples, n].
        """
        below, within = self._ties(counts)
        ranks = np.empty_like(counts)
        ranks[:, self.order] = (below + (within + 1) / 2)[:, self._tie]
        return ranks

    def mean_beyond(self, weights: Numbers) -> Numbers:
        """For each value, the sum of the weights of larger values and half of those of equal ones, divided by n."""
        below, within = self._ties(weights[None])
        sums = np.empty_like(weights)
        sums[self.order] = (weights.sum() - below - within / 2)[0, self._tie]
        return sums / len(weights)

    def _ties(self, counts: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[Any, Any]:
        """The sums of counts below and within each set of equal values."""
        sums = np.zeros((len(counts), counts.shape[1] + 1))
        np.cumsum(counts[:, self.order], axis=1, out=sums[:, 1:])
        return sums[:, self._starts], sums[:, self._ends] - sums[:, self._starts]


def _correlations(value: Ordered, gold: Ordered, counts: np.ndarray[Any, np.dtype[np.float64]]) -> Numbers:
    """Spearman's ρ of each sample; nan if a sample has fewer than three units or only equal values."""
    size = counts.sum(axis=1)
    if counts.shape[1] < 3 or not (value.finite and gold.finite):
        return np.full(len(counts), np.nan)
    middle = (size[:, None] + 1) / 2  # the mean of average ranks, whatever the ties
    ranks, others = value.ranks(counts) - middle, gold.ranks(counts) - middle
    both, first, second = (
        np.einsum("sn,sn,sn->s", counts, one, other)
        for one, other in ((ranks, others), (ranks, ranks), (others, others))
    )
    scale = np.sqrt(first * second)
    rho: Numbers = np.divide(both, scale, out=np.full(len(counts), np.nan), where=(size >= 3) & (scale > 0))
    return rho
