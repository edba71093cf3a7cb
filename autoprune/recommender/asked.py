"""What people ask a recommender with: lists of item ids, and how these are refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from autoprune.errors import AutopruneError
from autoprune.packing.ids import Ids, Rows, plain_id

LONGEST_SHOWN = 100
"""Characters of an id that are repeated in an error."""


def item_positions(items: Ids, given: object, what: str) -> Rows:
    """Where the items of a list stand in a catalogue, each once, ascending: int64 [n]. So its order changes no answer.

    Args:
        what: the list is, for errors.

    Raises:
        AutopruneError: it is no list of ids, or an id is unknown.
    """
    positions = []
    for item in one_by_one(given, what, "item ids"):
        position = items.position(item)
        if position < 0:
            raise AutopruneError(f"{what}: item {shown(item)} is unknown; leave it out.{items.hint(item)}")
        positions.append(position)
    return np.unique(np.array(positions, dtype=np.int64))


def one_by_one(given: object, what: str, of: str, *, dims: int = 1) -> list[Any]:
    """What is in a list of any kind.

    Args:
        what: the list is, and of which things, for errors.
        dims: that an array of them has.

    Raises:
        AutopruneError: it is none, or has other dimensions.
    """
    if (
        isinstance(given, str | bytes | bytearray)
        or getattr(given, "ndim", dims) != dims
        or not isinstance(given, Iterable)
    ):
        raise AutopruneError(f"{what}: a list of {of} must be given, but got {shown(given)}.")
    return list(given)


def how_many(k: object, what: str) -> int:
    """The number that is meant, which may come in any type of numbers.

    Raises:
        AutopruneError: it is no whole number from 1 on.
    """
    count = plain_id(k)
    if not isinstance(count, int) or count < 1:
        raise AutopruneError(f"{what}: a whole number k >= 1 must be given, but got {k!r}.")
    return count


def shown(given: object) -> str:
    """What was given, in a line: as it is written, or its type where that takes more than a line."""
    written = repr(given)
    return written if len(written) <= LONGEST_SHOWN and "\n" not in written else f"of type {type(given).__name__}"
