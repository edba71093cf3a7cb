"""A rate is shared out among tables, or parts of one: more bits where errors matter more."""

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
"""Inputs whose vectors are watched, at most, and directions of each batch of them."""

PROBE = 4.0
"""Bits of the codes whose effects are compared."""


def shared_rates(model: Model, names: Collection[str], mean: float, context: Context) -> dict[str, float]:
    """The rate of each of some linear maps, whose mean over all weights is `mean`, by which vectors move least.

    Raises:
        RecipeError: there are several, and no calibration inputs.
    """
    if len(names) == 1:
        return dict.fromkeys(names, mean)
    if not context.calibration:
        raise RecipeError((), f"the task has no inputs by which to share out {mean!r} bits; give a width, such as 4.")
    if context.rehearsal:  # any will do
        return dict.fromkeys(names, mean)
    inputs = tuple(context.calibration[:CALIBRATION])
    key = ("rates", model.content(), tuple(names), inputs, context.seed)
    effects = context.known.get(key, lambda: rounding_effects(model, names, inputs, context))
    tables = model.tables
    return share_out(effects, {name: tables[name].rows * tables[name].dim for name in names}, mean)


def share_out(
    effects: Mapping[Name, float], sizes: Mapping[Name, int], mean: float, *, bounds: tuple[float, float] = RATES
) -> dict[Name, float]:
    """One rate for each table, or each part of one, within bounds, so that the sum of effects is least.

    With every bit more, an effect is a quarter: the best rates differ by half the logarithm of the effect of a weight
    (Huang & Schultheiss 1963, "Block Quantization of Correlated Gaussian Random Variables").

    Args:
        effects: of codes of one rate, by table.
        sizes: of tables, in weights or in anything in proportion to them.
        mean: of the rates over all weights.
        bounds: the least and the most bits.
    """
    least, most = bounds
    asked = {name: log2(max(effects[name], 1e-30) / sizes[name]) / 2 for name in sizes}
    low, high = least - max(asked.values()), most - min(asked.values())
    for _ in range(60):
        middle = (low + high) / 2
        rates = {name: min(max(one + middle, least), most) for name, one in asked.items()}
        spent = sum(rates[name] * sizes[name] for name in sizes) / sum(sizes.values())
        low, high = (low, middle) if spent > mean else (middle, high)
    return rates


def rounding_effects(model: Model, names: Collection[str], inputs: Sequence[Any], context: Context) -> dict[str, float]:
    """The squared change of the vectors of inputs by codes of `PROBE` bits of each linear map, as slopes foretell it.

    Errors of weights are small and independent of one another, so each counts by the square of its own slope (Dong et
    al. 2020, "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks").
    """
    coded = model.twin()
    for name in names:
        _linear(coded, name).choose_rate(PROBE)
    with torch.no_grad():
        wrong = {name: (coded.tables[name].values() - model.tables[name].values()).square() for name in names}
    found = dict.fromkeys(names, 0.0)
    for seen in slopes(model, list(names), inputs, context, directions=DIRECTIONS):
        for name, slope in seen.items():
            found[name] += float((slope.square() * wrong[name]).sum()) / DIRECTIONS
    return found


def _linear(model: Model, name: str) -> Linear:
    table = model.tables[name]
    assert isinstance(table, Linear), "rates are shared among linear maps"
    return table
