"""Checks the arguments of a recommender: lists of ids and numbers of items."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from autoprune.errors import AutopruneError
from autoprune.packing.ids import Ids, Rows, plain_id

LONGEST_SHOWN = 100
"""Characters of an id that an error shows at most."""


def item_positions(items: Ids, given: object, what: str) -> Rows:
    """The distinct positions of a list of items in a catalogue, ascending (order does not matter): int64 [n].

    Args:
        what: name of the list, for errors.

    Raises:
        AutopruneError: `given` is no list of ids, or an id is unknown.
    """
    positions = []
    for item in one_by_one(given, what, "item ids"):
        position = items.position(item)
        if position < 0:
            raise AutopruneError(f"{what}: item {shown(item)} is unknown; leave it out.{items.hint(item)}")
        positions.append(position)
    return np.unique(np.array(positions, dtype=np.int64))


def one_by_one(given: object, what: str, of: str, *, dims: int = 1) -> list[Any]:
    """The elements of a list of any type.

    Args:
        what, of: name of the list and kind of its elements, for errors.
        dims: the number of dimensions that an array must have.

    Raises:
        AutopruneError: `given` is no list, or an array with another number of dimensions.
    """
    if (
        isinstance(given, str | bytes | bytearray)
        or getattr(given, "ndim", dims) != dims
        or not isinstance(given, Iterable)
    ):
        raise AutopruneError(f"{what}: a list of {of} must be given, but got {shown(given)}.")
    return list(given)


def how_many(k: object, what: str) -> int:
    """An integer of any type as an int.

    Raises:
        AutopruneError: it is no whole number, or less than 1.
    """
    count = plain_id(k)
    if not isinstance(count, int) or count < 1:
        raise AutopruneError(f"{what}: a whole number k >= 1 must be given, but got {k!r}.")
    return count


def shown(given: object) -> str:
    """A value for an error: its repr, or its type if the repr does not fit on a line."""
    written = repr(given)
    return written if len(written) <= LONGEST_SHOWN and "\n" not in written else f"of type {type(given).__name__}"
