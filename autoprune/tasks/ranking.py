"""Ranking metrics: pure functions of rows, one row for every (unit, target) with the target's rank.

Conventions: binary relevance and full ranking. Recall divides by the number of targets. The ideal list of NDCG has
min(k, targets) hits (Järvelin & Kekäläinen 2002). A unit, such as a user, counts once, whatever its number of targets.
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
    """NDCG, recall or hit rate of the first `k` answers, averaged over units.

    Attributes:
        kind: one of `KINDS`.
        k: how many answers count.
        unit: the column of the rows that has the unit, such as the user.
    """

    kind: str
    k: int
    unit: str = "user"

    def per_unit(self, rows: pd.DataFrame) -> pd.Series:
        """One value for every unit, indexed by unit.

        Args:
            rows: with the column of units, and `rank` (1 is best; infinite if the target is not among the answers).
        """
        units, owner = np.unique(rows[self.unit].to_numpy(), return_inverse=True)
        ranks = rows["rank"].to_numpy(dtype=np.float64)
        targets = np.bincount(owner)
        is_hit = ranks <= self.k
        hits = np.bincount(owner, weights=is_hit)
        if self.kind == "recall":
            values = hits / targets
        elif self.kind == "hit_rate":
            values = (hits > 0).astype(np.float64)
        else:
            gains = np.bincount(owner[is_hit], weights=1 / np.log2(ranks[is_hit] + 1), minlength=len(units))
            ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, self.k + 2)))])
            values = gains / ideal[np.minimum(targets, self.k)]
        return pd.Series(values, index=units)


def ranking_metrics(names: Iterable[str], *, unit: str = "user") -> dict[str, RankingMetric]:
    """Metrics by their names: `ndcg@20`, `recall@20`, `hit_rate@20`, with any cut-off.

    Args:
        names: of the metrics.
        unit: the column of the rows that has the unit, such as the user.

    Raises:
        AutopruneError: a name has another form.
    """
    return {name: RankingMetric(*_parse(name), unit=unit) for name in names}


def longest_list(names: Iterable[str]) -> int:
    """The largest cut-off of some metric names."""
    return max(_parse(name)[1] for name in names)


def _parse(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\w+)@([1-9]\d*)", name)
    if match is None or match[1] not in KINDS:
        options = [f"{kind}@20" for kind in KINDS]
        raise AutopruneError(f"metric {name!r} is unknown. {nearest(name, options)} Any cut-off may follow the @.")
    return match[1], int(match[2])
