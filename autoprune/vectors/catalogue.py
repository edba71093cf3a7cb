"""The rows that a study starts from, in the order of their ids, and how often each is looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.machine import memory
from autoprune.packing.ids import Ids, plain_id
from autoprune.readers.ids import whole_number
from autoprune.readers.named import NamedRows

ZIPF = 10**15
"""Lookups of the most frequent row if only the order is known; large enough for a million different counts."""


MAPPED = 2**28
"""Vectors of at least this many bytes stay mapped from their file, if they are in order there."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Vectors with ids.

    Attributes:
        ids: of the rows, ascending.
        vectors: float32 [rows, width], perhaps mapped from a file; do not write into them.
        order: the rows in the order of their file, int64 [rows]; None if that is the order of the ids.
        counts: how often each row is looked up, int64 [rows]; None if unknown.
        where: the source of the vectors, for messages.
        notes: what was left out, for people.
    """

    ids: Ids
    vectors: Tensor
    order: Tensor | None
    counts: Tensor | None
    where: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def width(self) -> int:
        """Dimensions of a vector."""
        return int(self.vectors.shape[1])

    @staticmethod
    def of(rows: NamedRows, *, words: bool = False, counts: Mapping[str, int] | None = None) -> Catalogue:
        """The catalogue of a table.

        Ids become integers if all of them are whole numbers; rows without ids are numbered from 0.

        Args:
            words: whether ids are always texts, and rows are ordered by frequency: unless they are sorted by their
                ids, they are then assumed to follow Zipf's law (1949), count = 1 / rank.
            counts: how often each id is looked up.

        Raises:
            AutopruneError: no id in `counts` is known.
        """
        names, position = _ids(rows, words=words)
        order = None if position is None else torch.from_numpy(np.argsort(position))
        ids = Ids(names)
        notes = [] if rows.bias is None else ["its column of biases is left out, for nothing is added to similarities"]
        if counts is None:
            looked_up = _by_order(order) if words else None
        else:
            looked_up, unknown = _counted(counts, ids, rows.where)
            notes += [f"{unknown:,} of the {len(counts):,} ids of task.counts are unknown"] if unknown else []
        return Catalogue(
            ids=ids,
            vectors=torch.from_numpy(_vectors(rows, position)),
            order=order,
            counts=looked_up,
            where=rows.where,
            notes=tuple(notes),
        )


def _vectors(rows: NamedRows, position: np.ndarray | None) -> np.ndarray:
    """The vectors in the order of their ids: a copy, or the mapping of a large file.

    Raises:
        AutopruneError: they must be copied, and are larger than memory.
    """
    vectors = np.asarray(rows.vectors)
    if position is None and vectors.nbytes >= MAPPED and vectors.flags.c_contiguous:
        return np.require(vectors, requirements=["C", "W"])  # torch warns about read-only arrays
    if vectors.nbytes > memory():
        raise AutopruneError(
            f"{rows.where}: {len(rows):,} x {rows.dim} float32 take {vectors.nbytes / 1e9:.1f} GB, and this machine "
            f"has {memory() / 1e9:.1f} GB. A .npy file with ascending ids or none is mapped, not read into memory: "
            "sort it by its ids (and write it in C order)."
        )
    return np.array(vectors if position is None else vectors[position], order="C")


def _ids(rows: NamedRows, *, words: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """The sorted ids, and the row of each in the file; None if they were sorted there."""
    if rows.ids is None:
        return np.arange(len(rows)), None
    numbers = None if words else whole_numbers(rows.ids)
    names = np.array(rows.ids, dtype=np.dtypes.StringDType()) if numbers is None else numbers
    position = np.argsort(names, kind="stable")
    return names[position], None if bool((np.diff(position) == 1).all()) else position


def whole_numbers(ids: Sequence[str]) -> np.ndarray | None:
    """Ids as int64, if all are whole numbers in their usual form (`7`, not `007`); None otherwise."""
    numbers = list[int]()
    for name in ids:
        number = whole_number(name)
        if number is None or str(number) != name:
            return None
        numbers.append(number)
    return np.array(numbers, dtype=np.int64)


def as_id(written: str, ids: Ids) -> int | str:
    """The id that a text in a file stands for: an int if these ids are numbers and it can be one."""
    try:
        return int(written) if ids.numeric else written
    except ValueError:
        return written


def _counted(given: Mapping[str, int], ids: Ids, where: str) -> tuple[Tensor, int]:
    """How often each id is looked up, int64 [ids], and how many of the given ids are unknown."""
    counts, unknown = torch.zeros(len(ids), dtype=torch.long), 0
    for name, count in given.items():
        row = ids.position(plain_id(as_id(name, ids)))
        if row >= 0:
            counts[row] = count
        unknown += row < 0
    if unknown == len(given):
        raise AutopruneError(
            f"task.counts: none of its {unknown:,} ids is one of the ids of {where}, such as {ids[0]!r}; name a table "
            "of id and count."
        )
    return counts, unknown


def _by_order(order: Tensor | None) -> Tensor | None:
    """How often words are looked up by Zipf's law; None if they are sorted, since their order then says nothing."""
    if order is None:
        return None
    counts = torch.empty(len(order), dtype=torch.long)
    counts[order] = ZIPF // torch.arange(1, len(order) + 1)
    return counts
