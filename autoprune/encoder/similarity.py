"""The four similarities of vectors that sentence-transformers has; a larger value means more similar."""

from __future__ import annotations

from typing import Any

import numpy as np

Numbers = np.ndarray[Any, Any]

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
"""The last two are negated distances."""


def prepared(vectors: Numbers, similarity: str) -> Numbers:
    """Vectors in the form that `compared` and `all_compared` take: of length 1 for cosine, else unchanged."""
    return normalized(vectors) if similarity == "cosine" else vectors


def normalized(vectors: Numbers) -> Numbers:
    """The rows scaled to length 1."""
    scaled: Numbers = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return scaled


def compared(one: Numbers, other: Numbers, similarity: str) -> Numbers:
    """Similarities row by row: float64 [n], of prepared vectors [n, dim] each."""
    if similarity in ("cosine", "dot"):
        products: Numbers = np.einsum("nd,nd->n", one, other, dtype=np.float64)
        return products
    order = 1 if similarity == "manhattan" else 2
    distances: Numbers = -np.linalg.norm(one.astype(np.float64) - other, ord=order, axis=1)
    return distances


def all_compared(one: Numbers, other: Numbers, similarity: str) -> Numbers:
    """Similarities of every row with every row: float32 [n, m], of prepared vectors [n, dim] and [m, dim].

    Distances are summed from differences, never computed from products: products lose precision for near vectors, and
    torch would use them or not depending on the number of rows.
    """
    if similarity in ("cosine", "dot"):
        products: Numbers = one @ other.T
        return products
    import torch  # here, because an artifact that answers compares nothing

    order = 1.0 if similarity == "manhattan" else 2.0
    distances = torch.cdist(
        torch.from_numpy(one), torch.from_numpy(other), p=order, compute_mode="donot_use_mm_for_euclid_dist"
    )
    similarities: Numbers = -distances.numpy()
    return similarities
