"""Metrics for your own tasks: functions of rows, larger is better.

All count by `unit`, a column of the rows: rows of one unit, such as a user, are drawn or left out together.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.stats
import torch
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.tasks.metric import MeanMetric, Metric, Numbers, Resamples
from autoprune.tasks.ranking import RankingMetric, ranking_metrics

UNIT = "unit"

SURE = 1e-7
"""Probabilities are clipped to be no nearer to 0 or 1 than this."""

GROUPS = 100
"""Groups of units, each of which is left out once."""


def ranking(*names: str) -> dict[str, RankingMetric]:
    """Metrics by their names, `recall@20`, `ndcg@10` or `hit_rate@5` with any cut-off.

    They read a column `rank`, as `ranks` computes it. Each row is one target; `unit` is whose target it is, such as a
    user.

    Raises:
        AutopruneError: a name has another form.
    """
    return ranking_metrics(names, unit=UNIT)


def ranks(scores: Tensor, wanted: Tensor) -> Tensor:
    """The ranks of wanted rows when all rows are sorted by their scores, float32 in the shape of `wanted`; 1 is best.

    Of equal scores, the earlier row comes first. A row that scores -inf, such as a removed one, ranks at inf. A query
    with a NaN among its scores has no order; its ranks are nan.

    Args:
        scores: of all rows, larger is better, [queries, rows].
        wanted: positions of rows, int64 [queries] or [queries, wanted rows of each].
    """
    places, per_query = torch.arange(scores.shape[1], device=scores.device), wanted.numel() // max(len(scores), 1)
    result = torch.empty(len(scores), per_query, device=scores.device)
    for at, row in enumerate(wanted.reshape(len(scores), per_query, 1).unbind(1)):
        score = scores.gather(1, row)
        ahead = (scores > score) | ((scores == score) & (places < row))
        result[:, at] = torch.where(score[:, 0] == -torch.inf, torch.inf, ahead.sum(1) + 1.0)
    return result.where(~scores.isnan().any(1, keepdim=True), torch.nan).reshape(wanted.shape)


@dataclass(frozen=True)
class Mean(MeanMetric):
    """The mean of a column: over the rows of each unit, then over units. For accuracy and other values of rows.

    Attributes:
        column: a column of numbers.
    """

    column: str

    def per_unit(self, rows: pd.DataFrame) -> pd.Series:
        units, owner = np.unique(rows[UNIT].to_numpy(), return_inverse=True)
        sums = np.bincount(owner, weights=rows[self.column].to_numpy(np.float64))
        return pd.Series(sums / np.bincount(owner), index=units)


class Smooth(Metric):
    """A metric that knows how much each row moves it; bootstrap samples are first-order estimates from these moves.

    That is the infinitesimal jackknife (Jaeckel 1972; Efron & Tibshirani 1993, chapter 21).
    """

    @abstractmethod
    def moves(self, rows: pd.DataFrame) -> Numbers:
        """How much each row moves the value, [rows]; they sum to 0."""

    def units(self, rows: pd.DataFrame) -> int:
        return int(rows[UNIT].nunique())

    def influence(self, rows: pd.DataFrame) -> pd.Series:
        units, owner = np.unique(rows[UNIT].to_numpy(), return_inverse=True)
        moved = self.moves(rows) if len(rows) else np.empty(0)
        return pd.Series(np.bincount(owner, weights=moved, minlength=len(units)), index=units)

    def draws(self, rows: pd.DataFrame, resamples: Resamples) -> Numbers:
        moved = self.influence(rows)
        return self(rows) + resamples.means(moved * len(moved))


@dataclass(frozen=True)
class Auc(Smooth):
    """The area under the ROC curve: how often a positive row scores above a negative one; ties count half.

    By placements (DeLong et al. 1988), from ranks (Sun & Xu 2014). nan if a class is missing.

    Attributes:
        label: column of 0 and 1.
        score: column; larger for positives.
    """

    label: str = "label"
    score: str = "score"

    def __call__(self, rows: pd.DataFrame) -> float:
        return float(self._placed(rows)[0])

    def moves(self, rows: pd.DataFrame) -> Numbers:
        value, placed, positive = self._placed(rows)
        if not np.isfinite(value):
            return np.zeros(len(rows))
        count = np.where(positive, positive.sum(), (~positive).sum())
        moved: Numbers = (placed - value) / count
        return moved

    def _placed(self, rows: pd.DataFrame) -> tuple[float, Numbers, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        """The value, the share of the other class that each row is correctly ordered with, and which are positive."""
        positive = _labels(rows, self.label)
        scores = rows[self.score].to_numpy(np.float64)
        first, second = int(positive.sum()), int((~positive).sum())
        placed = np.full(len(rows), np.nan)
        if not first or not second:
            return float("nan"), placed, positive
        ranks = scipy.stats.rankdata(scores)
        placed[positive] = (ranks[positive] - scipy.stats.rankdata(scores[positive])) / second
        placed[~positive] = 1 - (ranks[~positive] - scipy.stats.rankdata(scores[~positive])) / first
        return float(placed[positive].mean()), placed, positive


@dataclass(frozen=True)
class Likelihood(Smooth):
    """exp(-log loss): the geometric mean of the probabilities that were given to the true labels, between 0 and 1.

    Log loss itself is smaller for better models. It is the negative logarithm of this metric, so a drop of 1 % here is
    0.01 more log loss.

    Attributes:
        label: column of 0 and 1.
        score: column; the probability of 1.
    """

    label: str = "label"
    score: str = "score"

    def __call__(self, rows: pd.DataFrame) -> float:
        return float(np.exp(self._logarithms(rows).mean())) if len(rows) else float("nan")

    def moves(self, rows: pd.DataFrame) -> Numbers:
        logarithms = self._logarithms(rows)
        moved: Numbers = np.exp(logarithms.mean()) * (logarithms - logarithms.mean()) / len(rows)
        return moved

    def _logarithms(self, rows: pd.DataFrame) -> Numbers:
        positive, scores = _labels(rows, self.label), rows[self.score].to_numpy(np.float64)
        if ((scores < 0) | (scores > 1)).any():
            raise AutopruneError(
                f"metric of column {self.score!r}: log loss needs probabilities, 0 <= p <= 1, but got "
                f"{scores[(scores < 0) | (scores > 1)][0]:.4g}; apply a sigmoid first."
            )
        logarithms: Numbers = np.log(np.clip(np.where(positive, scores, 1 - scores), SURE, 1 - SURE))
        return logarithms


@dataclass(frozen=True)
class Function(Smooth):
    """Any function of rows. Its error is estimated by leaving out each of 100 groups of units once.

    That is the delete-a-group jackknife (Kott 2001). A number of which less is better is replaced by its reciprocal, so
    name the metric accordingly: `{"inverse_rmse": Function(rmse, smaller_is_better=True)}`.

    Attributes:
        function: of rows to a number above 0.
        smaller_is_better: whether that number is an error.
    """

    function: Callable[[pd.DataFrame], float]
    smaller_is_better: bool = False

    def __call__(self, rows: pd.DataFrame) -> float:
        if not len(rows):
            return float("nan")
        value = float(self.function(rows))
        if not self.smaller_is_better:
            return value
        return 1 / value if value > 0 else float("nan")

    def moves(self, rows: pd.DataFrame) -> Numbers:
        units, owner = np.unique(rows[UNIT].to_numpy(), return_inverse=True)
        group = np.random.default_rng(0).permutation(len(units)) % GROUPS
        value, moved = self(rows), np.zeros(len(rows))
        for number in range(min(GROUPS, len(units)) if len(units) > 1 else 0):
            inside = group[owner] == number
            # The first row gets the whole move of its group, so that the variance of the group is kept.
            share = 1 - float((group == number).mean())
            moved[np.flatnonzero(inside)[0]] = (value - self(rows[~inside])) * share
        moved = np.nan_to_num(moved)
        centred: Numbers = moved - moved.mean()
        return centred


def _labels(rows: pd.DataFrame, column: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    labels = rows[column].to_numpy(np.float64)
    if not np.isin(labels, (0.0, 1.0)).all():
        wrong = labels[~np.isin(labels, (0.0, 1.0))][0]
        raise AutopruneError(f"metric of column {column!r}: labels must be 0 or 1, but got {wrong:.4g}.")
    positive: np.ndarray[tuple[int], np.dtype[np.bool_]] = labels == 1
    return positive
