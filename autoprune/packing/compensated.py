"""Codes that are fitted to what a linear map answers: later columns make up for the rounding of earlier ones."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.packing.codes import symmetric_zero, unit_of

DAMPING = 0.01
"""Of the mean variance of what is fed, added to each: directions that calibration hardly saw count a little."""

COLUMNS = 128
"""That are rounded before the others are told, in one product."""

SHARES = tuple(1.0 - 0.05 * i for i in range(13))
"""Parts of a row's range that are tried, widest first."""


class Rounding:
    """Rounds rows to codes whose errors weigh least, each row for itself: column after column.

    With moments = Aᵀ A, A lower triangular, the squared error of the answers is a sum of one square for each column, in
    which the errors of earlier columns stand and its own. A column is rounded where its square is least: Babai's
    nearest plane, which is what GPTQ comes to (Chen et al. 2025, "The Geometry of LLM Quantization").

    Args:
        moments: what errors weigh, float64 [dim, dim], positive definite.
    """

    def __init__(self, moments: Tensor) -> None:
        self._order = moments.diagonal().argsort(descending=True, stable=True)
        moments = moments[self._order][:, self._order]
        lower = torch.linalg.cholesky(moments.flip(0, 1)).flip(0, 1).T
        self._weight = (lower / lower.diagonal()[:, None]).float()

    def codes(self, values: Tensor, step: Tensor, most: float, mask: Tensor | None = None) -> Tensor:
        """Signed codes, each with what makes up for the errors of the columns before it: float32 [rows, dim].

        Args:
            values: float32 [rows, dim].
            step: how far apart the levels of each row lie, float32 [rows].
            most: the largest code.
            mask: bool [rows, dim]; False is a zero that stays one.
        """
        weight, kept = self._weight, None if mask is None else mask[:, self._order]
        plain = values[:, self._order].T.contiguous()  # a column in one piece
        wanted, codes, wrong = plain.clone(), torch.empty_like(plain), torch.empty_like(plain)
        for start in range(0, len(plain), COLUMNS):
            end = min(start + COLUMNS, len(plain))
            for at in range(start, end):
                code = (wanted[at] / step).round_().clamp_(-most, most)
                codes[at] = code if kept is None else code * kept[:, at]
                wrong[at] = plain[at] - codes[at] * step
                wanted[at + 1 : end].addr_(weight[at + 1 : end, at], wrong[at])
            wanted[end:].addmm_(weight[end:, start:end], wrong[start:end])
        return codes.T[:, self._order.argsort()]


def compensated(
    values: Tensor, moments: Tensor, *, bits: int, step: Tensor | None = None, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The levels of symmetric codes whose answers are nearest to those of the values.

    Columns are rounded one after the other, those that are fed most first. What rounding one changes in the answers is
    made up for, as far as can be, by the columns that are still to come (Frantar et al. 2022, "GPTQ", after Frantar &
    Alistarh 2022, "Optimal Brain Compression"). At the end each row has the step that is best for its codes.

    Args:
        values: float32 [rows, dim], finite.
        moments: float64 [dim, dim], the mean outer product of what is fed with itself.
        bits: 2 to 8.
        step: how far apart the levels of each row lie while columns are rounded, float32 [rows]; None: as costs least.
        mask: bool [rows, dim]; False is a pruned zero, which stays one.

    Returns:
        The values of the codes, float32 [rows, dim], and the share of each row's range, float32 [rows], with which
        `quantize_rows` gives these values for themselves. It is above 1 where no value lies at the end of the range.
    """
    most = float(symmetric_zero(torch.tensor(bits))) - 1
    moments = damped(moments, DAMPING)
    if step is None:
        step = _steps(values, moments.diagonal(), most)
    codes = Rounding(moments).codes(values, step, most, mask)
    step = _best_steps(values.double(), codes.double(), moments, step)
    unit = unit_of(float((codes.abs().amax(1) * step).max()))
    levels = codes * ((step / unit).half().float() * unit)[:, None]
    return levels, step * most / levels.abs().amax(1).clamp_min(1e-30)


def damped(moments: Tensor, share: float) -> Tensor:
    """Moments of which a share of the mean variance was added to each variance: float64 [dim, dim]."""
    diagonal = moments.diagonal()
    return moments + torch.diag((share * diagonal.mean()).clamp_min(1e-12).expand(len(diagonal)))


def _steps(values: Tensor, weights: Tensor, most: float) -> Tensor:
    """Of each row the step between levels whose rounding costs least, columns weighted: float32 [rows]."""
    largest, weights = values.abs().amax(1).clamp_min(1e-30), weights.float()
    least, found = torch.full_like(largest, torch.inf), largest / most
    for share in SHARES:
        step = largest * (share / most)
        coded = (values / step[:, None]).round_().clamp_(-most, most).mul_(step[:, None])
        error = coded.sub_(values).square_() @ weights
        found = torch.where(error < least, step, found)
        least = torch.minimum(error, least)
    return found


def _best_steps(values: Tensor, codes: Tensor, moments: Tensor, step: Tensor) -> Tensor:
    """Of each row the step that brings the answers of its codes nearest to its own: float32 [rows]."""
    seen = codes @ moments
    alike, own = (seen * values).sum(1), (seen * codes).sum(1)
    return torch.where((alike > 0) & (own > 0), alike / own.clamp_min(1e-30), step.double()).float()
