"""What the dense model makes of texts: what smaller models learn, and what fidelity is judged by."""

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
"""Vectors are kept on disk in chunks of so many texts: a kill costs at most one."""


class Teacher:
    """The dense model's vectors of texts, each computed once on this machine and kept in the user's cache.

    Args:
        digest: of the dense model, see `digest_of`.
        serve: makes the dense model ready to answer; called when it is first needed.
        out: dimensions of its vectors.
        report: called with a message before every chunk that is computed, and once where none can be kept.
    """

    def __init__(self, digest: str, serve: Callable[[], TextModel], *, out: int, report: Callable[[str], None]) -> None:
        self._digest, self._serve, self._out, self._report = digest, serve, out, report
        self._keeps = True

    def vectors(self, texts: Sequence[Text]) -> Vectors:
        """Of texts as they stand, float32 [n, out]: prepared for the similarity that the dense model declares."""
        folder = cache_folder("vectors") / self._digest[:16]
        dense: TextModel | None = None
        found = []
        for start in range(0, len(texts), CHUNK_TEXTS):
            chunk = texts[start : start + CHUNK_TEXTS]
            path = folder / f"{hashlib.sha256(json.dumps(chunk).encode()).hexdigest()[:24]}.npy"
            kept = self._kept(path, len(chunk))
            if kept is None:
                doing = f"embedding texts with the dense model: {start:,} of {len(texts):,}"
                self._report(doing)
                dense = dense or self._serve()
                countdown = Countdown(f"{doing}, the next {len(chunk):,}", 1.0, self._report)
                kept = prepared(dense.vectors(chunk, told=countdown.reached), dense.similarity)
                self._keep(path, kept)
            found.append(kept)
        return np.concatenate(found)

    def _kept(self, path: Path, rows: int) -> Vectors | None:
        """What is kept of a chunk; None: nothing, or no vectors of so many texts."""
        try:
            found = np.load(path)
            fits = found.shape == (rows, self._out) and found.dtype == np.float32
        except Exception:  # whatever a damaged file does to its reader
            return None
        return found if fits else None

    def _keep(self, path: Path, vectors: Vectors) -> None:
        """Keeps a chunk; says so once where none can be kept."""
        error = keep(path, lambda file: np.save(file, vectors))
        if error is not None:
            if self._keeps:
                self._report(f"vectors of texts cannot be kept in {path.parent} ({error.strerror or error})")
            self._keeps = False


def digest_of(model: Encoder) -> str:
    """SHA-256 of weights, tokenizer and architecture."""
    settings = {**model.settings(), "name": None}  # wherever it lies
    found = hashlib.sha256(json.dumps([settings, model.tokenizer.content], sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
