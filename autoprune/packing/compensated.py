"""Codes that are fitted to what a linear map answers: later columns make up for the rounding of earlier ones."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.packing.codes import symmetric_zero, unit_of

DAMPING = 0.01
"""Of the mean variance of what is fed, added to each: directions that calibration hardly saw count a little."""

COLUMNS = 128
"""That are rounded before the others are told, in one product."""

SHARES = tuple(1.0 - 0.025 * i for i in range(25))
"""Parts of a row's range that are tried, widest first."""


def compensated(values: Tensor, moments: Tensor, *, bits: int, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The levels of symmetric codes whose answers are nearest to those of the values.

    Columns are rounded one after the other, those that are fed most first. What rounding one changes in the answers is
    made up for, as far as can be, by the columns that are still to come (Frantar et al. 2022, "GPTQ", after Frantar &
    Alistarh 2022, "Optimal Brain Compression"). At the end each row has the step that is best for its codes.

    Args:
        values: float32 [rows, dim], finite.
        moments: float64 [dim, dim], the mean outer product of what is fed with itself.
        bits: 2 to 8.
        mask: bool [rows, dim]; False is a pruned zero, which stays one.

    Returns:
        The values of the codes, float32 [rows, dim], and the share of each row's range, float32 [rows], with which
        `quantize_rows` gives these values for themselves. It is above 1 where no value lies at the end of the range.
    """
    most = float(symmetric_zero(torch.tensor(bits))) - 1
    diagonal = moments.diagonal()
    moments = moments + torch.diag((DAMPING * diagonal.mean()).clamp_min(1e-12).expand(len(diagonal)))
    order = moments.diagonal().argsort(descending=True, stable=True)
    back = order.argsort()
    step = _steps(values, moments.diagonal(), most)
    kept = None if mask is None else mask[:, order]
    codes = _rounded(values[:, order], step, most, _spread(moments[order][:, order]), kept)[:, back]
    step = _best_steps(values.double(), codes.double(), moments, step)
    unit = unit_of(float((codes.abs().amax(1) * step).max()))
    levels = codes * ((step / unit).half().float() * unit)[:, None]
    return levels, step * most / levels.abs().amax(1).clamp_min(1e-30)


def _steps(values: Tensor, weights: Tensor, most: float) -> Tensor:
    """Of each row the step between levels whose rounding costs least, columns weighted: float32 [rows]."""
    largest, weights = values.abs().amax(1).clamp_min(1e-30), weights.float()
    least, found = torch.full_like(largest, torch.inf), largest / most
    for share in SHARES:
        step = largest * (share / most)
        rounded = (values / step[:, None]).round_().clamp_(-most, most).mul_(step[:, None])
        error = rounded.sub_(values).square_() @ weights
        found = torch.where(error < least, step, found)
        least = torch.minimum(error, least)
    return found


def _spread(moments: Tensor) -> Tensor:
    """How an error of each column is spread over later ones: float32 [dim, dim], upper triangular.

    It is the Cholesky factor of the inverse of the moments, found without inverting them.
    """
    eye = torch.eye(len(moments), dtype=moments.dtype, device=moments.device)
    lower = torch.linalg.cholesky(moments.flip(0, 1))
    found: Tensor = torch.linalg.solve_triangular(lower.flip(0, 1), eye, upper=True)
    return found.float()


def _rounded(values: Tensor, step: Tensor, most: float, spread: Tensor, mask: Tensor | None) -> Tensor:
    """Signed codes, column after column; all that follow are moved by what each changed: float32 [rows, dim]."""
    left, codes = values.clone(), torch.empty_like(values)
    for start in range(0, left.shape[1], COLUMNS):
        end = min(start + COLUMNS, left.shape[1])
        changed = torch.empty_like(left[:, start:end])
        for at in range(start, end):
            code = (left[:, at] / step).round_().clamp_(-most, most)
            codes[:, at] = code if mask is None else code * mask[:, at]
            changed[:, at - start] = (left[:, at] - codes[:, at] * step) / spread[at, at]
            left[:, at:end] -= changed[:, at - start, None] * spread[at, at:end]
        left[:, end:] -= changed @ spread[start:end, end:]
    return codes


def _best_steps(values: Tensor, codes: Tensor, moments: Tensor, step: Tensor) -> Tensor:
    """Of each row the step that brings the answers of its codes nearest to its own: float32 [rows]."""
    seen = codes @ moments
    alike, own = (seen * values).sum(1), (seen * codes).sum(1)
    return torch.where((alike > 0) & (own > 0), alike / own.clamp_min(1e-30), step.double()).float()
