"""Rows of vectors with ids: the result of every reader."""

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
"""Values that are checked at a time: 64 MB, so that a mapped table need not fit into memory twice."""


@dataclass(frozen=True, kw_only=True)
class NamedRows:
    """A table of vectors, a row for each id.

    Attributes:
        where: what to call the table in messages: its file, and its name in that file.
        ids: in the order of the rows, unique; None if the rows have no ids.
        vectors: float32 [rows, dim], finite, perhaps mapped from a file: do not write into them.
        bias: added to the score of each row, float32 [rows], finite; None if the file has none.
    """

    where: str
    ids: list[str] | None
    vectors: Vectors
    bias: Vectors | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self.vectors.shape[1])


def named_rows(array: npt.NDArray[Any], ids: Sequence[str] | None, *, where: str, ids_where: str = "") -> NamedRows:
    """A checked table.

    Args:
        array: [rows, dim] of any kind of numbers; float32 is not copied.
        ids: of the rows.
        where: what to call the table in messages.
        ids_where: what to call the place of the ids, if they come from elsewhere.

    Raises:
        AutopruneError: it is not a table, holds values that are not finite, or its ids do not fit it.
    """
    if array.dtype.names:
        raise AutopruneError(
            f"{where}: a table of numbers is expected, but each of its rows has the fields "
            f"{', '.join(array.dtype.names)}; save the vectors alone, and the ids in a file of their own."
        )
    if array.ndim != 2 or 0 in array.shape:
        raise AutopruneError(
            f"{where}: a table of rows x dimensions is expected, but it has the shape {list(array.shape)}."
        )
    vectors = as_float32(array, where)
    names = None if ids is None else _checked_ids(ids, len(vectors), where=where, ids_where=ids_where or where)
    check_finite(vectors, names, where=where)
    return NamedRows(where=where, ids=names, vectors=vectors)


def as_float32(array: npt.NDArray[Any], where: str) -> npt.NDArray[np.float32]:
    """Any real numbers as float32; float32 is not copied.

    Raises:
        AutopruneError: the values are not numbers.
    """
    if array.dtype.kind not in "fiu":
        raise AutopruneError(f"{where}: numbers are expected, but it holds {array.dtype}.")
    if array.dtype != np.float32:
        check_room(where, 4.0 * array.size)
    with np.errstate(over="ignore"):  # values that are too large become infinite, which is refused
        return np.asarray(array, dtype=np.float32)


def check_finite(values: Vectors, ids: Sequence[str] | None, *, where: str) -> None:
    """Refuses values that are infinite or NaN.

    Args:
        values: [rows] or [rows, dim].

    Raises:
        AutopruneError: a value is not finite; with the first such row, its id, and the number of such values.
    """
    step, bad, first_bad = max(BLOCK_VALUES // max(int(np.prod(values.shape[1:])), 1), 1), 0, -1
    for start in range(0, len(values), step):
        block = values[start : start + step]
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum()):  # a sum with a value that is not finite is not finite
                continue
        finite = np.isfinite(block)
        if not finite.all():
            bad += int((~finite).sum())
            first_bad = start + int(np.argwhere(~finite)[0, 0]) if first_bad < 0 else first_bad
    if bad:
        name = f" (id {ids[first_bad]!r})" if ids is not None else ""
        row = np.asarray(values[first_bad]).ravel()
        raise AutopruneError(
            f"{where}: row {first_bad:,}{name} holds {row[~np.isfinite(row)][0]}, which is not a finite float32; "
            f"{bad:,} of {values.size:,} values are not. Remove such rows, or train them again."
        )


def _is_heading(ids: Sequence[str]) -> bool:
    """Whether the first id may be a column name: it looks like one, or it alone is not a number."""
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
    for row, name in enumerate(ids):
        if not name:
            raise AutopruneError(f"{ids_where}: the id of row {row:,} is empty.")
        if seen.setdefault(name, row) != row:
            repeated = len(ids) - len(set(ids))
            raise AutopruneError(
                f"{ids_where}: id {name!r} appears twice, in rows {seen[name]:,} and {row:,}; {repeated:,} rows repeat "
                "an id. Each id needs exactly one vector: keep one of them."
            )
    return list(ids)
