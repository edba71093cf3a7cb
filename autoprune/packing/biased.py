"""A table with the bias of each row as one more dimension, which stays in float32 however the table is coded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from autoprune.packing.arrays import Array, filled, namespace
from autoprune.packing.packed import PackedTable


@dataclass(frozen=True, kw_only=True)
class Biased(PackedTable):
    """Answers queries whose last value is 1, q·v + b, so that whoever searches it needs to know of no bias.

    Attributes:
        table: without the biases.
        tensors: `bias`, float32 [rows].
    """

    table: PackedTable

    @staticmethod
    def of(table: PackedTable, bias: Array) -> Biased:
        """A table and the bias of each of its rows, float32 [rows]."""
        held = {"bias": bias}
        return Biased(rows=table.rows, dim=table.dim + 1, bits=table.bits, pattern="biased", tensors=held, table=table)

    def to(self, device: Any) -> Biased:
        return dataclasses.replace(super().to(device), table=self.table.to(device))

    @property
    def memory_bytes(self) -> int:
        return int(self.tensors["bias"].nbytes) + self.table.memory_bytes

    def decode(self, index: Array) -> Array:
        return namespace(index).concatenate([self.table.decode(index), self.tensors["bias"][index][:, None]], axis=1)

    def scores(self, queries: Array) -> Array:
        found = self.table.scores(queries[:, :-1])
        found += queries[:, -1:] * self.tensors["bias"]
        return found


def asking(vectors: Array) -> Array:
    """Vectors as queries of such a table: float32 [n, dim + 1]."""
    return namespace(vectors).concatenate([vectors, filled((len(vectors), 1), 1, vectors)], axis=1)
