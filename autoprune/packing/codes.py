"""Few bits for a weight: row-wise codes, and codes as packed bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

SHARES = tuple(1.0 - 0.05 * i for i in range(11))
"""Parts of a row's range that are tried where bits are few, widest first."""

BLOCK = 2**18
"""Weights whose shares are searched at a time: they and their codes stay in a processor's cache, which is four times as
fast for a large table."""


@dataclass(frozen=True, kw_only=True)
class RowCodes:
    """Row-wise codes of a table: value = (code * scale + offset) * unit.

    Attributes:
        codes: uint8 [rows, dim], each below 2**bits of its row.
        scale, offset: float16 [rows], in multiples of `unit`.
        unit: one power of two for the table, which sets its largest value near the upper end of float16: rows a
            thousand times smaller keep all their digits, and some rows alone have the codes they have among others.
        bits: uint8 [rows], 1 to 8.
    """

    codes: Tensor
    scale: Tensor
    offset: Tensor
    unit: float
    bits: Tensor

    def values(self) -> Tensor:
        """The table the codes stand for, float32 [rows, dim]."""
        values = self.codes.float().mul_((self.scale.float() * self.unit)[:, None])
        return values.add_((self.offset.float() * self.unit)[:, None])


def symmetric_zero(bits: Tensor) -> Tensor:
    """The code that stands for zero where levels lie symmetrically: 64 of 8 bits, 8 of 4, 2 of 2, float32 [rows]."""
    return torch.where(bits == 8, 64.0, 2.0 ** (bits.float() - 1))


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Row-wise codes of one width, with the ranges that fit best.

    Attributes:
        bits: 1 to 8.
        unit: that all rows share, as of `RowCodes`; None: as the rows at hand need it.
        search: whether ranges are searched; where shapes alone matter they are whole.
        points: rows that are enough to learn from, as of `Codebooks`: the largest value says all.
    """

    bits: int
    unit: float | None = None
    search: bool = True
    points: ClassVar[int] = 0

    def learn(self, values: Tensor, *, largest: float | None = None) -> Uniform:
        """The same with a unit; arguments as of `Codebooks.learn`."""
        return replace(self, unit=unit_of(_largest(values) if largest is None else largest))

    def code(self, values: Tensor) -> RowCodes:
        """The codes of float32 [n, dim]; those of a row do not depend on the others, once there is a unit."""
        bits = torch.full((len(values),), self.bits, dtype=torch.uint8, device=values.device)
        shares = best_shares(values, bits) if self.search else torch.ones(len(values), device=values.device)
        return quantize_rows(values, bits, shares, unit=self.unit)


def quantize_rows(
    values: Tensor,
    bits: Tensor,
    shares: Tensor,
    *,
    mask: Tensor | None = None,
    symmetric: bool = False,
    unit: float | None = None,
) -> RowCodes:
    """Uniform codes for each row.

    With several bits the levels divide a share of the row's range, about its middle. With one bit they are the
    mean of the row plus and minus its mean absolute deviation, the best two levels for the signs about the mean
    (Rastegari et al. 2016, "XNOR-Net"). Codes are found against scale and offset as they are stored, in float16.
    Afterwards rows of fewer than 8 bits are stretched back to their own length: rows of one length must not differ
    in it by rounding, or few bits would favour some items over all others. Against the same codes as they were, a
    squared error grows by at most 2 / (1 + c), where c is the cosine between the row and its codes' values.

    Args:
        values: float32 [rows, dim], finite, below 1e37.
        bits: uint8 [rows], 1 to 8.
        shares: float32 [rows], above 0; what `best_shares` found, which is at most 1, or a map that was fitted.
        mask: bool [rows, dim]; where False the value is a zero that will not be stored, and does not count.
        symmetric: whether a code of each row, `symmetric_zero`, stands for zero, with as many levels above as below
            it; of 8 bits only 7 are used, so that two products fit into 16 bits (as CPUs without VNNI add them).
        unit: that scale and offset are multiples of; None: as the largest of `values` needs it.
    """
    if unit is None:
        unit = unit_of(_largest(values))
    scaled = values / unit
    low, high = _levels_ends(scaled, bits, shares, mask, symmetric)
    most = _most(bits, symmetric)
    if symmetric:
        scale = ((high - low) / most).half()
        offset = -symmetric_zero(bits) * scale  # exact: a power of two
    else:
        offset = low.half()
        scale = ((high - offset.float()) / most).clamp_min(0.0).half()
    codes = _codes(scaled, scale, offset, most)
    if symmetric:
        codes.clamp_min_(1.0)
    if (bits < 8).any():
        stretch = _stretch(scaled, torch.addcmul(offset.float()[:, None], codes, scale.float()[:, None]), bits, mask)
        scale, offset = (scale.float() * stretch).half(), (offset.float() * stretch).half()
    return RowCodes(codes=codes.to(torch.uint8), scale=scale, offset=offset, unit=unit, bits=bits)


def _stretch(values: Tensor, rounded: Tensor, bits: Tensor, mask: Tensor | None) -> Tensor:
    """What takes rows of few bits back to their own length, float32 [rows]; 1 where that is far off, and of 8 bits."""
    if mask is not None:
        values, rounded = values * mask, rounded * mask
    stretch = values.norm(dim=1) / rounded.norm(dim=1).clamp_min(1e-12)
    return torch.where((bits < 8) & (stretch > 0.5) & (stretch < 2.0), stretch, torch.ones_like(stretch))


def best_shares(values: Tensor, bits: Tensor, *, mask: Tensor | None = None, symmetric: bool = False) -> Tensor:
    """The share of each row's range that gives the smallest squared error: float32 [rows].

    The greedy search of Guan et al. 2019, "Post-Training 4-bit Quantization on Embedding Tables", about the
    middle. Rows of 8 bits keep their whole range, rows of one bit have none to choose.

    Args:
        values: float32 [rows, dim], finite.
        bits: uint8 [rows], 1 to 8.
        mask, symmetric: as in `quantize_rows`.
    """
    best = torch.ones(len(values), device=values.device)
    searched = ((bits > 1) & (bits < 8)).nonzero()[:, 0]
    if len(searched) == 0:
        return best
    for rows in torch.split(searched, max(1, BLOCK // values.shape[1])):
        best[rows] = _best_of(values[rows], bits[rows], None if mask is None else mask[rows], symmetric)
    return best


def _best_of(part: Tensor, widths: Tensor, kept: Tensor | None, symmetric: bool) -> Tensor:
    """The best of `SHARES` for each of some rows."""
    part = part / part.abs().amax(1, keepdim=True).clamp_min(1e-30)  # squares neither overflow nor vanish
    most = _most(widths, symmetric)
    least: Tensor | None = None
    chosen, room = torch.ones(len(part), device=part.device), torch.empty_like(part)
    ends, counted = _ends(part, kept, symmetric), None if kept is None else kept.float()
    for share in SHARES:
        low, high = _shrunk(ends, widths, torch.full_like(chosen, share), symmetric)
        scale = (high - low) / most
        wrong = _codes(part, scale, low, most, out=room).mul_(scale[:, None]).add_(low[:, None]).sub_(part)
        if counted is not None:
            wrong *= counted
        error = wrong.square_().sum(1)
        if least is None:
            least = error
        else:
            better = error < least
            least, chosen = torch.where(better, error, least), chosen.masked_fill(better, share)
    return chosen


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def unit_of(largest: float) -> float:
    """The power of two that takes the largest absolute value of a table to between 2**11 and 2**12."""
    return 2.0 ** max(math.frexp(largest)[1] - 12, -112)


def _codes(values: Tensor, scale: Tensor, offset: Tensor, most: Tensor, *, out: Tensor | None = None) -> Tensor:
    step = torch.where(scale > 0, scale.float(), torch.ones_like(most))
    codes = torch.sub(values, offset.float()[:, None], out=out).div_(step[:, None]).round_().clamp_min_(0.0)
    return torch.minimum(codes, most[:, None], out=codes)


def _most(bits: Tensor, symmetric: bool) -> Tensor:
    """The highest code of each row, float32 [rows]."""
    return 2 * symmetric_zero(bits) - 1 if symmetric else (2 ** bits.float()) - 1


def _levels_ends(
    values: Tensor, bits: Tensor, shares: Tensor, mask: Tensor | None, symmetric: bool
) -> tuple[Tensor, Tensor]:
    """The lowest and the highest level of each row, float32 [rows] each."""
    low, high = _shrunk(_ends(values, mask, symmetric), bits, shares, symmetric)
    sign = bits == 1
    if sign.any() and not symmetric:
        kept = torch.ones_like(values) if mask is None else mask.float()
        count = kept.sum(1).clamp_min(1.0)
        mean = (values * kept).sum(1) / count
        spread = ((values - mean[:, None]).abs() * kept).sum(1) / count
        low, high = torch.where(sign, mean - spread, low), torch.where(sign, mean + spread, high)
    return low, high


def _ends(values: Tensor, mask: Tensor | None, symmetric: bool) -> tuple[Tensor, Tensor]:
    """The range of each row, float32 [rows] each; where levels lie symmetrically its largest value is the upper end."""
    if symmetric:
        high = (values if mask is None else values * mask).abs().amax(1)
        return -high, high
    if mask is None:
        return values.amin(1), values.amax(1)
    empty = ~mask.any(1)
    low = values.masked_fill(~mask, torch.inf).amin(1).masked_fill(empty, 0.0)
    return low, values.masked_fill(~mask, -torch.inf).amax(1).masked_fill(empty, 0.0)


def _shrunk(ends: tuple[Tensor, Tensor], bits: Tensor, shares: Tensor, symmetric: bool) -> tuple[Tensor, Tensor]:
    """The lowest and the highest level that span a share of each row's range about its middle."""
    low, high = ends
    if symmetric:
        zero = symmetric_zero(bits)
        step = high * shares / (zero - 1)
        return -zero * step, (zero - 1) * step
    middle, half = (high + low) / 2, (high - low) / 2 * shares
    return middle - half, middle + half
