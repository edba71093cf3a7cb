"""How often pieces and characters occur in many texts, counted once on this machine and kept in the user's cache."""

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
    """What a tokenizer finds in texts.

    Attributes:
        pieces: how often each id occurs, int64 [size].
        characters: as the vocabulary sees them, each once.
    """

    pieces: NDArray[np.int64]
    characters: set[str]


def counted(tokenizer: Tokenizer, texts: Sequence[str]) -> Counts:
    """Counts texts; takes some twenty seconds for 400,000 of them, and the next time none."""
    digest = sha256_of([json.dumps(tokenizer.content, sort_keys=True), tokenizer.max_tokens, *texts])
    path = cache_folder("counts") / f"{digest[:24]}.npz"
    try:
        with path.open("rb") as file, np.load(file) as kept:
            found = Counts(kept["pieces"].astype(np.int64), set(str(kept["characters"])))
        if found.pieces.shape == (tokenizer.size,):
            return found
    except Exception:  # nothing is kept, or whatever a damaged file does to its reader
        pass
    found = Counts(tokenizer.frequency(texts), tokenizer.characters(texts))
    characters = "".join(sorted(found.characters))
    keep(path, lambda file: np.savez_compressed(file, pieces=found.pieces, characters=characters))
    return found
