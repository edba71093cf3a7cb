"""Codes with levels centred on zero, and one byte per row for the distance between levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.packing.arrays import numpy_of
from autoprune.packing.bits import pack_codes, scales
from autoprune.packing.packed import StoredTable
from autoprune.packing.rows import middle_code

STEPS = 255
"""Scales that a byte can represent besides 0."""


@dataclass(frozen=True, kw_only=True)
class CentredCodes:
    """Codes of a table: value = (code - zero) * scale, where each row has a scale.

    Attributes:
        codes: uint8 [rows, dim], each below `LEVELS[bits]`.
        scale: uint8 [rows], as `autoprune.packing.bits.scales` reads it.
        grid: float32 [2], for `scales` too.
        bits: 8 at most.
        zero: the code that stands for zero; None: no code does, zero lies between the two in the middle.
    """

    codes: Tensor
    scale: Tensor
    grid: Tensor
    bits: float
    zero: int | None = None

    def values(self) -> Tensor:
        """The table the codes stand for, float32 [rows, dim]."""
        scale = scales(self.scale, self.grid)
        middle = middle_code(self.bits) if self.zero is None else self.zero
        return self.codes.float().mul_(scale[:, None]).add_((scale * -middle)[:, None])

    def pack(self) -> StoredTable:
        """The table as it ships."""
        rows, dim = self.codes.shape
        tensors = {"codes": pack_codes(self.codes, self.bits), "scale": self.scale, "grid": self.grid}
        zero = {} if self.zero is None else {"zero": self.zero}
        return StoredTable(
            entry={"rows": rows, "dim": dim, "bits": self.bits, "pattern": "full", **zero},
            tensors={name: numpy_of(tensor) for name, tensor in tensors.items()},
        )


def steps_of(scale: Tensor, grid: Tensor) -> Tensor:
    """The bytes nearest to scales, uint8 [rows]: the inverse of `autoprune.packing.bits.scales`.

    Args:
        scale: float32 [rows]; 0 is exact.
        grid: as of `CentredCodes`.
    """
    steps = 1 + ((scale.log() - grid[0]) / grid[1].clamp_min(1e-12)).round_().clamp_(0, STEPS - 1)
    return torch.where(scale > 0, steps, 0.0).to(torch.uint8)
