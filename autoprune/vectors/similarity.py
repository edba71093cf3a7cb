"""How two vectors are compared: larger is more alike."""

from __future__ import annotations

import torch
from torch import Tensor

SIMILARITIES = ("cosine", "dot", "euclidean")
"""The last is a distance with a minus before it."""


def prepared(vectors: Tensor, similarity: str) -> Tensor:
    """Vectors as `compared` takes them: of length 1 for cosine, else as they are; float32 [n, dim]."""
    if similarity != "cosine":
        return vectors
    found: Tensor = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_min(1e-12)
    return found


def compared(one: Tensor, other: Tensor, similarity: str) -> Tensor:
    """Row by row: float32 [n] of prepared [n, dim] each."""
    if similarity == "euclidean":
        found: Tensor = -torch.linalg.vector_norm(one - other, dim=1)
        return found
    return (one * other).sum(1)
