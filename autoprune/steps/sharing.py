"""Shares a rate out among tables, or parts of a table: more bits where errors matter more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import log2
from typing import Any, TypeVar

import torch

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import Linear
from autoprune.packing.rated import RATES
from autoprune.steps.slopes import slopes

Name = TypeVar("Name", str, int)

CALIBRATION, DIRECTIONS = 32, 2
"""The most inputs whose vectors are measured, and random directions per batch of them."""

PROBE = 4.0
"""Bits of the codes whose effects are compared."""


def shared_rates(model: Model, names: Collection[str], mean: float, context: Context) -> dict[str, float]:
    """The rates of linear layers, with the mean `mean` over all weights, that move vectors least.

    Raises:
        RecipeError: there are several layers, but no calibration inputs.
    """
    if len(names) == 1:
        return dict.fromkeys(names, mean)
    if not context.calibration:
        raise RecipeError((), f"the task has no inputs by which to share out {mean!r} bits; set whole bits, such as 4.")
    if context.rehearsal:  # any rates will do
        return dict.fromkeys(names, mean)
    inputs = tuple(context.calibration[:CALIBRATION])
    key = ("rates", model.content(), tuple(names), inputs, context.seed)
    effects = context.known.get(key, lambda: rounding_effects(model, names, inputs, context))
    tables = model.tables
    return share_out(effects, {name: tables[name].rows * tables[name].dim for name in names}, mean)


def share_out(
    effects: Mapping[Name, float], sizes: Mapping[Name, int], mean: float, *, bounds: tuple[float, float] = RATES
) -> dict[Name, float]:
    """A rate for each table, or each part of one, within bounds, that minimises the sum of effects.

    Each further bit divides an effect by four, so the best rates differ by half the binary logarithm of the effect per
    weight (Huang & Schultheiss 1963, "Block Quantization of Correlated Gaussian Random Variables").

    Args:
        effects: by table, the effect of codes at one common rate.
        sizes: by table, its number of weights, or anything proportional to it.
        mean: the mean rate over all weights.
        bounds: the lowest and the highest rate.
    """
    least, most = bounds
    offsets = {name: log2(max(effects[name], 1e-30) / sizes[name]) / 2 for name in sizes}
    low, high = least - max(offsets.values()), most - min(offsets.values())
    for _ in range(60):
        shift = (low + high) / 2
        rates = {name: min(max(offset + shift, least), most) for name, offset in offsets.items()}
        spent = sum(rates[name] * sizes[name] for name in sizes) / sum(sizes.values())
        low, high = (low, shift) if spent > mean else (shift, high)
    return rates


def rounding_effects(model: Model, names: Collection[str], inputs: Sequence[Any], context: Context) -> dict[str, float]:
    """How far codes of `PROBE` bits in each linear layer would move the vectors of inputs, squared and to first order.

    Errors of weights are small and independent, so each counts by the square of its own slope (Dong et al. 2020,
    "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks").
    """
    coded = model.twin()
    for name in names:
        _linear(coded, name).choose_rate(PROBE)
    with torch.no_grad():
        errors = {name: (coded.tables[name].values() - model.tables[name].values()).square() for name in names}
    effects = dict.fromkeys(names, 0.0)
    for by_table in slopes(model, list(names), inputs, context, directions=DIRECTIONS):
        for name, slope in by_table.items():
            effects[name] += float((slope.square() * errors[name]).sum()) / DIRECTIONS
    return effects


def _linear(model: Model, name: str) -> Linear:
    table = model.tables[name]
    assert isinstance(table, Linear), "rates are shared among linear layers"
    return table
