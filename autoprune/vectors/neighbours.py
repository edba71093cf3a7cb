"""The nearest of many vectors, searched block by block, so that no table is ever decoded as a whole."""

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
"""Rows that are searched at a time."""

PAIRS = 10**11
"""`nearest_of_each` compares all pairs if there are at most this many: minutes on one thread."""

PROBES = 8
"""With more pairs, each row is compared with the rows of this many lists."""

ASKED = 2**18
"""Rows whose nearest rows are searched at a time."""

Places = npt.NDArray[np.int64]


def nearest(
    queries: Tensor, rows: Callable[[Tensor], Tensor], among: Tensor, *, similarity: str, k: int
) -> tuple[npt.NDArray[np.float32], Places]:
    """The k nearest of some rows to each query, best first.

    Args:
        queries: float32 [n, dim].
        rows: returns the vectors of row numbers, float32 [m, dim].
        among: numbers of the rows that are searched, int64 [m].
        similarity: one of `autoprune.vectors.similarity.SIMILARITIES`.

    Returns:
        Their similarities and their row numbers, both [n, min(k, m)].
    """
    faiss = load_faiss()
    faiss.omp_set_num_threads(torch.get_num_threads())
    metric = faiss.METRIC_L2 if similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT
    prepared_queries = np.ascontiguousarray(prepared(queries, similarity).numpy())
    scores = np.empty((len(prepared_queries), 0), dtype=np.float32)
    best_rows = np.empty((len(prepared_queries), 0), dtype=np.int64)
    for block in _blocks(among):
        vectors = np.ascontiguousarray(prepared(rows(block), similarity).numpy())
        block_scores, columns = faiss.knn(prepared_queries, vectors, min(k, len(block)), metric=metric)
        block_scores = -np.sqrt(np.maximum(block_scores, 0.0)) if similarity == "euclidean" else block_scores
        scores, best_rows = _best(np.hstack([scores, block_scores]), np.hstack([best_rows, block.numpy()[columns]]), k)
    return scores, best_rows


def nearest_of_each(
    vectors: Tensor, asking: Tensor, among: Tensor, *, similarity: str, pause: Callable[[], None] = lambda: None
) -> Places:
    """The position in `among` of the row nearest to each row in `asking`, int64 [n].

    With more than `PAIRS` pairs, a few rows in a hundred get a row that is only nearly the nearest: the rows are put
    into lists by their nearest mean, and only the nearest lists are searched (Sivic & Zisserman 2003, "Video Google").

    Args:
        vectors: float32 [rows, dim], perhaps mapped from a file.
        asking, among: row numbers, int64 [n] and [m].
        similarity: `cosine` or `euclidean`.
        pause: called between blocks.
    """
    best, best_scores = np.zeros(len(asking), dtype=np.int64), np.full(len(asking), -np.inf, dtype=np.float32)

    def search(positions: Tensor, members: Tensor) -> None:
        scores, nearest_members = nearest(
            vectors[asking[positions]], lambda subset: vectors[among[subset]], members, similarity=similarity, k=1
        )
        searched, better = positions.numpy(), scores[:, 0] > best_scores[positions.numpy()]
        best[searched[better]], best_scores[searched[better]] = nearest_members[better, 0], scores[better, 0]

    few = len(asking) * len(among) <= PAIRS
    lists = None if few else _Lists.of(vectors, among, similarity=similarity)
    for positions in torch.split(torch.arange(len(asking)), ROWS // 2 if few else ASKED):
        for subset, members in lists.near(vectors[asking[positions]]) if lists else ():
            search(positions[subset], members)
        # all rows, or those whose lists are empty
        unanswered = positions[torch.from_numpy(np.isneginf(best_scores[positions.numpy()]))]
        if len(unanswered):
            search(unanswered, torch.arange(len(among)))
        pause()
    return best


class _Lists:
    """Rows in lists, by their nearest mean."""

    def __init__(self, means: Tensor, members: list[Tensor], similarity: str) -> None:
        self._means, self._members, self._similarity = means, members, similarity

    @staticmethod
    def of(vectors: Tensor, among: Tensor, *, similarity: str) -> _Lists:
        """2 √rows lists, whose means k-means learns from 50 rows for each list."""
        count = 2 * math.isqrt(len(among))
        sample = np.random.default_rng(0).choice(len(among), min(50 * count, len(among)), replace=False)
        kmeans = load_faiss().Kmeans(vectors.shape[1], count, niter=10, seed=0, min_points_per_centroid=1)
        kmeans.train(np.ascontiguousarray(prepared(vectors[among[torch.from_numpy(sample)]], similarity).numpy()))
        lists = _Lists(torch.from_numpy(np.asarray(kmeans.centroids)), [], similarity)
        list_of_row = torch.cat([lists._nearest(vectors[block], k=1)[:, 0] for block in _blocks(among)])
        lists._members = list(
            torch.split(list_of_row.argsort(stable=True), torch.bincount(list_of_row, minlength=count).tolist())
        )
        return lists

    def near(self, vectors: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """For each list near some of the vectors (float32 [n, dim]): the positions of these, and the list's members."""
        lists = torch.cat([self._nearest(block, k=PROBES) for block in torch.split(vectors, ROWS)])
        order = lists.flatten().argsort(stable=True)
        sizes = torch.bincount(lists.flatten(), minlength=len(self._members)).tolist()
        for positions, members in zip(torch.split(order // lists.shape[1], sizes), self._members, strict=True):
            if len(positions) and len(members):
                yield positions, members

    def _nearest(self, vectors: Tensor, *, k: int) -> Tensor:
        """The k lists with the nearest means, int64 [n, k]."""
        every = torch.arange(len(self._means))
        nearest_lists = nearest(vectors, lambda lists: self._means[lists], every, similarity=self._similarity, k=k)[1]
        return torch.from_numpy(nearest_lists)


def _blocks(among: Tensor) -> Iterator[Tensor]:
    return iter(torch.split(among, ROWS))


def _best(scores: npt.NDArray[np.float32], rows: Places, k: int) -> tuple[npt.NDArray[np.float32], Places]:
    """The k best columns of each row; of equal scores the first."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
