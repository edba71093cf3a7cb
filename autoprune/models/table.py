"""The tables that steps change: weights, masks during training, and codes after quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from autoprune.packing.codes import Uniform, best_shares, quantize_rows, symmetric_zero
from autoprune.packing.compensated import compensated
from autoprune.packing.normal import Normal
from autoprune.packing.packed import StoredTable
from autoprune.packing.parts import PartCodes
from autoprune.packing.product import Codebooks
from autoprune.packing.rated import Rated, row_steps
from autoprune.packing.writing import Codes, pack

FLOAT_BITS = 32

FEW = 32
"""At most 1 in this many rows are located by binary search; more are located through an index of all rows."""

Learner = Uniform | Normal | Rated | Codebooks
"""How some rows are coded."""

MOST = int(symmetric_zero(torch.tensor(8))) - 1
"""The highest 8-bit code that is symmetric about zero."""


class Table(nn.Module):
    """A lookup table that can lose rows, dimensions, single weights and bits.

    While a stage trains, masks hide what will be cut, and no shape changes. Then `cut_rows` and `cut_dims` cut it;
    `index` keeps the original number of each row. Only training writes into tensors; everything else replaces them,
    since models share them (`Model.twin`).

    Attributes:
        weight: float32 [rows, dim], trained.
        bias: float32 [rows], trained, or None; it loses no dimensions and is not coded.
        index: int64 [rows], the original row number of each row, ascending.
        original_rows: the number of rows before any cut.
        row_mask, dim_mask: bool [rows], [dim]; False hides a row or dimension until it is cut.
        mask: bool [rows, dim]; False marks a single weight pruned to zero.
        bits: uint8 [rows], the width of each row's codes; 32 if the table stays float32.
        shares: float32 [rows], the share of each row's range that its codes span; above 1 if the outermost levels are
            unused.
        coded: the codes that replaced the weights, or None.
        symmetric: whether levels are symmetric about zero instead of about the middle of each row's range.
    """

    symmetric: ClassVar[bool] = False

    weight: nn.Parameter
    bias: nn.Parameter | None
    index: Tensor
    row_mask: Tensor
    dim_mask: Tensor
    mask: Tensor
    bits: Tensor
    shares: Tensor

    def __init__(self, rows: int, dim: int, *, bias: bool = False) -> None:
        super().__init__()
        self.original_rows = rows
        self.weight = nn.Parameter(torch.empty(rows, dim))
        self.register_parameter("bias", nn.Parameter(torch.zeros(rows)) if bias else None)
        self.register_buffer("index", torch.arange(rows))
        self.register_buffer("row_mask", torch.ones(rows, dtype=torch.bool))
        self.register_buffer("dim_mask", torch.ones(dim, dtype=torch.bool))
        self.register_buffer("mask", torch.ones(rows, dim, dtype=torch.bool))
        self.register_buffer("bits", torch.full((rows,), FLOAT_BITS, dtype=torch.uint8))
        self.register_buffer("shares", torch.ones(rows))
        self.coded: Codes | None = None

    @property
    def rows(self) -> int:
        """Remaining rows, including hidden ones."""
        return int(self.weight.shape[0])

    @property
    def dim(self) -> int:
        """Remaining dimensions, including hidden ones."""
        return int(self.weight.shape[1])

    def weights(self, rows: Tensor | None = None) -> Tensor:
        """The trained weights with masks applied: float32 [n, dim], differentiable.

        Args:
            rows: int64 [n], the rows to return; None: all.
        """
        return self._masked(rows)[0]

    def values(self, rows: Tensor | None = None) -> Tensor:
        """The vectors that the table returns: float32 [n, dim], differentiable until it is coded.

        Once a stage has chosen bits, these are the values that the weights would have after coding, and gradients
        pass straight through to the weights (Bengio et al. 2013; Jacob et al. 2018).

        Args:
            rows: int64 [n], the rows to return; None: all.
        """
        if self.coded is not None:
            values = self.coded.values() * self.mask
            return values if rows is None else values[rows]
        weights, mask = self._masked(rows)
        if int(self.bits[0]) == FLOAT_BITS:
            return weights
        bits, shares = (tensor if rows is None else tensor[rows] for tensor in (self.bits, self.shares))
        with torch.no_grad():
            coded = quantize_rows(weights, bits, shares, mask=mask, symmetric=self.symmetric).values()
            rounding = (coded if mask is None else coded * mask) - weights
        return weights + rounding

    def _masked(self, rows: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The weights of some rows with masks applied, and the mask, bool [n, dim]; None if it hides nothing."""
        weight, mask = self.weight if rows is None else self.weight[rows], self._standing(rows)
        return (weight, None) if mask is None else (weight * mask, mask)

    def _standing(self, rows: Tensor | None) -> Tensor | None:
        mask, row_mask = (tensor if rows is None else tensor[rows] for tensor in (self.mask, self.row_mask))
        if mask.all() and row_mask.all() and self.dim_mask.all():
            return None
        return mask & row_mask[:, None] & self.dim_mask

    def lengths(self) -> Tensor:
        """The length of each row, float32 [rows]."""
        lengths: Tensor = torch.linalg.vector_norm(self.weights().detach(), dim=1)
        return lengths

    def rows_of(self, original: Tensor) -> Tensor:
        """The current positions of original rows; -1 for removed or hidden rows."""
        original = original.long().contiguous()
        if not self.rows:
            return torch.full_like(original, -1)
        if self.rows == self.original_rows:
            return torch.where(self.row_mask[original], original, -1)
        if original.numel() * FEW < self.rows:
            position = torch.searchsorted(self.index, original).clamp_max(self.rows - 1)
            return torch.where(self.row_mask[position] & (self.index[position] == original), position, -1)
        position_of = torch.full((self.original_rows,), -1, dtype=torch.long, device=self.index.device)
        position_of[self.index[self.row_mask]] = self.row_mask.nonzero()[:, 0]
        return position_of[original]

    def cut_rows(self, keep: Tensor) -> None:
        """Keeps the rows at `keep` (int64, ascending), and removes the others."""
        self._replace(self.weight.detach()[keep])
        for name in ("index", "row_mask", "mask", "bits", "shares"):
            setattr(self, name, getattr(self, name)[keep])
        if self.bias is not None:
            self.bias = nn.Parameter(self.bias.detach()[keep].clone(), requires_grad=self.bias.requires_grad)

    def cut_dims(self, keep: Tensor) -> None:
        """Keeps the dimensions at `keep` (int64, ascending), and removes the others."""
        self._replace(self.weight.detach()[:, keep])
        self.dim_mask, self.mask = self.dim_mask[keep], self.mask[:, keep]

    def rotate(self, rotation: Tensor) -> None:
        """Multiplies every row by an orthogonal matrix, float32 [dim, dim]."""
        self.weight.data = self.weights().detach() @ rotation

    def prune(self, mask: Tensor) -> None:
        """Prunes single weights for good: `mask` is bool [rows, dim], False where a weight becomes zero."""
        self.mask = mask
        self.weight.data = self.weight.detach() * mask

    def choose_bits(self, bits: Tensor, *, search: bool = True) -> None:
        """Sets the width of every row's codes (uint8 [rows]), and chooses their ranges for the current weights.

        Args:
            search: False keeps the full ranges, for when only shapes matter.
        """
        self.bits = bits
        if not search:
            self.shares = torch.ones_like(self.shares)
            return
        weights, mask = self._masked()
        self.shares = best_shares(weights.detach(), bits, mask=mask, symmetric=self.symmetric)

    def code(self) -> None:
        """Replaces the weights with codes of the chosen bits and ranges."""
        weights, mask = self._masked()
        self.coded = quantize_rows(weights.detach(), self.bits, self.shares, mask=mask, symmetric=self.symmetric)

    def code_by(self, learners: Sequence[Learner], *, part_of: Tensor | None = None) -> None:
        """Replaces the weights with codes that are learned from them.

        Args:
            learners: one for each part, at most four.
            part_of: uint8 [rows], the part of each row; every part must have rows. None: there is one part.
        """
        weights = self.weights().detach()
        by_part = [weights if part_of is None else weights[part_of == number] for number in range(len(learners))]
        parts = tuple(learner.learn(values).code(values) for learner, values in zip(learners, by_part, strict=True))
        self.coded = parts[0] if part_of is None else PartCodes(parts=parts, part_of=part_of)
        self.mask = torch.ones_like(self.mask)

    def packed(self) -> StoredTable:
        """The table in the form that is stored in an artifact."""
        mask = None if bool(self.mask.all()) else self.mask
        return pack(self.weight.detach(), mask=mask, coded=self.coded)

    def _replace(self, weight: Tensor) -> None:
        if self.coded is not None:
            raise AssertionError("a plan lets nothing be cut after quantisation")
        self.weight = nn.Parameter(weight, requires_grad=self.weight.requires_grad)


class Linear(Table):
    """A linear layer, y = x Wᵀ + b, or without b: its rows are the outputs, its dimensions the inputs.

    Its codes are symmetric about zero, as integer kernels expect.
    """

    symmetric: ClassVar[bool] = True

    def __init__(self, rows: int, dim: int, *, bias: bool = True) -> None:
        super().__init__(rows, dim, bias=bias)

    def forward(self, vectors: Tensor) -> Tensor:
        """Maps float32 [..., dim] to [..., rows]; hidden rows give zero."""
        bias = self.bias if self.bias is None or self.row_mask.all() else self.bias * self.row_mask
        return linear(vectors, self.values(), bias)

    def choose_rate(self, rate: float) -> None:
        """Chooses 8-bit codes whose levels are spaced so that the codes have an entropy of `rate` bits."""
        weights = self._masked()[0].detach()
        self.bits = torch.full_like(self.bits, 8)
        self.shares = row_steps(weights, rate, MOST) * MOST / weights.abs().amax(1).clamp_min(1e-30)

    def compensate(self, fed: Tensor) -> None:
        """Rounds the weights to levels of the chosen codes so that the outputs change least.

        The bias compensates for the mean change of the outputs.

        Args:
            fed: inputs of the layer, float32 [n, dim], n > 0.
        """
        weights, mask = self._masked()
        weights, mean = weights.detach(), fed.mean(0) if self.bias is not None else torch.zeros_like(fed[0])
        centred = fed - mean
        moments = (centred.T @ centred).double() / len(fed)
        bits = int(self.bits[0])
        step = self.shares * weights.abs().amax(1).clamp_min(1e-30) / MOST if bits == 8 else None
        levels, self.shares = compensated(weights, moments, bits=bits, step=step, mask=mask)
        if self.bias is not None:
            self.bias.data = self.bias.detach() + (weights - levels) @ mean
        self.weight.data = levels
