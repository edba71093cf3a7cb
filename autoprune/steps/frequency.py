"""Codes by frequency: the more often a row is looked up, the finer its code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import Learner
from autoprune.packing.rated import RATES, Rated
from autoprune.steps.importance import row_frequency
from autoprune.steps.sharing import share_out
from autoprune.steps.step import removed

PARTS = 4
"""The most parts that a table is coded in; each has levels of its own."""

LEAST = 0.25
"""The lowest rate, in bits per code, for the rows that are looked up least."""

ROUNDS = 20
"""Iterations of Lloyd's algorithm, which converges long before."""


def code_shares(model: Model, context: Context, shares: Sequence[float], learners: Sequence[Learner]) -> None:
    """Codes each table in several ways, by how often its rows are looked up.

    Args:
        shares: fractions of the rows, most frequent rows first; at most three.
        learners: how the rows of each share are coded, followed by how all other rows are.
    """
    for name, table in model.tables.items():
        order = row_frequency(model, name, context).argsort(descending=True, stable=True)
        part_of = torch.full((table.rows,), len(shares), dtype=torch.uint8, device=order.device)
        start = 0
        for number, share in enumerate(shares):
            end = start + removed(table.rows, share)
            part_of[order[start:end]] = number
            start = end
        present, part_of = torch.unique(part_of, return_inverse=True)
        table.code_by([learners[number] for number in present.tolist()], part_of=part_of.to(torch.uint8))


def code_weighed(model: Model, name: str, rate: float, power: float, context: Context) -> None:
    """Codes a table at a rate so that the weighted sum of its errors is least; a row weighs lookups^power.

    Each further bit divides a squared error by four, so the best rates of rows differ by half the binary logarithm of
    their weights (Huang & Schultheiss 1963, "Block Quantization of Correlated Gaussian Random Variables"). Rows of
    similar weight form a part with one rate.

    Args:
        rate: the mean over all codes of the table; the part of each row takes up to two more bits per row.
        power: above 0.
    """
    table = model.tables[name]
    part_of, weights = _parts(row_frequency(model, name, context), power)
    counts = dict(enumerate(torch.bincount(part_of).tolist()))
    # At equal rates errors are proportional to squared lengths.
    squares = torch.bincount(part_of, weights=table.lengths().double().square())
    effects = {number: weight * float(squares[number]) for number, weight in enumerate(weights)}
    rates = share_out(effects, counts, rate, bounds=(LEAST, RATES[1]))
    learners = [Rated(rate=rates[number]) for number in counts]
    table.code_by(learners, part_of=None if len(learners) == 1 else part_of.to(torch.uint8))


def _parts(frequency: Tensor, power: float) -> tuple[Tensor, list[float]]:
    """Groups rows of similar weight: the part of each row, int64 [rows], none empty, and each part's weight."""
    counts, inverse, times = torch.unique(frequency, return_inverse=True, return_counts=True)
    bits, times = power * np.log2(counts.cpu().numpy() + 1.0), times.cpu().numpy()
    middles = np.linspace(bits.min(), bits.max(), PARTS)
    for _ in range(ROUNDS):
        nearest = np.abs(bits[:, None] - middles).argmin(1)
        sizes = np.bincount(nearest, weights=times, minlength=PARTS)
        sums = np.bincount(nearest, weights=times * bits, minlength=PARTS)
        middles = np.where(sizes > 0, sums / np.maximum(sizes, 1), middles)
    present, nearest = np.unique(np.abs(bits[:, None] - middles).argmin(1), return_inverse=True)
    return torch.from_numpy(nearest).to(inverse.device)[inverse], (2.0 ** middles[present]).tolist()
