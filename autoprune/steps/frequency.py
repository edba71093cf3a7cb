"""Codes by how often rows are looked up: the more often, the finer."""

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
"""That a table is coded in, at most: each has levels of its own."""

LEAST = 0.25
"""Bits of the rows that are looked up least, in the mean."""

ROUNDS = 20
"""Of Lloyd's algorithm, which is near its end long before."""


def code_shares(model: Model, context: Context, shares: Sequence[float], learners: Sequence[Learner]) -> None:
    """Codes each table in several ways, by how often its rows are looked up.

    Args:
        shares: of the rows, the most frequent ones first; at most three.
        learners: how the rows of each share are coded, and last all others.
    """
    for name, table in model.tables.items():
        order = row_frequency(model, name, context).argsort(descending=True, stable=True)
        part_of = torch.full((table.rows,), len(shares), dtype=torch.uint8, device=order.device)
        start = 0
        for number, share in enumerate(shares):
            end = start + removed(table.rows, share)
            part_of[order[start:end]] = number
            start = end
        there, part_of = torch.unique(part_of, return_inverse=True)
        table.code_by([learners[number] for number in there.tolist()], part_of=part_of.to(torch.uint8))


def code_weighed(model: Model, name: str, rate: float, power: float, context: Context) -> None:
    """Codes a table at a rate, so that the sum of its errors is least where a row's weighs lookups^power.

    With every bit more, an error is a quarter: the best rates of rows differ by half the logarithm of their weights
    (Huang & Schultheiss 1963, "Block Quantization of Correlated Gaussian Random Variables"). Rows of about the same
    weight are a part with one rate.

    Args:
        rate: of all codes of the table, in the mean; which part a row is in takes up to two bits a row more.
        power: above 0.
    """
    table = model.tables[name]
    part_of, weights = _parts(row_frequency(model, name, context), power)
    counts = dict(enumerate(torch.bincount(part_of).tolist()))
    squares = torch.bincount(part_of, weights=table.lengths().double().square())  # at one rate errors are in proportion
    effects = {number: weight * float(squares[number]) for number, weight in enumerate(weights)}
    rates = share_out(effects, counts, rate, bounds=(LEAST, RATES[1]))
    learners = [Rated(rate=rates[number]) for number in counts]
    table.code_by(learners, part_of=None if len(learners) == 1 else part_of.to(torch.uint8))


def _parts(often: Tensor, power: float) -> tuple[Tensor, list[float]]:
    """Parts of rows of about the same weight: int64 [rows], none without rows, and the weight of each."""
    counts, which, times = torch.unique(often, return_inverse=True, return_counts=True)
    bits, times = power * np.log2(counts.cpu().numpy() + 1.0), times.cpu().numpy()
    middles = np.linspace(bits.min(), bits.max(), PARTS)
    for _ in range(ROUNDS):
        nearest = np.abs(bits[:, None] - middles).argmin(1)
        sizes = np.bincount(nearest, weights=times, minlength=PARTS)
        sums = np.bincount(nearest, weights=times * bits, minlength=PARTS)
        middles = np.where(sizes > 0, sums / np.maximum(sizes, 1), middles)
    there, nearest = np.unique(np.abs(bits[:, None] - middles).argmin(1), return_inverse=True)
    return torch.from_numpy(nearest).to(which.device)[which], (2.0 ** middles[there]).tolist()
