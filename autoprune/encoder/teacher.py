"""The dense model's vectors of texts: what smaller models learn, and what fidelity is measured against."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from autoprune.encoder.benchmarks.benchmark import Vectors
from autoprune.encoder.countdown import Countdown
from autoprune.encoder.model import Encoder
from autoprune.encoder.served import TextModel
from autoprune.encoder.similarity import prepared
from autoprune.encoder.tokenizer import Text
from autoprune.user_cache import cache_folder, keep

CHUNK_TEXTS = 4096
"""Texts in a chunk of cached vectors. A process that is killed loses at most one chunk."""


class Teacher:
    """The dense model's vectors of texts, each computed once on this machine and stored in the user's cache.

    Args:
        digest: the dense model's digest; see `digest_of`.
        serve: makes the dense model ready to answer; called when it is first needed.
        out: dimensions of its vectors.
        report: called with a message before each chunk is computed, and once if chunks cannot be cached.
    """

    def __init__(self, digest: str, serve: Callable[[], TextModel], *, out: int, report: Callable[[str], None]) -> None:
        self._digest, self._serve, self._out, self._report = digest, serve, out, report
        self._keeps = True

    def vectors(self, texts: Sequence[Text]) -> Vectors:
        """Vectors of texts with no prompt added, float32 [n, out]: prepared for the dense model's similarity."""
        folder = cache_folder("vectors") / self._digest[:16]
        dense: TextModel | None = None
        chunks = []
        for start in range(0, len(texts), CHUNK_TEXTS):
            chunk = texts[start : start + CHUNK_TEXTS]
            path = folder / f"{hashlib.sha256(json.dumps(chunk).encode()).hexdigest()[:24]}.npy"
            vectors = self._cached(path, len(chunk))
            if vectors is None:
                doing = f"embedding texts with the dense model: {start:,} of {len(texts):,}"
                self._report(doing)
                dense = dense or self._serve()
                countdown = Countdown(f"{doing}, the next {len(chunk):,}", 1.0, self._report)
                vectors = prepared(dense.vectors(chunk, told=countdown.reached), dense.similarity)
                self._keep(path, vectors)
            chunks.append(vectors)
        return np.concatenate(chunks)

    def _cached(self, path: Path, rows: int) -> Vectors | None:
        """The cached vectors of a chunk; None: there are none, or they do not fit the number of texts."""
        try:
            vectors = np.load(path)
            fits = vectors.shape == (rows, self._out) and vectors.dtype == np.float32
        except Exception:  # a damaged file may raise anything
            return None
        return vectors if fits else None

    def _keep(self, path: Path, vectors: Vectors) -> None:
        """Caches a chunk; reports once if that fails."""
        error = keep(path, lambda file: np.save(file, vectors))
        if error is not None:
            if self._keeps:
                self._report(f"vectors of texts cannot be kept in {path.parent} ({error.strerror or error})")
            self._keeps = False


def digest_of(model: Encoder) -> str:
    """SHA-256 of weights, tokenizer and architecture."""
    settings = {**model.settings(), "name": None}  # the same wherever the model is stored
    digest = hashlib.sha256(json.dumps([settings, model.tokenizer.content], sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
