"""Similarities of two vectors: larger is more similar."""

from __future__ import annotations

import torch
from torch import Tensor

SIMILARITIES = ("cosine", "dot", "euclidean")
"""The last is a negated distance."""


def prepared(vectors: Tensor, similarity: str) -> Tensor:
    """Vectors as `compared` expects them: normalised for cosine, else unchanged; float32 [n, dim]."""
    if similarity != "cosine":
        return vectors
    normalised: Tensor = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_min(1e-12)
    return normalised


def compared(one: Tensor, other: Tensor, similarity: str) -> Tensor:
    """The similarity of each pair of rows: float32 [n] of two arrays [n, dim] from `prepared`."""
    if similarity == "euclidean":
        negated_distances: Tensor = -torch.linalg.vector_norm(one - other, dim=1)
        return negated_distances
    return (one * other).sum(1)
