"""Even levels about zero, as far apart as gives their codes an entropy: bytes are chosen, and not how many levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.machine import at_once
from autoprune.packing.centred import STEPS, CentredCodes, steps_of
from autoprune.packing.codes import RowCodes, unit_of
from autoprune.packing.compensated import Rounding

RATES = (1.5, 6.0)
"""Bits that a code can be told to take in an entropy-coded file, in the mean, at least and at most."""

CLIPPED = 1e-4
"""Of the values may lie beyond sixteen levels where rows keep no length of their own; else none may. Where it would be
more, codes have a byte each: the strongest of the principal axes reach far out."""

LENGTHS = 1 / 16
"""How finely the lengths of rows are told, in parts of how far apart levels lie beside the values: far below what the
codes lose, as the byte that says it is to be alike in most rows."""

LONG = 12
"""Dimensions from which rows are worth a byte for their length. A click model of 8 dimensions in 2.0 bits is as good
without it in a seventh fewer bytes, one of 16 in 1.6 bits is better with it (`studies/clicks`)."""

ZERO = {4: 8, 8: 128}
"""The code of zero, by the bits of a code."""

SAMPLE = 2**16
"""Values that a distance is chosen by, about: of some rows all."""

WIDER = 12
"""Distances that are tried from that of the rate on, each half as large again as the one before."""

NEAREST, FARTHEST = 0.01, 8.0
"""How far apart levels may lie, in standard deviations."""

ROWS = 1024
"""That a CPU codes at a time: what is made of them takes a small part of what a table does."""

TAKEN = 8
"""Times the memory of rows that coding them takes, about."""


@dataclass(frozen=True, kw_only=True)
class Rated:
    """Codes of a table whose levels lie equally far apart in all rows, one of them at zero.

    At the same entropy even levels lose less than those that suit a number of levels best (Gish & Pierce 1968,
    "Asymptotically Efficient Quantizing"). One distance for all rows needs no scale beside each.

    Values near zero become zero where bits are few, which makes rows shorter, some more than others. Where nothing is
    felt more, a byte a row takes them back to their own length, if that is less than twice and more than half as far;
    entropy-coded it takes one to three bits.

    Attributes:
        rate: the entropy of the codes in bits, above 0.
        step: how far apart levels lie; None: it is still to be learned.
        bits: of a code where nothing is entropy-coded: 4, or 8.
        finest: how far apart the lengths lie that a row can be given, as a logarithm.
        lengths: whether rows of `LONG` dimensions or more are taken back to their own length; kernels of linear maps
            take no byte for it.
        felt: what errors weigh, float64 [dim, dim], positive definite: along some directions of a row others are felt
            more. Rounding then leaves errors where they are felt least. None: all alike.
        points: rows that are enough to learn from, as of `Codebooks`.
    """

    rate: float
    step: float | None = None
    bits: int = 8
    finest: float = 0.0
    lengths: bool = True
    felt: Tensor | None = field(default=None, compare=False, repr=False)
    points: ClassVar[int] = 2**14

    def learn(self, values: Tensor, *, largest: float | None = None) -> Rated:
        """The same with a distance; arguments as of `Codebooks.learn`."""
        some = values[:: max(1, values.numel() // SAMPLE)]
        spread = float(some.square().mean().sqrt()) if some.numel() else 0.0
        plain = some / max(spread, 1e-30)
        step = spread * (distance(plain, self.rate) if self.felt is None else self._distance(plain))
        # Values that lie far out are cut off; and of few or sparse values no codes may have such an entropy.
        wider = [step * 1.5**power for power in range(WIDER)]
        step = min(wider, key=lambda one: float(_rounded(some, one, ZERO[8]).sub_(some).square_().sum()))
        clipped = sum(int((block.abs() > (ZERO[4] - 0.5) * step).sum()) for block in _blocks(values))
        stretches = self._stretches(values)
        cut_off = 0.0 if stretches else CLIPPED
        if stretches and len(values) == self.points and largest is not None:  # drawn, and others may lie farther
            clipped += largest > (ZERO[4] - 0.5) * step
        finest = LENGTHS * min(step / max(spread, 1e-30), 1.0)
        return replace(self, step=step, bits=4 if clipped <= cut_off * values.numel() else 8, finest=finest)

    def code(self, values: Tensor) -> RowCodes | CentredCodes:
        """The codes of float32 [n, dim]; those of a row do not depend on the others."""
        return self._centred(values) if self._stretches(values) else self._of_one_step(values)

    def _stretches(self, values: Tensor) -> bool:
        """Whether rows are taken back to their own length."""
        return self.lengths and self.felt is None and values.shape[1] >= LONG

    def _centred(self, values: Tensor) -> CentredCodes:
        """Codes to the nearest level, of rows of their own length."""
        assert self.step is not None, "what codes has learned"
        zero, stretches = ZERO[self.bits], list[Tensor]()
        codes = torch.empty(values.shape, dtype=torch.uint8, device=values.device)
        for block, coded in zip(_blocks(values), _blocks(codes), strict=True):
            signed = _signed(block, self.step or 1.0, zero - 1, None)
            length = torch.linalg.vector_norm(signed, dim=1).mul_(self.step)
            stretch = torch.linalg.vector_norm(block, dim=1) / length.clamp_min(1e-30)
            stretches.append(torch.where(length > 0, stretch.clamp_(0.5, 2.0), 1.0))
            coded.copy_(signed.add_(zero))
        lowest = math.log(max(self.step, 1e-30)) - STEPS // 2 * self.finest  # the step itself is in the middle
        grid = torch.tensor([lowest, self.finest])
        grid = grid.to(values.device)
        scale = torch.cat(stretches).mul_(self.step)
        return CentredCodes(codes=codes, scale=steps_of(scale, grid), grid=grid, bits=self.bits, zero=zero)

    def _of_one_step(self, values: Tensor) -> RowCodes:
        """Codes of rows as far apart in all of them."""
        assert self.step is not None, "what codes has learned"
        zero, unit = ZERO[self.bits], unit_of(self.step * 2**self.bits)
        scale = torch.full((len(values),), self.step / unit, device=values.device).half()
        step = float(torch.tensor(self.step / unit).half()) * unit or 1.0
        codes, rounding = torch.empty(values.shape, dtype=torch.uint8, device=values.device), self._rounding(values)
        for block, coded in zip(_blocks(values), _blocks(codes), strict=True):
            coded.copy_(_signed(block, step, zero - 1, rounding).add_(zero))
        bits = torch.full((len(values),), self.bits, dtype=torch.uint8, device=values.device)
        return RowCodes(codes=codes, scale=scale, offset=-zero * scale, unit=unit, bits=bits)

    def _rounding(self, values: Tensor) -> Rounding | None:
        return None if self.felt is None else Rounding(self.felt.to(values.device))

    def _distance(self, values: Tensor) -> float:
        """As `distance`, of codes that make up for one another: their values spread further than those of the rows."""
        rounding = self._rounding(values)
        return _distance(lambda step: _signed(values, step, ZERO[8] - 1, rounding).flatten(), self.rate)


def row_steps(values: Tensor, rate: float, most: float) -> Tensor:
    """How far apart levels lie in each row, in proportion to how far its values spread: float32 [rows].

    Args:
        values: float32 [rows, dim], finite.
        rate: the entropy of all codes, in bits.
        most: the highest code; the largest value of a row is never beyond it.
    """
    spread = values.std(1, correction=0).clamp_min(1e-30)
    return torch.maximum(spread * distance(values / spread[:, None], rate), values.abs().amax(1) / most)


def distance(values: Tensor, rate: float) -> float:
    """How far apart even levels lie, one at zero, whose codes of some values have an entropy of `rate` bits.

    Args:
        values: float32 [rows, dim], of a mean square near 1.
    """
    flat = values[:: max(1, values.numel() // SAMPLE)].flatten().clamp(-FARTHEST * 2**4, FARTHEST * 2**4)
    return _distance(lambda step: (flat / step).round_(), rate)


def _distance(codes: Callable[[float], Tensor], rate: float) -> float:
    """Of codes by how far apart levels lie the distance at which their entropy is `rate` bits."""
    near, far = NEAREST, FARTHEST
    for _ in range(24):
        middle = math.sqrt(near * far)
        near, far = (middle, far) if _entropy(codes(middle)) > rate else (near, middle)
    return near


def _blocks(values: Tensor) -> tuple[Tensor, ...]:
    """Rows, float32 or codes [n, dim], as many together as are coded at a time: views."""
    return torch.split(values, at_once(values.device, TAKEN * 4 * values.shape[1], usual=ROWS))


def _signed(values: Tensor, step: float, most: float, rounding: Rounding | None) -> Tensor:
    """Codes about zero, float32 like `values`."""
    plain = (values / step).round_().clamp_(-most, most)
    if rounding is None:
        return plain
    steps = values.new_full((len(values),), step)
    codes = rounding.codes(values, steps, ZERO[8] - 1, mask=values != 0)  # what is pruned stays so
    # What is cut off is too much for the rest of a row to make up for.
    return torch.where(codes.abs().amax(1, keepdim=True) > most, plain, codes)


def _rounded(values: Tensor, step: float, zero: int) -> Tensor:
    """The nearest of the levels, float32 like `values`."""
    return (values / (step or 1.0)).round_().clamp_(1 - zero, zero - 1).mul_(step)


def _entropy(codes: Tensor) -> float:
    """Of whole numbers, in bits."""
    if not len(codes):
        return 0.0
    shares = torch.bincount((codes - codes.min()).long()).double() / len(codes)
    return -float(torch.special.xlogy(shares, shares).sum()) / math.log(2)
