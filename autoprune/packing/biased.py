"""A table with the bias of each row as one more dimension, which stays in float32 however the table is coded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

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
    def of(table: PackedTable, bias: Tensor) -> Biased:
        """A table and the bias of each of its rows, float32 [rows]."""
        held = {"bias": bias}
        return Biased(rows=table.rows, dim=table.dim + 1, bits=table.bits, pattern="biased", tensors=held, table=table)

    def to(self, device: torch.device | str) -> Biased:
        return dataclasses.replace(super().to(device), table=self.table.to(device))

    @property
    def memory_bytes(self) -> int:
        return self.tensors["bias"].nbytes + self.table.memory_bytes

    def decode(self, index: Tensor) -> Tensor:
        return torch.cat([self.table.decode(index), self.tensors["bias"][index, None]], dim=1)

    def scores(self, queries: Tensor) -> Tensor:
        return self.table.scores(queries[:, :-1]).addcmul_(queries[:, -1:], self.tensors["bias"])


def asking(vectors: Tensor) -> Tensor:
    """Vectors as queries of such a table: float32 [n, dim + 1]."""
    return pad(vectors, (0, 1), value=1.0)
