"""The neighbours of some vectors among many: block by block, so that no table is ever expanded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autoprune.packing.product import load_faiss
from autoprune.vectors.similarity import prepared

ROWS = 2**15
"""Searched at a time."""

PAIRS = 10**11
"""Up to so many pairs of rows are compared where each of many rows needs its nearest: minutes on one thread."""

PROBES = 8
"""Of more, each row is compared with those of so many lists."""

ASKED = 2**18
"""Rows that look for their nearest at a time."""

Places = npt.NDArray[np.int64]


def nearest(
    queries: Tensor, rows: Callable[[Tensor], Tensor], among: Tensor, *, similarity: str, k: int
) -> tuple[npt.NDArray[np.float32], Places]:
    """The k nearest of some rows to each query, best first.

    Args:
        queries: float32 [n, dim].
        rows: gives the vectors of row numbers, float32 [m, dim].
        among: rows that may be found, int64 [m].
        similarity: one of `autoprune.vectors.similarity.SIMILARITIES`.

    Returns:
        How alike they are and their row numbers, [n, min(k, m)].
    """
    faiss = load_faiss()
    faiss.omp_set_num_threads(torch.get_num_threads())
    metric = faiss.METRIC_L2 if similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT
    asked = np.ascontiguousarray(prepared(queries, similarity).numpy())
    scores = np.empty((len(asked), 0), dtype=np.float32)
    found = np.empty((len(asked), 0), dtype=np.int64)
    for block in _blocks(among):
        vectors = np.ascontiguousarray(prepared(rows(block), similarity).numpy())
        near, at = faiss.knn(asked, vectors, min(k, len(block)), metric=metric)
        near = -np.sqrt(np.maximum(near, 0.0)) if similarity == "euclidean" else near
        scores, found = _best(np.hstack([scores, near]), np.hstack([found, block.numpy()[at]]), k)
    return scores, found


def nearest_of_each(
    vectors: Tensor, asking: Tensor, among: Tensor, *, similarity: str, pause: Callable[[], None] = lambda: None
) -> Places:
    """For each of some rows the place among others of the one nearest to it, int64 [n].

    Beyond `PAIRS` pairs a few rows in a hundred get one that is nearly as near: others stand in lists by the nearest of
    some means, and a row looks through the lists nearest to it (Sivic & Zisserman 2003, "Video Google").

    Args:
        vectors: float32 [rows, dim], perhaps mapped from a file.
        asking, among: row numbers, int64 [n] and [m].
        similarity: `cosine` or `euclidean`.
        pause: called now and then.
    """
    found, alike = np.zeros(len(asking), dtype=np.int64), np.full(len(asking), -np.inf, dtype=np.float32)

    def look(who: Tensor, members: Tensor) -> None:
        scores, at = nearest(
            vectors[asking[who]], lambda some: vectors[among[some]], members, similarity=similarity, k=1
        )
        chosen, better = who.numpy(), scores[:, 0] > alike[who.numpy()]
        found[chosen[better]], alike[chosen[better]] = at[better, 0], scores[better, 0]

    few = len(asking) * len(among) <= PAIRS
    lists = None if few else _Lists.of(vectors, among, similarity=similarity)
    for who in torch.split(torch.arange(len(asking)), ROWS // 2 if few else ASKED):
        for some, members in lists.near(vectors[asking[who]]) if lists else ():
            look(who[some], members)
        left = who[torch.from_numpy(np.isneginf(alike[who.numpy()]))]  # all of them, or whose lists are empty
        if len(left):
            look(left, torch.arange(len(among)))
        pause()
    return found


class _Lists:
    """Rows in lists, by the nearest of some means."""

    def __init__(self, means: Tensor, members: list[Tensor], similarity: str) -> None:
        self._means, self._members, self._similarity = means, members, similarity

    @staticmethod
    def of(vectors: Tensor, among: Tensor, *, similarity: str) -> _Lists:
        """Twice as many lists as the root of the rows, by k-means of 50 rows for each."""
        count = 2 * math.isqrt(len(among))
        drawn = np.random.default_rng(0).choice(len(among), min(50 * count, len(among)), replace=False)
        learned = load_faiss().Kmeans(vectors.shape[1], count, niter=10, seed=0, min_points_per_centroid=1)
        learned.train(np.ascontiguousarray(prepared(vectors[among[torch.from_numpy(drawn)]], similarity).numpy()))
        made = _Lists(torch.from_numpy(np.asarray(learned.centroids)), [], similarity)
        home = torch.cat([made._nearest(vectors[block], k=1)[:, 0] for block in _blocks(among)])
        made._members = list(torch.split(home.argsort(stable=True), torch.bincount(home, minlength=count).tolist()))
        return made

    def near(self, asked: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each list that is near to some of float32 [n, dim]: which of these, and its members."""
        lists = torch.cat([self._nearest(block, k=PROBES) for block in torch.split(asked, ROWS)])
        order = lists.flatten().argsort(stable=True)
        sizes = torch.bincount(lists.flatten(), minlength=len(self._members)).tolist()
        for some, members in zip(torch.split(order // lists.shape[1], sizes), self._members, strict=True):
            if len(some) and len(members):
                yield some, members

    def _nearest(self, asked: Tensor, *, k: int) -> Tensor:
        """The lists of the k nearest means, int64 [n, k]."""
        every = torch.arange(len(self._means))
        at = nearest(asked, lambda some: self._means[some], every, similarity=self._similarity, k=k)[1]
        return torch.from_numpy(at)


def _blocks(among: Tensor) -> Iterator[Tensor]:
    return iter(torch.split(among, ROWS))


def _best(scores: npt.NDArray[np.float32], rows: Places, k: int) -> tuple[npt.NDArray[np.float32], Places]:
    """The k best columns of each line; of equal ones the first."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
