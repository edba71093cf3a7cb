"""What every packed table has in common, in a file and in memory."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from autoprune.packing.arrays import Array, filled, namespace, numbers, tensor_of

BLOCK_ROWS = 2048
"""Rows decoded at a time for many queries: a block of 64 dimensions stays inside a core's second cache."""

BLOCK_VALUES = 2**20
"""Values decoded at a time for one query: bounds the memory that scoring takes beside the table, 4 MB."""


@dataclass(frozen=True, kw_only=True)
class StoredTable:
    """A table as a file holds it: a manifest entry (with its `pattern`) and arrays."""

    entry: dict[str, Any]
    tensors: dict[str, np.ndarray[Any, Any]]

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


Packed = TypeVar("Packed", bound="PackedTable")


@dataclass(frozen=True, kw_only=True)
class PackedTable(ABC):
    """A table as it is held in memory to answer. Reads decode only what they need; it is never expanded.

    Attributes:
        rows, dim: the logical shape.
        bits: of a value or code, as in `autoprune.packing.bits.LEVELS`; 0 where rows differ.
        pattern: how its values are laid out.
        tensors: what is held, in numpy or, after `to`, in torch; it answers in the same.
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
        """An array of the library and on the device in which the table answers."""
        return next(iter(self.tensors.values()))

    @property
    def memory_bytes(self) -> int:
        """Bytes that the tensors of this table hold in memory."""
        return sum(int(tensor.nbytes) for tensor in self.tensors.values())

    @abstractmethod
    def decode(self, index: Array) -> Array:
        """The rows named by `index` (int64 [n]) as float32 [n, dim]."""

    @abstractmethod
    def scores(self, queries: Array) -> Array:
        """Dot products of `queries` (float32 [n, dim]) with every row: float32 [n, rows]."""

    def values(self) -> Array:
        """All rows, float32 [rows, dim]."""
        return self.decode(numbers(self.rows, self.like))

    def _decoded_scores(self, queries: Array) -> Array:
        """The same by way of decoded rows, block by block: cheaper where there are more queries than dimensions."""
        out = filled((len(queries), self.rows), 0, queries)
        rows = numbers(self.rows, queries)
        for start in range(0, self.rows, BLOCK_ROWS):
            block = self.decode(rows[start : start + BLOCK_ROWS])
            namespace(queries).matmul(queries, block.T, out=out[:, start : start + len(block)])
        return out


def block_rows(dim: int, queries: int) -> int:
    """Rows to decode at a time: one query reads a block once, many reuse it, so theirs should stay in cache."""
    return max(BLOCK_VALUES // dim, 1) if queries == 1 else BLOCK_ROWS
