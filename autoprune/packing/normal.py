"""Codes at the levels that suit a normal distribution, with one byte a row beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.packing.bits import LEVELS, TERNARY, is_rate
from autoprune.packing.centred import STEPS, CentredCodes, steps_of
from autoprune.packing.codes import BLOCK
from autoprune.packing.rows import middle_code

APART = {4: 0.3352, 3: 0.5860, 2: 0.9957, TERNARY: 1.2240, 1: 1.5958}
"""How far apart even levels lie that suit a normal distribution best, in standard deviations (Max 1960, table II)."""

RATES = (1.5, 3.6)
"""Bits that a code can be told to take in an entropy-coded file, in the mean, at least and at most."""

RATED_BITS = 4
"""Of codes of such a rate where nothing is entropy-coded: sixteen levels are enough, as the outer ones are rare."""

STRETCHES = tuple(0.7 + 0.05 * i for i in range(13))
"""Of that distance: what is tried for each row, which has few values and so is never quite normal. It costs no bit."""

SHORTEST = 1 / 64
"""Of the longest row: shorter ones do not widen the steps in which scales are said, and may come out that long."""

SPARE = 1.05
"""By how much the scales of rows may lie beyond those of the rows that the steps were learned from."""


@lru_cache
def apart(rate: float) -> float:
    """How far apart even levels lie, in standard deviations, whose codes of normal values have an entropy of `rate`.

    At the same entropy even levels lose less than those that suit a number of levels best (Gish & Pierce 1968,
    "Asymptotically Efficient Quantizing").

    Args:
        rate: in bits, within `RATES`.
    """
    near, far = 0.3, 4.0
    for _ in range(40):
        middle = (near + far) / 2
        near, far = (middle, far) if _entropy(middle) > rate else (near, middle)
    return near


def _entropy(distance: float) -> float:
    """Of the codes of normal values, in bits, where `2**RATED_BITS` levels lie so far apart."""
    half = 2 ** (RATED_BITS - 1)
    below = [0.5 * math.erfc(-at * distance / math.sqrt(2)) for at in range(1 - half, half)]
    shares = [after - before for before, after in pairwise([0.0, *below, 1.0])]
    return -sum(share * math.log2(share) for share in shares if share > 0)


@dataclass(frozen=True, kw_only=True)
class Normal:
    """Codes of rows that were turned at random, whose values are about normal then.

    Levels lie evenly about zero, at the distance at which a row and its codes point the same way most. What is left to
    say of a row is its length: it takes one byte, and decoded rows have it (Gao et al. 2025, "Practical and
    Asymptotically Optimal Quantization of High-Dimensional Vectors in Euclidean Space"). A shape and a gain are told
    apart by Gersho & Gray 1992, section 12.10.

    Attributes:
        bits: a key of `APART`; or a rate (`is_rate`): then levels lie as far apart as gives their codes that entropy.
        search: whether the distance is searched; where shapes alone matter it is not.
        grid: of the scales, as of `CentredCodes`; None: it is still to be learned.
        points: rows that are enough to learn from, as of `Codebooks`.
    """

    bits: float
    search: bool = True
    grid: tuple[float, float] | None = None
    points: ClassVar[int] = 2**14

    def learn(self, values: Tensor, *, largest: float | None = None) -> Normal:
        """The same with the steps in which scales are said; arguments as of `Codebooks.learn`, `largest` a length."""
        lengths = torch.linalg.vector_norm(values, dim=1)
        there = lengths > 0
        if not there.any():
            return replace(self, grid=(0.0, 0.0))
        longest = float(lengths.max())
        if len(values) == self.points and largest is not None:  # they were drawn, and others may be longer
            longest = max(longest, largest)
        shortest = max(float(lengths[there].min()), SHORTEST * longest)
        some = there.nonzero()[: self.points, 0]
        ratios = self._fitting(values[some])[1] / lengths[some]
        low = math.log(shortest * float(ratios.min()) / SPARE)
        high = math.log(longest * float(ratios.max()) * SPARE)
        return replace(self, grid=(low, (high - low) / (STEPS - 1)))

    def code(self, values: Tensor) -> CentredCodes:
        """The codes of float32 [n, dim]; those of a row do not depend on the others."""
        assert self.grid is not None, "what codes has learned"
        codes, scale = self._fitting(values)
        grid = torch.tensor(self.grid, device=values.device)
        return CentredCodes(codes=codes, scale=steps_of(scale, grid), grid=grid, bits=self._stored)

    @property
    def _stored(self) -> float:
        """The bits of the codes as they are packed."""
        return RATED_BITS if is_rate(self.bits) else self.bits

    def _fitting(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The codes of each row, uint8 [n, dim], and the scale that gives them its length, float32 [n]."""
        if is_rate(self.bits):  # nearer ones would be more alike, and take more bits
            distances = [apart(self.bits)]
        else:
            stretches = STRETCHES if self.search and self.bits > 1 else (1.0,)
            distances = [stretch * APART[self.bits] for stretch in stretches]
        codes = torch.empty(values.shape, dtype=torch.uint8, device=values.device)
        scale = torch.empty(len(values), device=values.device)
        for rows in torch.split(torch.arange(len(values), device=values.device), max(1, BLOCK // values.shape[1])):
            codes[rows], scale[rows] = _best(values[rows], self._stored, distances)
        return codes, scale


def _best(values: Tensor, bits: float, distances: Sequence[float]) -> tuple[Tensor, Tensor]:
    """The best codes of some rows, and their scales, at levels so far apart, in standard deviations of each row."""
    middle, most = middle_code(bits), LEVELS[bits] - 1
    lengths = torch.linalg.vector_norm(values, dim=1)
    deviations = values / (lengths / values.shape[1] ** 0.5).clamp_min(1e-30)[:, None]
    most_alike = torch.full_like(lengths, -torch.inf)
    best, reached = torch.empty_like(values), torch.ones_like(lengths)
    for distance in distances:
        codes = (deviations / distance).add_(middle).round_().clamp_(0, most)
        levels = codes - middle
        reach = torch.linalg.vector_norm(levels, dim=1).clamp_min(1e-12)
        alike = (deviations * levels).sum(1) / reach
        better = alike > most_alike
        most_alike, reached = torch.where(better, alike, most_alike), torch.where(better, reach, reached)
        best = torch.where(better[:, None], codes, best)
    return best.to(torch.uint8), lengths / reached
