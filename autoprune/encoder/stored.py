"""Vectors as an index stores them: as they are, or in fewer bits for each dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoprune.encoder.similarity import normalized

Numbers = np.ndarray[Any, Any]

FLOAT = 32

WIDTHS = (FLOAT, 16, 8, 1)
"""Bits of a dimension: float32, float16, whole numbers from -127 to 127, signs."""

HALVES = 16
"""With this many bits or more a stored vector keeps its length; codes of fewer bits keep only its direction."""

LARGEST = 65504
"""The largest float16: larger values would become infinite, and so would all scores of their vector."""


def stored(vectors: Numbers, bits: int) -> Numbers:
    """Vectors, float32 [n, dim], in the form in which they are stored.

    With 8 bits each vector has a scale of its own. The scale drops out of a cosine, so it is not stored. Signs are
    packed as by `numpy.packbits`, the first dimension in the highest bit; sentence-transformers calls this `ubinary`
    (Yamada et al. 2021, "Efficient Passage Retrieval with Hashing for Open-domain Question Answering").

    Returns:
        float32 or float16 [n, dim], int8 [n, dim], or uint8 [n, dim / 8, rounded up].
    """
    if bits == FLOAT:
        return vectors
    if bits == HALVES:
        return np.clip(vectors, -LARGEST, LARGEST).astype(np.float16)
    if bits == 1:
        return np.packbits(vectors > 0, axis=1)
    largest = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-12)
    codes: Numbers = np.rint(vectors * (127 / largest)).astype(np.int8)
    return codes


def widened(codes: Numbers, bits: int, *, dim: int) -> Numbers:
    """Stored vectors as float32 [n, dim], or [dim] for one; of length 1 if their own length was not stored."""
    if bits >= HALVES:
        return codes.astype(np.float32, copy=False)
    rows = np.atleast_2d(codes)
    if bits == 1:
        rows = np.unpackbits(rows, axis=1, count=dim).astype(np.float32) * 2 - 1
    vectors = normalized(rows.astype(np.float32, copy=False))
    return vectors[0] if codes.ndim == 1 else vectors


def kept(vectors: Numbers, bits: int) -> Numbers:
    """Vectors, float32 [n, dim], as they are after storing; one that is not finite becomes 0."""
    if bits == FLOAT:
        return vectors
    finite = np.isfinite(vectors).all(axis=1, keepdims=True)
    filled = np.where(finite, vectors, np.float32(0))
    return np.where(finite, widened(stored(filled, bits), bits, dim=vectors.shape[1]), np.float32(0))


def stored_bytes(dim: int, bits: int) -> int:
    """Bytes of one stored vector."""
    return -(-dim * bits // 8)
