"""What every packed table has in common, in a file and in memory."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

BLOCK_ROWS = 2048
"""Rows decoded at a time for many queries: a block of 64 dimensions stays inside a core's second cache."""

BLOCK_VALUES = 2**20
"""Values decoded at a time for one query: bounds the memory that scoring takes beside the table, 4 MB."""


@dataclass(frozen=True, kw_only=True)
class StoredTable:
    """A table as a file holds it: a manifest entry (with its `pattern`) and tensors."""

    entry: dict[str, Any]
    tensors: dict[str, Tensor]

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
        bits: of a value or code; 0 where rows differ.
        pattern: how its values are laid out.
        tensors: what is held.
    """

    rows: int
    dim: int
    bits: int
    pattern: str
    tensors: dict[str, Tensor]

    def to(self: Packed, device: torch.device | str) -> Packed:
        """The same table on another device."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return dataclasses.replace(self, tensors=moved)

    @property
    def memory_bytes(self) -> int:
        """Bytes that the tensors of this table hold in memory."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @abstractmethod
    def decode(self, index: Tensor) -> Tensor:
        """The rows named by `index` (int64 [n]) as float32 [n, dim]."""

    @abstractmethod
    def scores(self, queries: Tensor) -> Tensor:
        """Dot products of `queries` (float32 [n, dim]) with every row: float32 [n, rows]."""

    def _decoded_scores(self, queries: Tensor) -> Tensor:
        """The same by way of decoded rows, block by block: cheaper where there are more queries than dimensions."""
        out = torch.empty(len(queries), self.rows, device=queries.device)
        for rows in torch.split(torch.arange(self.rows, device=queries.device), BLOCK_ROWS):
            torch.mm(queries, self.decode(rows).T, out=out[:, rows[0] : rows[-1] + 1])
        return out


def block_rows(dim: int, queries: int) -> int:
    """Rows to decode at a time: one query reads a block once, many reuse it, so theirs should stay in cache."""
    return max(BLOCK_VALUES // dim, 1) if queries == 1 else BLOCK_ROWS
