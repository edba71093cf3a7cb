"""A mean of bits is shared out among tables: more where the vectors of inputs feel it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import Table
from autoprune.packing.codes import best_shares, quantize_rows

SHARED = (8, 4, 3, 2)
"""Widths that a table can get, which lookups and linear maps both have."""

CALIBRATION, BATCH = 128, 16
"""Inputs that slopes are measured on, at most, and how many of them share one random direction's draw."""


def is_mean(bits: object) -> bool:
    """Whether a number of bits is a mean over tables, and not a width: one with a point."""
    return isinstance(bits, float) and bits >= min(SHARED)


def check_mean(mean: float, path: tuple[str, ...], *, tables: int) -> None:
    """Refuses a mean of bits that no widths have, or that is asked of one table.

    Raises:
        RecipeError: with the path.
    """
    if mean > max(SHARED):
        raise RecipeError(path, f"a mean of bits is from {min(SHARED)} to {max(SHARED)}, but got {mean!r}.")
    if tables == 1:
        raise RecipeError(path, f"{mean!r} is a mean over several tables, but this is one; give a width, such as 4.")


def shared_bits(model: Model, names: Collection[str], mean: float, context: Context) -> dict[str, int]:
    """The width of each of some tables, whose mean over all weights is at most `mean`, that moves vectors least.

    What each width does to each table is measured once for each model (`rounding_effects`).

    Raises:
        RecipeError: there are no calibration inputs.
    """
    if not context.calibration:
        raise RecipeError((), f"the task has no inputs by which to share out {mean!r} bits; give a width, such as 4.")
    if not names or context.rehearsal:  # any width will do
        return dict.fromkeys(names, min(SHARED))
    inputs = context.calibration[:CALIBRATION]
    key = ("bits", model.content(), tuple(names), tuple(inputs))
    effects = context.known.get(key, lambda: rounding_effects(model, names, inputs))
    tables = model.tables
    return share_out(effects, {name: tables[name].rows * tables[name].dim for name in names}, mean)


def share_out(effects: Mapping[str, Mapping[int, float]], sizes: Mapping[str, int], mean: float) -> dict[str, int]:
    """One width for each table, so that the sum of effects is least: an integer programme.

    Args:
        effects: by table and width.
        sizes: of tables, in weights.
        mean: bits of a weight that must not be exceeded; at least the narrowest width.
    """
    pairs = [(name, width) for name, found in effects.items() for width in found]
    costs = np.array([effects[name][width] for name, width in pairs])
    bits = np.array([sizes[name] * width for name, width in pairs]) / sum(sizes[name] for name in effects)
    one_each = np.array([[name == table for table, _ in pairs] for name in effects], dtype=float)
    limits = [LinearConstraint(one_each, 1, 1), LinearConstraint(bits[None], ub=mean * (1 + 1e-9))]
    scaled = costs / max(costs.max(initial=0.0), 1e-300)  # the solver's tolerances are absolute
    found = milp(scaled, integrality=np.ones(len(pairs)), bounds=Bounds(0, 1), constraints=limits)
    assert found.success, "there is always the narrowest width"
    return {name: width for (name, width), taken in zip(pairs, found.x, strict=True) if taken > 0.5}


def rounding_effects(model: Model, names: Collection[str], inputs: Sequence[Any]) -> dict[str, dict[int, float]]:
    """The squared change of the vectors of inputs to be expected of each width, by table, to first order.

    Roundings of weights are independent, so each counts by the square of its weight's slopes: the diagonal of the
    Fisher information of the vectors (as Kim et al. 2024, "SqueezeLLM", have it for the loss).
    """
    tables = {name: model.tables[name] for name in names}
    slopes = _squared_slopes(model, tables, inputs)
    return {
        name: {width: float((_rounding(table, width).square() * slopes[name]).sum()) for width in SHARED}
        for name, table in tables.items()
    }


def _squared_slopes(model: Model, tables: Mapping[str, Table], inputs: Sequence[Any]) -> dict[str, Tensor]:
    """Of the vectors by each weight, summed over inputs and dimensions: float32 [rows, dim], by table.

    Estimated along random directions, one for each input, as `autoprune.steps.importance.width_taylor` does it.
    """
    draw = torch.Generator().manual_seed(0)
    found = {name: torch.zeros_like(table.weight) for name, table in tables.items()}
    with torch.enable_grad():
        for start in range(0, len(inputs), BATCH):
            vectors = model.calibrate(inputs[start : start + BATCH])
            directions = torch.randn(vectors.shape, generator=draw).to(vectors.device)
            weights = [table.weight for table in tables.values()]
            slopes = torch.autograd.grad((vectors * directions).sum(), weights, allow_unused=True)
            for name, slope in zip(tables, slopes, strict=True):
                if slope is not None:
                    found[name] += slope.square()
    return found


def _rounding(table: Table, width: int) -> Tensor:
    """What codes of a width change in the weights of a table: float32 [rows, dim]."""
    weights, bits = table.weights().detach(), torch.full_like(table.bits, width)
    shares = best_shares(weights, bits, symmetric=table.symmetric)
    return quantize_rows(weights, bits, shares, symmetric=table.symmetric).values() - weights
