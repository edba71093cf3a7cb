"""What the dense model makes of texts: what smaller models learn, and what fidelity is judged by."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence

import numpy as np
import platformdirs

from autoprune.encoder.benchmarks.benchmark import Vectors
from autoprune.encoder.model import Encoder
from autoprune.encoder.served import SentenceEncoder
from autoprune.encoder.similarity import prepared

CHUNK_TEXTS = 4096
"""Vectors are kept on disk in chunks of so many texts: a kill costs at most one."""


class Teacher:
    """The dense model's vectors of texts, each computed once on this machine and kept in the user's cache.

    Args:
        digest: of the dense model, see `digest_of`.
        serve: makes the dense model ready to answer; called when it is first needed.
        report: called with a message before every chunk that is computed.
    """

    def __init__(self, digest: str, serve: Callable[[], SentenceEncoder], *, report: Callable[[str], None]) -> None:
        self._digest, self._serve, self._report = digest, serve, report

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Of texts as they stand, float32 [n, out]: prepared for the similarity that the dense model declares."""
        folder = platformdirs.user_cache_path("autoprune") / "vectors" / self._digest[:16]
        dense: SentenceEncoder | None = None
        found = []
        for start in range(0, len(texts), CHUNK_TEXTS):
            chunk = texts[start : start + CHUNK_TEXTS]
            path = folder / f"{hashlib.sha256(json.dumps(chunk).encode()).hexdigest()[:24]}.npy"
            try:
                found.append(np.load(path))
            except (OSError, ValueError, EOFError):
                self._report(f"embedding texts with the dense model: {start:,} of {len(texts):,}")
                dense = dense or self._serve()
                found.append(prepared(dense.vectors(chunk), dense.similarity))
                folder.mkdir(parents=True, exist_ok=True)
                draft = path.with_name(f"{path.stem}-{os.getpid()}.draft.npy")
                np.save(draft, found[-1])
                draft.replace(path)
        return np.concatenate(found)


def digest_of(model: Encoder) -> str:
    """SHA-256 of weights, tokenizer and architecture."""
    settings = {**model.settings(), "name": None}  # wherever it lies
    found = hashlib.sha256(json.dumps([settings, model.tokenizer.content], sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
