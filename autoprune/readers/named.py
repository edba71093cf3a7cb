"""Rows of vectors with names: what every reader gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from autoprune.errors import AutopruneError
from autoprune.readers.files import IDS, check_room

Vectors = npt.NDArray[np.float32]

BLOCK_VALUES = 2**24
"""Values that are looked at a time: 64 MB, so that a table that lies in a file need not fit into memory twice."""


@dataclass(frozen=True, kw_only=True)
class NamedRows:
    """A table of vectors, a row for each id.

    Attributes:
        where: what to call it in messages: its file, and its name in there.
        ids: in the order of the rows, each once; None where nothing names the rows.
        vectors: float32 [rows, dim], finite, perhaps mapped from a file: not to be written into.
        bias: added to the scores of each row, float32 [rows], finite; None where none stands beside the vectors.
    """

    where: str
    ids: list[str] | None
    vectors: Vectors
    bias: Vectors | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.vectors.shape[1])


def named_rows(array: npt.NDArray[Any], ids: Sequence[str] | None, *, where: str, ids_where: str = "") -> NamedRows:
    """A checked table.

    Args:
        array: [rows, dim] of any kind of numbers; float32 is not copied.
        ids: of the rows.
        where: what to call the table in messages.
        ids_where: what to call the place of the ids, where it is another one.

    Raises:
        AutopruneError: it is no such table, holds what is no number, or its ids do not fit it.
    """
    if array.dtype.names:
        raise AutopruneError(
            f"{where}: a table of numbers must stand there, but each of its rows has the fields "
            f"{', '.join(array.dtype.names)}; save the vectors alone, and the ids beside them."
        )
    if array.ndim != 2 or 0 in array.shape:
        raise AutopruneError(
            f"{where}: a table of rows x dimensions must stand there, but it has the shape {list(array.shape)}."
        )
    vectors = as_float32(array, where)
    names = None if ids is None else _checked_ids(ids, len(vectors), where=where, ids_where=ids_where or where)
    check_finite(vectors, names, where=where)
    return NamedRows(where=where, ids=names, vectors=vectors)


def as_float32(array: npt.NDArray[Any], where: str) -> npt.NDArray[np.float32]:
    """Any real numbers as float32, which is not copied.

    Raises:
        AutopruneError: these are no numbers.
    """
    if array.dtype.kind not in "fiu":
        raise AutopruneError(f"{where}: numbers must stand there, but it holds {array.dtype}.")
    if array.dtype != np.float32:
        check_room(where, 4.0 * array.size)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        return np.asarray(array, dtype=np.float32)


def check_finite(values: Vectors, ids: Sequence[str] | None, *, where: str) -> None:
    """Refuses what is no number.

    Args:
        values: [rows] or [rows, dim].

    Raises:
        AutopruneError: with the first row, its id, and how many values are concerned.
    """
    step, wrong, first = max(BLOCK_VALUES // max(int(np.prod(values.shape[1:])), 1), 1), 0, -1
    for start in range(0, len(values), step):
        block = values[start : start + step]
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum()):  # what is not finite adds up to nothing finite
                continue
        finite = np.isfinite(block)
        if not finite.all():
            wrong += int((~finite).sum())
            first = start + int(np.argwhere(~finite)[0, 0]) if first < 0 else first
    if wrong:
        name = f" (id {ids[first]!r})" if ids is not None else ""
        held = np.asarray(values[first]).ravel()
        raise AutopruneError(
            f"{where}: row {first:,}{name} holds {held[~np.isfinite(held)][0]}, which is no finite float32; so do "
            f"{wrong:,} of {values.size:,} values. Take such rows out, or train them again."
        )


def _is_heading(ids: Sequence[str]) -> bool:
    """Whether the first of some ids may name their column: it is called so, or it alone is no number."""
    first = ids[0].lower()
    return (
        first in IDS or first.endswith(("_id", "_ids")) or (not first.isdecimal() and all(map(str.isdecimal, ids[1:])))
    )


def _checked_ids(ids: Sequence[str], rows: int, *, where: str, ids_where: str) -> list[str]:
    while len(ids) > rows and not ids[-1]:  # empty lines at the end of a file
        ids = ids[:-1]
    if len(ids) != rows:
        heading = len(ids) == rows + 1 and _is_heading(ids)
        hint = f"; its first line is {ids[0]!r}: is that a heading?" if heading else "."
        raise AutopruneError(f"{ids_where}: there are {len(ids):,} ids, but {where} has {rows:,} rows{hint}")
    seen: dict[str, int] = {}
    for row, one in enumerate(ids):
        if not one:
            raise AutopruneError(f"{ids_where}: the id of row {row:,} is empty.")
        if seen.setdefault(one, row) != row:
            twice = len(ids) - len(set(ids))
            raise AutopruneError(
                f"{ids_where}: id {one!r} stands twice, in rows {seen[one]:,} and {row:,}; {twice:,} ids too many in "
                "all. Each id needs one vector: keep one of them."
            )
    return list(ids)
