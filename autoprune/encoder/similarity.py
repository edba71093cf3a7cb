"""How two vectors are compared: the four ways that sentence-transformers knows, larger is more alike."""

from __future__ import annotations

from typing import Any

import numpy as np

Numbers = np.ndarray[Any, Any]

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
"""The last two are distances with a minus before them."""


def prepared(vectors: Numbers, similarity: str) -> Numbers:
    """Vectors as `compared` and `all_compared` take them: of length 1 for cosine, else as they are."""
    return normalized(vectors) if similarity == "cosine" else vectors


def normalized(vectors: Numbers) -> Numbers:
    """Rows of length 1."""
    found: Numbers = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return found


def compared(one: Numbers, other: Numbers, similarity: str) -> Numbers:
    """Row by row: float64 [n] of prepared [n, dim] each."""
    if similarity in ("cosine", "dot"):
        products: Numbers = np.einsum("nd,nd->n", one, other, dtype=np.float64)
        return products
    found: Numbers = -np.linalg.norm(one.astype(np.float64) - other, ord=1 if similarity == "manhattan" else 2, axis=1)
    return found


def all_compared(one: Numbers, other: Numbers, similarity: str) -> Numbers:
    """Every row with every row: float32 [n, m] of prepared [n, dim] and [m, dim].

    Distances are sums over differences, never taken from products: those lose what is near, and are used or not by
    how many rows there are.
    """
    if similarity in ("cosine", "dot"):
        products: Numbers = one @ other.T
        return products
    import torch  # here, because who answers compares nothing

    order = 1.0 if similarity == "manhattan" else 2.0
    apart = torch.cdist(
        torch.from_numpy(one), torch.from_numpy(other), p=order, compute_mode="donot_use_mm_for_euclid_dist"
    )
    found: Numbers = -apart.numpy()
    return found
