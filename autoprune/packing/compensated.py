"""Codes that are fitted to a linear layer's outputs: later columns make up for the rounding of earlier ones."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.packing.codes import symmetric_zero, unit_of

DAMPING = 0.01
"""This share of the mean variance is added to each: directions that calibration hardly saw count a little."""

COLUMNS = 128
"""Columns that are rounded before one product updates all later ones."""

SHARES = tuple(1.0 - 0.05 * i for i in range(13))
"""Shares of a row's range that are tried, widest first."""


class Rounding:
    """Rounds each row separately, column after column, so that the weighted error of its codes is small.

    With moments = Aᵀ A, A lower triangular, the squared error of the outputs is a sum of one square per column, which
    depends on the errors of this column and of earlier ones. Each column is rounded so that its square is least. This
    is Babai's nearest plane algorithm, which GPTQ amounts to (Chen et al. 2025, "The Geometry of LLM Quantization").

    Args:
        moments: the weights of errors, float64 [dim, dim], positive definite.
    """

    def __init__(self, moments: Tensor) -> None:
        self._order = moments.diagonal().argsort(descending=True, stable=True)
        moments = moments[self._order][:, self._order]
        lower = torch.linalg.cholesky(moments.flip(0, 1)).flip(0, 1).T
        self._weight = (lower / lower.diagonal()[:, None]).float()

    def codes(self, values: Tensor, step: Tensor, most: float, mask: Tensor | None = None) -> Tensor:
        """Signed codes, each of which makes up for the errors of earlier columns: float32 [rows, dim].

        Args:
            values: float32 [rows, dim].
            step: how far apart the levels of each row lie, float32 [rows].
            most: the largest code.
            mask: bool [rows, dim]; False: a zero that stays one.
        """
        weight, kept = self._weight, None if mask is None else mask[:, self._order]
        plain = values[:, self._order].T.contiguous()  # columns contiguous in memory
        targets, codes, errors = plain.clone(), torch.empty_like(plain), torch.empty_like(plain)
        for start in range(0, len(plain), COLUMNS):
            end = min(start + COLUMNS, len(plain))
            for column in range(start, end):
                code = (targets[column] / step).round_().clamp_(-most, most)
                codes[column] = code if kept is None else code * kept[:, column]
                errors[column] = plain[column] - codes[column] * step
                targets[column + 1 : end].addr_(weight[column + 1 : end, column], errors[column])
            targets[end:].addmm_(weight[end:, start:end], errors[start:end])
        return codes.T[:, self._order.argsort()]


def compensated(
    values: Tensor, moments: Tensor, *, bits: int, step: Tensor | None = None, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The values of symmetric codes with which a linear layer's outputs stay nearest to the original ones.

    Columns are rounded one after the other, those with the largest activations first. Later columns make up, as far as
    possible, for what rounding the earlier ones changes in the outputs (Frantar et al. 2022, "GPTQ", after Frantar &
    Alistarh 2022, "Optimal Brain Compression"). At the end each row gets the step that is best for its codes.

    Args:
        values: float32 [rows, dim], finite.
        moments: float64 [dim, dim], the mean outer product of the activations that the layer receives.
        bits: 2 to 8.
        step: the distance between levels of each row while columns are rounded, float32 [rows]; None: the best one.
        mask: bool [rows, dim]; False: a pruned zero, which stays one.

    Returns:
        The values of the codes, float32 [rows, dim], and the share of each row's range, float32 [rows], with which
        `quantize_rows` maps these values to themselves. It is above 1 if no value lies at the end of the range.
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
    """Moments with a share of the mean variance added to each variance: float64 [dim, dim]."""
    diagonal = moments.diagonal()
    return moments + torch.diag((share * diagonal.mean()).clamp_min(1e-12).expand(len(diagonal)))


def _steps(values: Tensor, weights: Tensor, most: float) -> Tensor:
    """The step of each row with the least rounding error, columns weighted: float32 [rows]."""
    largest, weights = values.abs().amax(1).clamp_min(1e-30), weights.float()
    least, best = torch.full_like(largest, torch.inf), largest / most
    for share in SHARES:
        step = largest * (share / most)
        coded = (values / step[:, None]).round_().clamp_(-most, most).mul_(step[:, None])
        error = coded.sub_(values).square_() @ weights
        best = torch.where(error < least, step, best)
        least = torch.minimum(error, least)
    return best


def _best_steps(values: Tensor, codes: Tensor, moments: Tensor, step: Tensor) -> Tensor:
    """The step of each row with which the outputs of its codes are nearest to its own: float32 [rows]."""
    weighted = codes @ moments
    cross, own = (weighted * values).sum(1), (weighted * codes).sum(1)
    return torch.where((cross > 0) & (own > 0), cross / own.clamp_min(1e-30), step.double()).float()
