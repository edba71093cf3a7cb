"""A part of a collection that is as hard to search in as the whole: what the dense model finds nearest stays in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Positions = np.ndarray[Any, np.dtype[np.int64]]


def fitting_queries(relevant: Sequence[int], documents: int, *, k: int, seed: int) -> Positions:
    """Queries whose `k` nearest and `k` best relevant documents fit into so many: int64, ascending, at least one.

    Args:
        relevant: how many documents are relevant to each query.
        documents: in the part.
        k: answers that a query is judged by.
        seed: draws the order in which queries are taken.
    """
    order = np.random.default_rng(seed).permutation(len(relevant))
    needed = np.cumsum(k + np.minimum(np.array(relevant)[order], k))
    return np.sort(order[: max(1, int((needed <= documents).sum()))])


def hardest_documents(near: Positions, relevant: Sequence[Mapping[int, float]], count: int, *, k: int) -> Positions:
    """The documents of the part: int64, ascending.

    For each query its `k` nearest, and of those relevant to it the `k` best (the nearer of equal grade); then the next
    nearest of all queries, rank by rank, until there are `count`. The dense model's first `k` answers are then the
    same as in the whole.

    Args:
        near: positions of documents, the nearest first, [queries, depth].
        relevant: for each query: position → its gain.
        count: of documents; more where the first step needs more.
        k: answers that a query is judged by.
    """
    taken: dict[int, None] = {}
    for row, known in zip(near, relevant, strict=True):
        rank = {int(at): place for place, at in enumerate(row)}
        best = sorted(known, key=lambda at: (-known[at], rank.get(at, len(rank))))
        taken |= dict.fromkeys([*row[:k].tolist(), *best[:k]])
    for column in near[:, k:].T:
        if len(taken) >= count:
            break
        new = [at for at in dict.fromkeys(column.tolist()) if at not in taken]
        taken |= dict.fromkeys(new[: count - len(taken)])
    return np.sort(np.fromiter(taken, dtype=np.int64))
