"""What lies beside a recommender's model: all ids, the titles of items, what users have seen; in few bytes."""

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
"""The arrays of histories; the last two are those of artifacts of format 1."""


def make_beside(*, users: Ids, items: Ids, histories: Histories, titles: Sequence[str] | None) -> Beside:
    """Ids of the whole catalogue, of each user the positions in `items` of what is known, and titles if any."""
    tensors = {"users": users.encode(), "items": items.encode(), "histories": histories.encode()}
    if titles:
        written = json.dumps(list(titles), ensure_ascii=False, separators=(",", ":")).encode()
        tensors["titles"] = np.frombuffer(zlib.compress(written, level=9), dtype=np.uint8)
    return Beside(values={}, tensors=tensors)


def titles_of(beside: Beside) -> list[str] | None:
    """Of all items; None where none are known. As format 1 had them, too."""
    held = beside.tensors.get("titles")
    before: list[str] | None = beside.values.get("titles")
    return before if held is None else _read("titles", lambda: _texts(held))


def histories_of(beside: Beside, users: int) -> Histories:
    """Of so many users; empty where the artifact came without. As format 1 had them, too."""
    held = beside.tensors
    if "histories" in held:
        return _read("histories", lambda: Histories.decode(held["histories"]))
    if "history" in held:
        return Histories(starts=held["starts"], items=held["history"])
    return Histories(starts=np.zeros(users + 1, dtype=np.int64), items=np.empty(0, dtype=np.int64))


def history_bytes(beside: Beside) -> int:
    """Bytes of the histories as they are stored."""
    return sum(one.nbytes for name, one in beside.tensors.items() if name in STORED)


def _texts(packed: Packed) -> list[str]:
    found: list[str] = json.loads(zlib.decompress(packed.tobytes()))
    return found


def _read(what: str, read: Callable[[], T]) -> T:
    """What is read when it is first asked for; of a large file no hash was checked."""
    try:
        return read()
    except (zlib.error, ValueError, LookupError) as error:
        raise AutopruneError(
            f"beside/tensors.safetensors: its {what} cannot be read ({error}); copy the artifact again."
        ) from error
