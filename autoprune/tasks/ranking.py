"""Ranking metrics: pure functions of rows, one row for every (unit, target) with the target's rank.

Conventions: binary relevance, full ranking; recall divides by the number of targets, NDCG's ideal list holds
min(k, targets) hits (Järvelin & Kekäläinen 2002); a unit, such as a user, counts once, whatever the number of targets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from autoprune.errors import AutopruneError, nearest
from autoprune.tasks.metric import MeanMetric

KINDS = ("ndcg", "recall", "hit_rate")


@dataclass(frozen=True)
class RankingMetric(MeanMetric):
    """NDCG, recall or hit rate of the first `k`, a mean over units.

    Attributes:
        kind: one of `KINDS`.
        k: length of the list that counts.
        unit: column of the rows that says whose they are.
    """

    kind: str
    k: int
    unit: str = "user"

    def per_unit(self, rows: pd.DataFrame) -> pd.Series:
        """One value for every unit, indexed by it.

        Args:
            rows: the column of units, and `rank` (1 is best; infinite where the target is not among the answers).
        """
        units, owner = np.unique(rows[self.unit].to_numpy(), return_inverse=True)
        ranks = rows["rank"].to_numpy(dtype=np.float64)
        targets = np.bincount(owner)
        found = ranks <= self.k
        hits = np.bincount(owner, weights=found)
        if self.kind == "recall":
            values = hits / targets
        elif self.kind == "hit_rate":
            values = (hits > 0).astype(np.float64)
        else:
            gains = np.bincount(owner[found], weights=1 / np.log2(ranks[found] + 1), minlength=len(units))
            ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, self.k + 2)))])
            values = gains / ideal[np.minimum(targets, self.k)]
        return pd.Series(values, index=units)


def ranking_metrics(names: Iterable[str], *, unit: str = "user") -> dict[str, RankingMetric]:
    """The metrics called `ndcg@20`, `recall@20`, `hit_rate@20`, for any cut-off.

    Args:
        unit: column of the rows that says whose they are.

    Raises:
        AutopruneError: a name is not of that form.
    """
    return {name: RankingMetric(*_parse(name), unit=unit) for name in names}


def longest_list(names: Iterable[str]) -> int:
    """The largest cut-off among metric names."""
    return max(_parse(name)[1] for name in names)


def _parse(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\w+)@([1-9]\d*)", name)
    if match is None or match[1] not in KINDS:
        options = [f"{kind}@20" for kind in KINDS]
        raise AutopruneError(f"metric {name!r} is unknown. {nearest(name, options)} Any cut-off may follow the @.")
    return match[1], int(match[2])
