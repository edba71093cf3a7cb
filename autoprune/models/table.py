"""The embedding table that steps work on: weights, masks while training, codes once quantised."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.packing import Quantized, StoredTable, pack


class Table(nn.Module):
    """A lookup table that can lose rows, dimensions, single weights and bits.

    While a stage trains, masks hide what will be cut and no shape changes. `cut_rows` and `cut_dims` make it
    real; `index` remembers which original row each row was.

    Attributes:
        weight: float32 [rows, dim], trained.
        index: int64 [rows], the original row number of each row, ascending.
        original_rows: how many rows there were before any cut.
        row_mask, dim_mask: bool [rows], [dim]; False is hidden until it is cut.
        mask: bool [rows, dim]; False is a single weight pruned to zero.
        quantized: the codes that replaced the weights, or None.
    """

    weight: nn.Parameter
    index: Tensor
    row_mask: Tensor
    dim_mask: Tensor
    mask: Tensor

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.original_rows = rows
        self.weight = nn.Parameter(torch.empty(rows, dim))
        self.register_buffer("index", torch.arange(rows))
        self.register_buffer("row_mask", torch.ones(rows, dtype=torch.bool))
        self.register_buffer("dim_mask", torch.ones(dim, dtype=torch.bool))
        self.register_buffer("mask", torch.ones(rows, dim, dtype=torch.bool))
        self.quantized: Quantized | None = None

    @property
    def rows(self) -> int:
        """Rows that stand, hidden ones included."""
        return int(self.weight.shape[0])

    @property
    def dim(self) -> int:
        """Dimensions that stand, hidden ones included."""
        return int(self.weight.shape[1])

    def values(self) -> Tensor:
        """What the table answers with, masks applied: float32 [rows, dim], differentiable."""
        if self.quantized is not None:
            return self.quantized.values() * self.mask
        if self.mask.all() and self.row_mask.all() and self.dim_mask.all():
            return self.weight
        return self.weight * (self.mask & self.row_mask[:, None] & self.dim_mask)

    def rows_of(self, original: Tensor) -> Tensor:
        """Where original row numbers stand now; -1 for those that are gone or hidden."""
        where = torch.full((self.original_rows,), -1, dtype=torch.long, device=self.index.device)
        where[self.index[self.row_mask]] = self.row_mask.nonzero()[:, 0]
        return where[original]

    def cut_rows(self, keep: Tensor) -> None:
        """Keeps the rows at `keep` (int64, ascending); the others are gone."""
        self._replace(self.weight.detach()[keep])
        self.index, self.row_mask, self.mask = self.index[keep], self.row_mask[keep], self.mask[keep]

    def cut_dims(self, keep: Tensor) -> None:
        """Keeps the dimensions at `keep` (int64, ascending); the others are gone."""
        self._replace(self.weight.detach()[:, keep])
        self.dim_mask, self.mask = self.dim_mask[keep], self.mask[:, keep]

    def rotate(self, rotation: Tensor) -> None:
        """Multiplies every row by an orthogonal matrix, float32 [dim, dim]."""
        with torch.no_grad():
            self.weight.copy_(self.values() @ rotation)

    def prune(self, mask: Tensor) -> None:
        """Sets single weights to zero for good: `mask` is bool [rows, dim], False is pruned."""
        with torch.no_grad():
            self.mask = mask
            self.weight.mul_(mask)

    def packed(self) -> StoredTable:
        """The table as it ships."""
        mask = None if bool(self.mask.all()) else self.mask
        return pack(self.weight.detach(), mask=mask, quantized=self.quantized)

    def _replace(self, weight: Tensor) -> None:
        if self.quantized is not None:
            raise AssertionError("a plan lets nothing be cut after quantisation")
        self.weight = nn.Parameter(weight.clone())
