"""Counts of pieces and characters in many texts, computed once on this machine and stored in the user's cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoprune.encoder.benchmarks.benchmark import sha256_of
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.user_cache import cache_folder, keep


class Counts(NamedTuple):
    """Counts of a tokenizer in texts.

    Attributes:
        pieces: how often each id occurs, int64 [size].
        characters: the distinct characters as the vocabulary sees them.
    """

    pieces: NDArray[np.int64]
    characters: set[str]


def counted(tokenizer: Tokenizer, texts: Sequence[str]) -> Counts:
    """The counts of texts; for 400,000 texts it takes some twenty seconds, and no time the next time."""
    digest = sha256_of([json.dumps(tokenizer.content, sort_keys=True), tokenizer.max_tokens, *texts])
    path = cache_folder("counts") / f"{digest[:24]}.npz"
    try:
        with path.open("rb") as file, np.load(file) as cached:
            counts = Counts(cached["pieces"].astype(np.int64), set(str(cached["characters"])))
        if counts.pieces.shape == (tokenizer.size,):
            return counts
    except Exception:  # nothing is cached, or the file is damaged, which may raise anything
        pass
    counts = Counts(tokenizer.frequency(texts), tokenizer.characters(texts))
    characters = "".join(sorted(counts.characters))
    keep(path, lambda file: np.savez_compressed(file, pieces=counts.pieces, characters=characters))
    return counts
