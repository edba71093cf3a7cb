"""The exact neighbours of some vectors among many: block by block, so that no table is ever expanded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autoprune.packing.product import load_faiss
from autoprune.vectors.similarity import prepared

ROWS = 2**15
"""Searched at a time."""

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


def _blocks(among: Tensor) -> Iterator[Tensor]:
    return iter(torch.split(among, ROWS))


def _best(scores: npt.NDArray[np.float32], rows: Places, k: int) -> tuple[npt.NDArray[np.float32], Places]:
    """The k best columns of each line; of equal ones the first."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
