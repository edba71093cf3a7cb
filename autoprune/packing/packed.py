"""The base of all packed tables, in a file and in memory."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from autoprune.packing.arrays import Array, filled, namespace, numbers, tensor_of

BLOCK_ROWS = 2048
"""Rows decoded at a time for many queries: a block of 64 dimensions fits into a core's L2 cache."""

BLOCK_VALUES = 2**20
"""Values decoded at a time for one query: limits the memory of scoring, besides the table's, to 4 MB."""


@dataclass(frozen=True, kw_only=True)
class StoredTable:
    """A table as stored in a file: a manifest entry (with its `pattern`) and arrays."""

    entry: dict[str, Any]
    tensors: dict[str, np.ndarray[Any, Any]]

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


Packed = TypeVar("Packed", bound="PackedTable")


@dataclass(frozen=True, kw_only=True)
class PackedTable(ABC):
    """A packed table in memory. Reads decode only what they need; the table is never expanded.

    Attributes:
        rows, dim: the logical shape.
        bits: of a value or code, as in `autoprune.packing.bits.LEVELS`; 0 if rows differ.
        pattern: the layout of its values.
        tensors: its arrays, in numpy or, after `to`, in torch; results are in the same library.
    """

    rows: int
    dim: int
    bits: float
    pattern: str
    tensors: dict[str, Array]

    def to(self: Packed, device: Any) -> Packed:
        """The same table in torch, on a device."""
        moved = {name: tensor_of(tensor, device) for name, tensor in self.tensors.items()}
        return dataclasses.replace(self, tensors=moved)

    @property
    def like(self) -> Array:
        """An array in the library and on the device of the table's results."""
        return next(iter(self.tensors.values()))

    @property
    def memory_bytes(self) -> int:
        """Bytes of the tensors of this table in memory."""
        return sum(int(tensor.nbytes) for tensor in self.tensors.values())

    @abstractmethod
    def decode(self, index: Array) -> Array:
        """The rows at `index` (int64 [n]) as float32 [n, dim]."""

    @abstractmethod
    def scores(self, queries: Array) -> Array:
        """Dot products of `queries` (float32 [n, dim]) with every row: float32 [n, rows]."""

    def values(self) -> Array:
        """All rows, float32 [rows, dim]."""
        return self.decode(numbers(self.rows, self.like))

    def _decoded_scores(self, queries: Array) -> Array:
        """Scores from decoded rows, block by block: cheaper if there are more queries than dimensions."""
        out = filled((len(queries), self.rows), 0, queries)
        rows = numbers(self.rows, queries)
        for start in range(0, self.rows, BLOCK_ROWS):
            block = self.decode(rows[start : start + BLOCK_ROWS])
            namespace(queries).matmul(queries, block.T, out=out[:, start : start + len(block)])
        return out


def block_rows(dim: int, queries: int) -> int:
    """Rows to decode at a time: one query reads a block once, many reuse it, so it should stay in the cache."""
    return max(BLOCK_VALUES // dim, 1) if queries == 1 else BLOCK_ROWS
