"""Uniform row-wise codes: few bits per weight, with a scale and an offset per row."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

SHARES = tuple(1.0 - 0.05 * i for i in range(11))
"""Shares of a row's range that are tried for codes of 2 to 7 bits, widest first."""

BLOCK = 2**18
"""Weights whose shares are searched at a time: they and their codes fit into a processor's cache, which makes a large
table four times as fast."""


@dataclass(frozen=True, kw_only=True)
class RowCodes:
    """Row-wise codes of a table: value = (code * scale + offset) * unit.

    Attributes:
        codes: uint8 [rows, dim], each below 2**bits of its row.
        scale, offset: float16 [rows], in multiples of `unit`.
        unit: one power of two for the table, which puts its largest value near the upper end of float16: rows a
            thousand times smaller keep all their digits, and a row's codes do not depend on the other rows.
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
    """The code of zero in symmetric codes: 64 for 8 bits, 8 for 4 bits, 2 for 2 bits; float32 [rows]."""
    return torch.where(bits == 8, 64.0, 2.0 ** (bits.float() - 1))


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Computes row-wise codes of one width, with the ranges that fit best.

    Attributes:
        bits: 1 to 8.
        unit: shared by all rows, as of `RowCodes`; None: the unit that fits the coded rows.
        search: whether ranges are searched; False, if only shapes matter, takes whole ranges.
        points: how many rows are enough to learn from, as of `Codebooks`: none, the largest value is enough.
    """

    bits: int
    unit: float | None = None
    search: bool = True
    points: ClassVar[int] = 0

    def learn(self, values: Tensor, *, largest: float | None = None) -> Uniform:
        """A copy with a unit; arguments as of `Codebooks.learn`."""
        return replace(self, unit=unit_of(_largest(values) if largest is None else largest))

    def code(self, values: Tensor) -> RowCodes:
        """The codes of float32 [n, dim]; once there is a unit, a row's codes do not depend on the other rows."""
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

    With several bits the levels divide a share of the row's range, around its middle. With one bit they are the mean of
    the row plus and minus its mean absolute deviation, the best two levels for the signs about the mean (Rastegari et
    al. 2016, "XNOR-Net"). Codes are computed with scale and offset rounded to float16, as they are stored. Then rows of
    fewer than 8 bits are stretched back to their original length: without that, rounding would change lengths and so
    favour some items over others. Stretching multiplies a squared error by at most 2 / (1 + c), where c is the cosine
    between the row and the values of its codes.

    Args:
        values: float32 [rows, dim], finite, below 1e37.
        bits: uint8 [rows], 1 to 8.
        shares: float32 [rows], above 0: from `best_shares`, at most 1, or from a fitted linear layer.
        mask: bool [rows, dim]; False: a zero that is not stored and does not count.
        symmetric: whether the code `symmetric_zero` of each row stands for zero, with as many levels above it as below;
            of 8 bits only 7 are used, so that two products fit into 16 bits (CPUs without VNNI add them in 16 bits).
        unit: of scale and offset; None: the unit that fits the largest of `values`.
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
    """The factor that gives rows of few bits their original length, float32 [rows]; 1 if far off, and for 8 bits."""
    if mask is not None:
        values, rounded = values * mask, rounded * mask
    stretch = values.norm(dim=1) / rounded.norm(dim=1).clamp_min(1e-12)
    return torch.where((bits < 8) & (stretch > 0.5) & (stretch < 2.0), stretch, torch.ones_like(stretch))


def best_shares(values: Tensor, bits: Tensor, *, mask: Tensor | None = None, symmetric: bool = False) -> Tensor:
    """The share of each row's range that gives the smallest squared error: float32 [rows].

    The greedy search of Guan et al. 2019, "Post-Training 4-bit Quantization on Embedding Tables", around the middle
    of the range. Rows of 8 bits keep their whole range; rows of one bit have no range.

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


def _best_of(values: Tensor, widths: Tensor, kept: Tensor | None, symmetric: bool) -> Tensor:
    """The best of `SHARES` for each of some rows."""
    values = values / values.abs().amax(1, keepdim=True).clamp_min(1e-30)  # squares neither overflow nor vanish
    most = _most(widths, symmetric)
    least: Tensor | None = None
    chosen, buffer = torch.ones(len(values), device=values.device), torch.empty_like(values)
    ends, weights = _ends(values, kept, symmetric), None if kept is None else kept.float()
    for share in SHARES:
        low, high = _shrunk(ends, widths, torch.full_like(chosen, share), symmetric)
        scale = (high - low) / most
        errors = _codes(values, scale, low, most, out=buffer).mul_(scale[:, None]).add_(low[:, None]).sub_(values)
        if weights is not None:
            errors *= weights
        error = errors.square_().sum(1)
        if least is None:
            least = error
        else:
            better = error < least
            least, chosen = torch.where(better, error, least), chosen.masked_fill(better, share)
    return chosen


def _largest(values: Tensor) -> float:
    return float(values.abs().max()) if values.numel() else 0.0


def unit_of(largest: float) -> float:
    """The power of two in which the largest absolute value of a table is between 2**11 and 2**12."""
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
    """The range of each row, float32 [rows] each; symmetric ones end at the largest absolute value."""
    if symmetric:
        high = (values if mask is None else values * mask).abs().amax(1)
        return -high, high
    if mask is None:
        return values.amin(1), values.amax(1)
    empty = ~mask.any(1)
    low = values.masked_fill(~mask, torch.inf).amin(1).masked_fill(empty, 0.0)
    return low, values.masked_fill(~mask, -torch.inf).amax(1).masked_fill(empty, 0.0)


def _shrunk(ends: tuple[Tensor, Tensor], bits: Tensor, shares: Tensor, symmetric: bool) -> tuple[Tensor, Tensor]:
    """The lowest and the highest level, which span a share of each row's range around its middle."""
    low, high = ends
    if symmetric:
        zero = symmetric_zero(bits)
        step = high * shares / (zero - 1)
        return -zero * step, (zero - 1) * step
    middle, half = (high + low) / 2, (high - low) / 2 * shares
    return middle - half, middle + half
