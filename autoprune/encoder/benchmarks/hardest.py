"""A part of a collection that is as hard to search as the whole: it keeps what the dense model finds nearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Positions = np.ndarray[Any, np.dtype[np.int64]]


def fitting_queries(relevant: Sequence[int], documents: int, *, k: int, seed: int) -> Positions:
    """Queries whose `k` nearest and `k` best relevant documents fit into so many: int64, ascending, at least one.

    Args:
        relevant: how many documents are relevant to each query.
        documents: documents in the part.
        k: answers by which a query is judged.
        seed: draws the order in which queries are taken.
    """
    order = np.random.default_rng(seed).permutation(len(relevant))
    needed = np.cumsum(k + np.minimum(np.array(relevant)[order], k))
    return np.sort(order[: max(1, int((needed <= documents).sum()))])


def hardest_documents(near: Positions, relevant: Sequence[Mapping[int, float]], count: int, *, k: int) -> Positions:
    """The documents of the part: int64, ascending.

    For each query these are its `k` nearest documents and its `k` best relevant ones (the nearer first at equal grade);
    then the next nearest of all queries, rank by rank, until there are `count`. So the dense model's first `k` answers
    are the same as in the whole.

    Args:
        near: positions of documents, the nearest first, [queries, depth].
        relevant: for each query: position → its gain.
        count: number of documents; the first step may need more.
        k: answers by which a query is judged.
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
