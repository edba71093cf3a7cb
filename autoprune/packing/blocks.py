"""Stores a table block by block: its tensors are computed while they are written, never all at once."""

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
"""Tensors of a stored table with one entry per row; others, such as a codebook, apply to all rows."""

BLOCK_VALUES = 2**19
"""Values per block: 2 MB in float32, so that a processor's cache holds what is computed from it."""

Numbers = np.ndarray[Any, Any]

Coder = Uniform | Normal | Rated | Book
"""Codes any rows: the codes of a row do not depend on other rows."""


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How the rows of a table are coded.

    Attributes:
        coders: of each part, at most four; no part is empty; None: the part stays uncoded.
        part_of: uint8 [rows], the part of each row; None if there is only one.
    """

    coders: tuple[Coder | None, ...]
    part_of: Tensor | None = None

    def values(self, values: Tensor, rows: Tensor) -> Tensor:
        """The values that the codes of some rows stand for, float32 [n, dim].

        Args:
            values: the rows, float32 [n, dim].
            rows: int64 [n], their positions in the table.
        """
        decoded = torch.empty_like(values)
        for number, coder in enumerate(self.coders):
            chosen = slice(None) if self.part_of is None else self.part_of[rows] == number
            decoded[chosen] = values[chosen] if coder is None else coder.code(values[chosen]).values()
        return decoded

    def stored(self, values: Tensor, rows: slice) -> list[StoredTable | None]:
        """A block of consecutive rows as stored tables, by part; None for a part without any of them."""
        tables = list[StoredTable | None]()
        for number, coder in enumerate(self.coders):
            part = values if self.part_of is None else values[self.part_of[rows] == number]
            tables.append(_stored(part, coder) if len(part) else None)
        return tables


@dataclass(frozen=True, kw_only=True)
class StoredBlocks:
    """A table that is going to be written to a file.

    Attributes:
        entry: of the manifest, as of a `StoredTable`.
        tensors: those that are already computed.
        layout: type and shape of the others, by name.
        make: computes the others, block by block, in the order of the rows.
        table: answers until then.
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
    """A table whose rows are computed when they are read.

    Attributes:
        make: computes the rows at int64 [n] as float32 [n, dim], in the library and on the device of the index.
    """

    make: Callable[[Array], Array]

    @staticmethod
    def of(rows: int, dim: int, *, bits: int, make: Callable[[Array], Array]) -> MadeTable:
        """Such a table; its only tensor is an empty array that says in which library it answers."""
        tensors = {"none": np.empty(0, dtype=np.float32)}
        return MadeTable(rows=rows, dim=dim, bits=bits, pattern="made", tensors=tensors, make=make)

    def decode(self, index: Array) -> Array:
        return self.make(index)

    def scores(self, queries: Array) -> Array:
        return self._decoded_scores(queries)


def blocks_of(rows: int, dim: int) -> Iterator[slice]:
    """The blocks of a table, in order; the same on every call."""
    step = max(BLOCK_VALUES // max(dim, 1), 1)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def store_blocks(
    rows: int, dim: int, *, coding: Coding, block: Callable[[slice], Tensor], table: PackedTable
) -> StoredBlocks:
    """Prepares a table for being stored block by block.

    Args:
        rows, dim: the shape, neither of them 0.
        coding: how its rows are coded.
        block: gives consecutive rows, float32 [n, dim].
        table: answers until the table is stored.
    """
    sizes, firsts = _parts(coding.part_of, len(coding.coders), rows)
    samples = [
        _stored(block(slice(first, first + 1)), coder) for first, coder in zip(firsts, coding.coders, strict=True)
    ]
    whole = [
        StoredTable(entry={**sample.entry, "rows": size}, tensors=sample.tensors)
        for sample, size in zip(samples, sizes, strict=True)
    ]
    stored = whole[0] if coding.part_of is None else join_parts(whole, coding.part_of)
    by_row = {name for name in stored.tensors if name.rpartition(".")[2] in BY_ROW}
    counts = {name: sizes[int(name.partition(".")[0]) if coding.part_of is not None else 0] for name in by_row}

    def make() -> Iterator[dict[str, Numbers]]:
        for span in blocks_of(rows, dim):
            tensors: dict[str, Numbers] = {}
            for number, part in enumerate(coding.stored(block(span), span)):
                prefix = "" if coding.part_of is None else f"{number}."
                tensors |= {f"{prefix}{name}": tensor for name, tensor in (part.tensors if part else {}).items()}
            yield {name: tensor for name, tensor in tensors.items() if name in by_row}

    return StoredBlocks(
        entry=stored.entry,
        tensors={name: tensor for name, tensor in stored.tensors.items() if name not in by_row},
        layout={
            name: (stored.tensors[name].dtype, (counts[name], *stored.tensors[name].shape[1:]))
            for name in stored.tensors
            if name in by_row
        },
        make=make,
        table=table,
    )


def _parts(part_of: Tensor | None, count: int, rows: int) -> tuple[list[int], list[int]]:
    """The number of rows of each part, and the first row of each."""
    if part_of is None:
        return [rows], [0]
    sizes = torch.bincount(part_of, minlength=count).tolist()
    return sizes, [int((part_of == number).to(torch.uint8).argmax()) for number in range(count)]


def _stored(values: Tensor, coder: Coder | None) -> StoredTable:
    return pack(values, coded=None if coder is None else coder.code(values))
