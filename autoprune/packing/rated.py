"""Even levels centred on zero, spaced for a given entropy: the bytes are chosen, not the number of levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import Diverged
from autoprune.machine import at_once
from autoprune.packing.centred import STEPS, CentredCodes, steps_of
from autoprune.packing.codes import RowCodes, unit_of
from autoprune.packing.compensated import Rounding

RATES = (1.5, 6.0)
"""The lowest and the highest rate that can be requested: mean bits per code in an entropy-coded file."""

CLIPPED = 1e-4
"""The share of values that may lie beyond sixteen levels if rows keep no length; else none may. If more would, codes
get a byte each: values along the strongest principal axes can be large."""

LENGTHS = 1 / 16
"""The step of row lengths, as a share of the distance between levels over the spread of values. Its error is far below
that of the codes; finer steps would make the length bytes of rows less alike."""

LONG = 12
"""The least dimensions with which a byte for the length pays. A click model of 8 dimensions in 2.0 bits is as good
without it and a seventh smaller; one of 16 dimensions in 1.6 bits is better with it (`studies/clicks`)."""

ZERO = {4: 8, 8: 128}
"""The code of zero, by the bits of a code."""

SAMPLE = 2**16
"""The approximate number of values by which a distance is chosen: those of a sample of rows."""

WIDER = 12
"""Distances that are tried, from that of the rate on, each 1.5 times the one before."""

NEAREST, FARTHEST = 0.01, 8.0
"""The least and the largest distance between levels, in standard deviations."""

MOST_LEVELS = 2**14
"""Levels on either side of zero that are counted: values beyond are rare, and count as if they had the last one."""

ROWS = 1024
"""Rows that a CPU codes at a time, so that intermediate results take far less memory than the table."""

TAKEN = 8
"""The approximate memory that coding takes, as a multiple of the memory of the rows."""


@dataclass(frozen=True, kw_only=True)
class Rated:
    """Codes a table with one distance between levels for all rows and a level at zero.

    At equal entropy even levels lose less than levels that are optimal for their number (Gish & Pierce 1968,
    "Asymptotically Efficient Quantizing"). One distance for all rows needs no scale per row.

    With few bits, values near zero become zero, which shortens rows, some more than others. Without `felt`, a byte per
    row restores their original length, if the factor is between a half and two; entropy-coded the byte takes one to
    three bits.

    Attributes:
        rate: the entropy of the codes in bits, above 0.
        step: the distance between levels; None: not learned yet.
        bits: of a code before entropy coding: 4 or 8.
        finest: the step of the lengths that a row can have, as a logarithm.
        lengths: whether rows of `LONG` dimensions or more get their original length; kernels of linear layers do not
            support its byte.
        felt: the weights of errors, float64 [dim, dim], positive definite: errors along some directions of a row move
            vectors further. Rounding then puts errors where they matter least. None: all directions weigh the same.
        points: how many rows are enough to learn from, as of `Codebooks`.
    """

    rate: float
    step: float | None = None
    bits: int = 8
    finest: float = 0.0
    lengths: bool = True
    felt: Tensor | None = field(default=None, compare=False, repr=False)
    points: ClassVar[int] = 2**14

    def learn(self, values: Tensor, *, largest: float | None = None) -> Rated:
        """A copy with a step; arguments as of `Codebooks.learn`."""
        sample = values[:: max(1, values.numel() // SAMPLE)]
        spread = float(sample.square().mean().sqrt()) if sample.numel() else 0.0
        if not math.isfinite(spread):
            raise Diverged("a table with values that are not finite cannot be coded")
        plain = sample / max(spread, 1e-30)
        ascending = _Sorted(plain)
        step = _distance(ascending.entropy, self.rate) if self.felt is None else self._distance(plain)
        # Outliers are clipped, and no codes of few or sparse values may have such an entropy: so try larger steps.
        step = spread * min((step * 1.5**power for power in range(WIDER)), key=ascending.error)
        clipped = sum(int((block.abs() > (ZERO[4] - 0.5) * step).sum()) for block in _blocks(values))
        stretches = self._stretches(values)
        cut_off = 0.0 if stretches else CLIPPED
        if stretches and len(values) == self.points and largest is not None:  # a sample, and other values may be larger
            clipped += largest > (ZERO[4] - 0.5) * step
        finest = LENGTHS * min(step / max(spread, 1e-30), 1.0)
        return replace(self, step=step, bits=4 if clipped <= cut_off * values.numel() else 8, finest=finest)

    def code(self, values: Tensor) -> RowCodes | CentredCodes:
        """The codes of float32 [n, dim]; a row's codes do not depend on the other rows."""
        return self._centred(values) if self._stretches(values) else self._of_one_step(values)

    def _stretches(self, values: Tensor) -> bool:
        """Whether rows get their original length."""
        return self.lengths and self.felt is None and values.shape[1] >= LONG

    def _centred(self, values: Tensor) -> CentredCodes:
        """Codes of the nearest levels, with a scale per row that restores its length."""
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
        """Codes with the same step in all rows."""
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
        """Like `distance`, for codes that make up for each other: they spread further than the values of the rows."""
        rounding = self._rounding(values)
        return _distance(lambda step: _entropy(_signed(values, step, ZERO[8] - 1, rounding).flatten()), self.rate)


def row_steps(values: Tensor, rate: float, most: float) -> Tensor:
    """The distance between levels in each row, proportional to the spread of its values: float32 [rows].

    Args:
        values: float32 [rows, dim], finite.
        rate: the entropy of all codes, in bits.
        most: the highest code; no value of a row exceeds its level.
    """
    spread = values.std(1, correction=0).clamp_min(1e-30)
    return torch.maximum(spread * distance(values / spread[:, None], rate), values.abs().amax(1) / most)


def distance(values: Tensor, rate: float) -> float:
    """The distance between even levels, one at zero, at which codes of values have an entropy of `rate` bits.

    Args:
        values: float32 [rows, dim], with a mean square near 1.
    """
    return _distance(_Sorted(values[:: max(1, values.numel() // SAMPLE)]).entropy, rate)


def _distance(entropy: Callable[[float], float], rate: float) -> float:
    """The distance at which `entropy`, the bits of a code by the distance, is `rate`."""
    near, far = NEAREST, FARTHEST
    for _ in range(24):
        middle = math.sqrt(near * far)
        near, far = (middle, far) if entropy(middle) > rate else (near, middle)
    return near


class _Sorted:
    """Values in ascending order: how many have the same code follows, for any distance, from where levels meet.

    Args:
        values: of any shape, in standard deviations.
    """

    def __init__(self, values: Tensor) -> None:
        ascending = np.sort(values.detach().cpu().numpy(), axis=None).astype(np.float64)
        self._values = ascending
        self._sums, self._squares = (np.concatenate([[0.0], of.cumsum()]) for of in (ascending, ascending**2))

    def entropy(self, step: float) -> float:
        """The entropy of the codes of all values, in bits; there are as many levels as they need."""
        count = len(self._values)
        if not count:
            return 0.0
        lowest, highest = (
            round(min(max(float(value) / step, -MOST_LEVELS), MOST_LEVELS)) for value in self._values[[0, -1]]
        )
        ends = self._ends(step, lowest, highest)
        counts = ends[1:] - ends[:-1]
        return math.log2(count) - float(counts @ np.log2(np.maximum(counts, 1))) / count

    def error(self, step: float) -> float:
        """The sum of the squared errors of codes of eight bits."""
        most = ZERO[8] - 1
        ends, levels = self._ends(step, -most, most), step * np.arange(-most, most + 1)
        counts, sums, squares = (of[1:] - of[:-1] for of in (ends, self._sums[ends], self._squares[ends]))
        return float((squares - 2 * levels * sums + levels**2 * counts).sum())

    def _ends(self, step: float, lowest: int, highest: int) -> np.ndarray[Any, Any]:
        """Where the values of each code begin and end, int64 [levels + 1]; the outer codes have all that is beyond."""
        ends = np.empty(highest - lowest + 2, dtype=np.int64)
        ends[0], ends[-1] = 0, len(self._values)
        ends[1:-1] = np.searchsorted(self._values, (np.arange(lowest, highest) + 0.5) * step)
        return ends


def _blocks(values: Tensor) -> tuple[Tensor, ...]:
    """The blocks of rows, float32 or codes [n, dim], that are coded at a time: views."""
    return torch.split(values, at_once(values.device, TAKEN * 4 * values.shape[1], usual=ROWS))


def _signed(values: Tensor, step: float, most: float, rounding: Rounding | None) -> Tensor:
    """Signed codes, float32 like `values`."""
    plain = (values / step).round_().clamp_(-most, most)
    if rounding is None:
        return plain
    steps = values.new_full((len(values),), step)
    codes = rounding.codes(values, steps, ZERO[8] - 1, mask=values != 0)  # pruned zeros stay zeros
    # The rest of a row cannot make up for a clipped value.
    return torch.where(codes.abs().amax(1, keepdim=True) > most, plain, codes)


def _entropy(codes: Tensor) -> float:
    """The entropy of integers, in bits."""
    if not len(codes):
        return 0.0
    shares = torch.bincount((codes - codes.min()).long()).double() / len(codes)
    return -float(torch.special.xlogy(shares, shares).sum()) / math.log(2)
