"""Vectors as whoever searches among them stores them: as they are, or in fewer bits for each dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoprune.encoder.similarity import normalized

Numbers = np.ndarray[Any, Any]

FLOAT = 32

WIDTHS = (FLOAT, 16, 8, 1)
"""Bits of a dimension: float32, float16, whole numbers from -127 to 127, signs."""

HALVES = 16
"""From so many bits on a stored vector keeps its length; codes of fewer keep its direction alone."""

LARGEST = 65504
"""Of float16: what is beyond would become infinite, and so would every score of its vector."""


def stored(vectors: Numbers, bits: int) -> Numbers:
    """What is stored of vectors, float32 [n, dim].

    Whole numbers divide the range of each vector by itself: their factor drops out of a cosine, and need not be stored.
    Signs stand as `numpy.packbits` puts them, the first dimension in the highest bit; sentence-transformers calls that
    `ubinary` (Yamada et al. 2021, "Efficient Passage Retrieval with Hashing for Open-domain Question Answering").

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
    """What stored vectors stand for: float32 [n, dim], or [dim] of one; of length 1 where their own is not kept."""
    if bits >= HALVES:
        return codes.astype(np.float32, copy=False)
    rows = np.atleast_2d(codes)
    if bits == 1:
        rows = np.unpackbits(rows, axis=1, count=dim).astype(np.float32) * 2 - 1
    found = normalized(rows.astype(np.float32, copy=False))
    return found[0] if codes.ndim == 1 else found


def kept(vectors: Numbers, bits: int) -> Numbers:
    """What becomes of vectors, float32 [n, dim], that are stored; one that is not finite becomes 0."""
    if bits == FLOAT:
        return vectors
    finite = np.isfinite(vectors).all(axis=1, keepdims=True)
    there = np.where(finite, vectors, np.float32(0))
    return np.where(finite, widened(stored(there, bits), bits, dim=vectors.shape[1]), np.float32(0))


def stored_bytes(dim: int, bits: int) -> int:
    """Of one vector."""
    return -(-dim * bits // 8)
