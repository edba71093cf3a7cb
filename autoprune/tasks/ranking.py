"""Ranking metrics: pure functions of rows, one row for every (user, target item) with the target's rank.

Conventions: binary relevance, full ranking; recall divides by the number of targets, NDCG's ideal list holds
min(k, targets) hits (Järvelin & Kekäläinen 2002); a user counts once, whatever the number of targets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pandas as pd

from autoprune.errors import AutopruneError, nearest

KINDS = ("ndcg", "recall", "hit_rate")


def per_user(rows: pd.DataFrame, *, kind: str, k: int) -> pd.Series:
    """One value for every user, indexed by user.

    Args:
        rows: columns `user` and `rank` (1 is best; infinite where the target is not among the answers).
        kind: one of `KINDS`.
        k: length of the list that counts.
    """
    users, owner = np.unique(rows["user"].to_numpy(), return_inverse=True)
    ranks = rows["rank"].to_numpy(dtype=np.float64)
    targets = np.bincount(owner)
    found = ranks <= k
    hits = np.bincount(owner, weights=found)
    if kind == "recall":
        values = hits / targets
    elif kind == "hit_rate":
        values = (hits > 0).astype(np.float64)
    else:
        gains = np.bincount(owner, weights=np.where(found, 1 / np.log2(np.where(found, ranks, 1.0) + 1), 0.0))
        ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
        values = gains / ideal[np.minimum(targets, k)]
    return pd.Series(values, index=users)


def mean_over_users(rows: pd.DataFrame, *, kind: str, k: int) -> float:
    """The metric's value: the mean over users, nan where there is no row."""
    return float(per_user(rows, kind=kind, k=k).mean())


def ranking_metrics(names: Iterable[str]) -> dict[str, Callable[[pd.DataFrame], float]]:
    """The metrics called `ndcg@20`, `recall@20`, `hit_rate@20`, for any cut-off.

    Raises:
        AutopruneError: a name is not of that form.
    """
    found: dict[str, Callable[[pd.DataFrame], float]] = {}
    for name in names:
        kind, k = _parse(name)
        found[name] = partial(mean_over_users, kind=kind, k=k)
    return found


def longest_list(names: Iterable[str]) -> int:
    """The largest cut-off among metric names."""
    return max(_parse(name)[1] for name in names)


def _parse(name: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\w+)@([1-9]\d*)", name)
    if match is None or match[1] not in KINDS:
        options = [f"{kind}@20" for kind in KINDS]
        raise AutopruneError(f"metric {name!r} is unknown. {nearest(name, options)} Any cut-off may follow the @.")
    return match[1], int(match[2])
