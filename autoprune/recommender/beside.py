"""The `beside` part of a recommender's artifact: all ids, titles and histories, compressed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from autoprune.artifacts.served import Beside
from autoprune.errors import AutopruneError
from autoprune.packing.ids import Ids, Packed
from autoprune.recommender.histories import Histories

T = TypeVar("T")

STORED = ("histories", "starts", "history")
"""The arrays of histories; the last two are of artifacts in format 1."""


def make_beside(*, users: Ids, items: Ids, histories: Histories, titles: Sequence[str] | None) -> Beside:
    """Encodes all ids, each user's history (positions in `items`), and the titles if there are any."""
    tensors = {"users": users.encode(), "items": items.encode(), "histories": histories.encode()}
    if titles:
        written = json.dumps(list(titles), ensure_ascii=False, separators=(",", ":")).encode()
        tensors["titles"] = np.frombuffer(zlib.compress(written, level=9), dtype=np.uint8)
    return Beside(values={}, tensors=tensors)


def titles_of(beside: Beside) -> list[str] | None:
    """The titles of all items, also from format 1; None if there are none."""
    encoded = beside.tensors.get("titles")
    format_1: list[str] | None = beside.values.get("titles")
    return format_1 if encoded is None else _read("titles", lambda: _texts(encoded))


def histories_of(beside: Beside, users: int) -> Histories:
    """The histories of `users` users, also from format 1; empty ones if there are none."""
    tensors = beside.tensors
    if "histories" in tensors:
        return _read("histories", lambda: Histories.decode(tensors["histories"]))
    if "history" in tensors:
        return Histories(starts=tensors["starts"], items=tensors["history"])
    return Histories(starts=np.zeros(users + 1, dtype=np.int64), items=np.empty(0, dtype=np.int64))


def history_bytes(beside: Beside) -> int:
    """Bytes of the histories as they are stored."""
    return sum(tensor.nbytes for name, tensor in beside.tensors.items() if name in STORED)


def _texts(packed: Packed) -> list[str]:
    texts: list[str] = json.loads(zlib.decompress(packed.tobytes()))
    return texts


def _read(what: str, read: Callable[[], T]) -> T:
    """Reads a part at its first use. It may be damaged: the hash of a large file is not checked at loading."""
    try:
        return read()
    except (zlib.error, ValueError, LookupError) as error:
        raise AutopruneError(
            f"beside/tensors.safetensors: its {what} cannot be read ({error}); copy the artifact again."
        ) from error
