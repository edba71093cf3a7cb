"""A table that is stored block by block: its tensors are made while they are written, and never all at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.packing.arrays import Array
from autoprune.packing.codes import Uniform
from autoprune.packing.normal import Normal
from autoprune.packing.packed import PackedTable, StoredTable
from autoprune.packing.parts import join_parts
from autoprune.packing.product import Book
from autoprune.packing.rated import Rated
from autoprune.packing.writing import pack

BY_ROW = ("values", "codes", "scale", "offset")
"""Tensors of a stored table that have a line for each row; others, such as a codebook, hold for all rows."""

BLOCK_VALUES = 2**19
"""Of a block: 2 MB in float32, so that what is made of it stays in a processor's cache."""

Numbers = np.ndarray[Any, Any]

Coder = Uniform | Normal | Rated | Book
"""Codes rows, whichever they are: the codes of a row do not depend on the others."""


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How the rows of a table are coded.

    Attributes:
        coders: of each part, at most four, none without rows; None is a part that stays as it is.
        part_of: uint8 [rows], which part each row stands in; None where there is one part.
    """

    coders: tuple[Coder | None, ...]
    part_of: Tensor | None = None

    def values(self, values: Tensor, rows: Tensor) -> Tensor:
        """What codes make of some rows, float32 [n, dim].

        Args:
            values: of the rows, float32 [n, dim].
            rows: int64 [n], which they are.
        """
        found = torch.empty_like(values)
        for number, coder in enumerate(self.coders):
            chosen = slice(None) if self.part_of is None else self.part_of[rows] == number
            found[chosen] = values[chosen] if coder is None else coder.code(values[chosen]).values()
        return found

    def stored(self, values: Tensor, rows: slice) -> list[StoredTable | None]:
        """Some neighbouring rows as they ship, by part; None where a part has none of them."""
        found = list[StoredTable | None]()
        for number, coder in enumerate(self.coders):
            some = values if self.part_of is None else values[self.part_of[rows] == number]
            found.append(_stored(some, coder) if len(some) else None)
        return found


@dataclass(frozen=True, kw_only=True)
class StoredBlocks:
    """A table as a file will hold it.

    Attributes:
        entry: of the manifest, as of a `StoredTable`.
        tensors: that are at hand.
        layout: of the others, by name: type and shape.
        make: makes these, block by block, in the order of the rows.
        table: answers meanwhile.
    """

    entry: dict[str, Any]
    tensors: dict[str, Numbers]
    layout: dict[str, tuple[np.dtype[Any], tuple[int, ...]]]
    make: Callable[[], Iterator[dict[str, Numbers]]]
    table: PackedTable

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        made = sum(dtype.itemsize * math.prod(shape) for dtype, shape in self.layout.values())
        return made + sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True, kw_only=True)
class MadeTable(PackedTable):
    """A table whose rows are made when they are asked for.

    Attributes:
        make: gives the rows named by int64 [n] as float32 [n, dim], of the library and on the device of these.
    """

    make: Callable[[Array], Array]

    @staticmethod
    def of(rows: int, dim: int, *, bits: int, make: Callable[[Array], Array]) -> MadeTable:
        """Such a table; it holds no numbers, but for an array that says in which library it answers."""
        tensors = {"none": np.empty(0, dtype=np.float32)}
        return MadeTable(rows=rows, dim=dim, bits=bits, pattern="made", tensors=tensors, make=make)

    def decode(self, index: Array) -> Array:
        return self.make(index)

    def scores(self, queries: Array) -> Array:
        return self._decoded_scores(queries)


def blocks_of(rows: int, dim: int) -> Iterator[slice]:
    """The blocks of a table, in order; always the same ones."""
    step = max(BLOCK_VALUES // max(dim, 1), 1)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def store_blocks(
    rows: int, dim: int, *, coding: Coding, block: Callable[[slice], Tensor], table: PackedTable
) -> StoredBlocks:
    """A table that will be stored.

    Args:
        rows, dim: the shape, neither of them 0.
        coding: what becomes of its rows.
        block: gives some neighbouring rows, float32 [n, dim].
        table: answers meanwhile.
    """
    sizes, firsts = _parts(coding.part_of, len(coding.coders), rows)
    tried = [_stored(block(slice(first, first + 1)), coder) for first, coder in zip(firsts, coding.coders, strict=True)]
    whole = [
        StoredTable(entry={**one.entry, "rows": size}, tensors=one.tensors)
        for one, size in zip(tried, sizes, strict=True)
    ]
    stored = whole[0] if coding.part_of is None else join_parts(whole, coding.part_of)
    by_row = {name for name in stored.tensors if name.rpartition(".")[2] in BY_ROW}
    counts = {name: sizes[int(name.partition(".")[0]) if coding.part_of is not None else 0] for name in by_row}

    def make() -> Iterator[dict[str, Numbers]]:
        for some in blocks_of(rows, dim):
            found: dict[str, Numbers] = {}
            for number, one in enumerate(coding.stored(block(some), some)):
                prefix = "" if coding.part_of is None else f"{number}."
                found |= {f"{prefix}{name}": held for name, held in (one.tensors if one else {}).items()}
            yield {name: held for name, held in found.items() if name in by_row}

    return StoredBlocks(
        entry=stored.entry,
        tensors={name: held for name, held in stored.tensors.items() if name not in by_row},
        layout={
            name: (stored.tensors[name].dtype, (counts[name], *stored.tensors[name].shape[1:]))
            for name in stored.tensors
            if name in by_row
        },
        make=make,
        table=table,
    )


def _parts(part_of: Tensor | None, count: int, rows: int) -> tuple[list[int], list[int]]:
    """How many rows each part has, and the first of them."""
    if part_of is None:
        return [rows], [0]
    sizes = torch.bincount(part_of, minlength=count).tolist()
    return sizes, [int((part_of == number).to(torch.uint8).argmax()) for number in range(count)]


def _stored(values: Tensor, coder: Coder | None) -> StoredTable:
    return pack(values, coded=None if coder is None else coder.code(values))
