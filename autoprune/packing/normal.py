"""Codes with levels spaced for a normal distribution, and one byte per row for its scale."""

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
"""The best distance between even levels for a normal distribution, in standard deviations (Max 1960, table II)."""

RATES = (1.5, 3.6)
"""The lowest and the highest rate that can be requested: mean bits per code in an entropy-coded file."""

RATED_BITS = 4
"""Bits of a code with a rate before entropy coding: sixteen levels are enough, as the outer ones are rare."""

STRETCHES = tuple(0.7 + 0.05 * i for i in range(13))
"""Factors of that distance that are tried for each row, as few values are never quite normal. They cost no bits."""

SHORTEST = 1 / 64
"""Share of the longest row: shorter rows do not widen the range of scales, and may come out as long as this."""

SPARE = 1.05
"""The factor by which scales may exceed those of the rows that the grid was learned from."""


@lru_cache
def apart(rate: float) -> float:
    """The distance between even levels, in standard deviations, at which codes of normal values have entropy `rate`.

    At equal entropy even levels lose less than levels that are optimal for their number (Gish & Pierce 1968,
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
    """The entropy, in bits, of codes of normal values with `2**RATED_BITS` levels at a distance."""
    half = 2 ** (RATED_BITS - 1)
    below = [0.5 * math.erfc(-number * distance / math.sqrt(2)) for number in range(1 - half, half)]
    shares = [after - before for before, after in pairwise([0.0, *below, 1.0])]
    return -sum(share * math.log2(share) for share in shares if share > 0)


@dataclass(frozen=True, kw_only=True)
class Normal:
    """Codes randomly rotated rows, whose values are approximately normal.

    Levels are even and centred on zero, at the distance at which the codes' direction is nearest to the row's. One more
    byte stores the row's length, which decoded rows have again (Gao et al. 2025, "Practical and Asymptotically Optimal
    Quantization of High-Dimensional Vectors in Euclidean Space"). This is shape-gain quantisation (Gersho & Gray 1992,
    section 12.10).

    Attributes:
        bits: a key of `APART`; or a rate (`is_rate`), for levels whose codes have that entropy.
        search: whether the distance is searched; False if only shapes matter.
        grid: of the scales, as of `CentredCodes`; None: not learned yet.
        points: how many rows are enough to learn from, as of `Codebooks`.
    """

    bits: float
    search: bool = True
    grid: tuple[float, float] | None = None
    points: ClassVar[int] = 2**14

    def learn(self, values: Tensor, *, largest: float | None = None) -> Normal:
        """A copy with a grid for scales; arguments as of `Codebooks.learn`, where `largest` is a length."""
        lengths = torch.linalg.vector_norm(values, dim=1)
        nonzero = lengths > 0
        if not nonzero.any():
            return replace(self, grid=(0.0, 0.0))
        longest = float(lengths.max())
        if len(values) == self.points and largest is not None:  # a sample, and other rows may be longer
            longest = max(longest, largest)
        shortest = max(float(lengths[nonzero].min()), SHORTEST * longest)
        sample = nonzero.nonzero()[: self.points, 0]
        ratios = self._fitting(values[sample])[1] / lengths[sample]
        low = math.log(shortest * float(ratios.min()) / SPARE)
        high = math.log(longest * float(ratios.max()) * SPARE)
        return replace(self, grid=(low, (high - low) / (STEPS - 1)))

    def code(self, values: Tensor) -> CentredCodes:
        """The codes of float32 [n, dim]; a row's codes do not depend on the other rows."""
        assert self.grid is not None, "learn must be called before code"
        codes, scale = self._fitting(values)
        grid = torch.tensor(self.grid, device=values.device)
        return CentredCodes(codes=codes, scale=steps_of(scale, grid), grid=grid, bits=self._stored)

    @property
    def _stored(self) -> float:
        """The bits of a packed code."""
        return RATED_BITS if is_rate(self.bits) else self.bits

    def _fitting(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The codes of each row, uint8 [n, dim], and the scale that gives them its length, float32 [n]."""
        if is_rate(self.bits):  # another distance would change the entropy
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
    """The best codes of rows, and their scales, over distances between levels in standard deviations of each row."""
    middle, most = middle_code(bits), LEVELS[bits] - 1
    lengths = torch.linalg.vector_norm(values, dim=1)
    deviations = values / (lengths / values.shape[1] ** 0.5).clamp_min(1e-30)[:, None]
    best_projection = torch.full_like(lengths, -torch.inf)
    best, best_norm = torch.empty_like(values), torch.ones_like(lengths)
    for distance in distances:
        codes = (deviations / distance).add_(middle).round_().clamp_(0, most)
        levels = codes - middle
        norm = torch.linalg.vector_norm(levels, dim=1).clamp_min(1e-12)
        projection = (deviations * levels).sum(1) / norm
        better = projection > best_projection
        best_projection = torch.where(better, projection, best_projection)
        best_norm = torch.where(better, norm, best_norm)
        best = torch.where(better[:, None], codes, best)
    return best.to(torch.uint8), lengths / best_norm
