"""A table with each row's bias as one more dimension, which stays in float32 however the table is coded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from autoprune.packing.arrays import Array, filled, namespace
from autoprune.packing.packed import PackedTable


@dataclass(frozen=True, kw_only=True)
class Biased(PackedTable):
    """Answers queries whose last value is 1 with q·v + b, so that searching it needs no special case for biases.

    Attributes:
        table: the table without biases.
        tensors: `bias`, float32 [rows].
    """

    table: PackedTable

    @staticmethod
    def of(table: PackedTable, bias: Array) -> Biased:
        """A table with the bias of each of its rows, float32 [rows]."""
        tensors = {"bias": bias}
        return Biased(
            rows=table.rows, dim=table.dim + 1, bits=table.bits, pattern="biased", tensors=tensors, table=table
        )

    def to(self, device: Any) -> Biased:
        return dataclasses.replace(super().to(device), table=self.table.to(device))

    @property
    def memory_bytes(self) -> int:
        return int(self.tensors["bias"].nbytes) + self.table.memory_bytes

    def decode(self, index: Array) -> Array:
        return namespace(index).concatenate([self.table.decode(index), self.tensors["bias"][index][:, None]], axis=1)

    def scores(self, queries: Array) -> Array:
        scores = self.table.scores(queries[:, :-1])
        scores += queries[:, -1:] * self.tensors["bias"]
        return scores


def asking(vectors: Array) -> Array:
    """Vectors as queries for such a table: float32 [n, dim + 1]."""
    return namespace(vectors).concatenate([vectors, filled((len(vectors), 1), 1, vectors)], axis=1)
