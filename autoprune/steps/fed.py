"""What linear maps are fed, in sums: from these it is known what inputs tell of one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from autoprune.models.axis import Axis
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import Linear

DAMPING = 0.03
"""Of the mean variance of what a map is fed, added to each: what inputs hardly showed is not relied on."""

LEAST_APART = 1e-6
"""Of the mean variance of sums: a place whose sum has less counts as if it had so much."""

AT_ONCE = 16
"""Inputs that pass through a model together."""


class Moments(NamedTuple):
    """Of what a map is fed, places weighted.

    Attributes:
        second: the mean outer product with itself, float32 [dim, dim].
        mean: float32 [dim].
    """

    second: Tensor
    mean: Tensor

    def about_mean(self, *, bias: bool) -> Tensor:
        """The covariance, float64 [dim, dim]; without a bias, which alone can make up for the mean, about zero."""
        second = self.second.double()
        return second - torch.outer(self.mean.double(), self.mean.double()) if bias else second


def moments(model: Model, context: Context) -> dict[str, Moments]:
    """Of what the linear maps behind all axes are fed as inputs of all lengths pass; remembered by the model's content.

    What a map answers is normed once it is added to what there is, so that an error counts less where that is large: a
    place weighs by the inverse of the variance of the sum. Else a few places of outstanding size would decide all. That
    some models (Gemma) norm answers before they are added as well is left out of account.

    Returns:
        By name of the map; one that no input reaches is not among them.

    Raises:
        OutOfTime: the context's deadline is over.
    """
    inputs = inputs_of(context)
    names = {name for axis in model.axes.values() for name in maps_behind(model, axis)}
    key = ("moments", model.content(), tuple(inputs))
    return context.known.get(key, lambda: _measured(model, names, inputs, context))


def inputs_of(context: Context) -> Sequence[Any]:
    """Of all lengths, where the task has such."""
    return context.whole or context.calibration


def maps_behind(model: Model, axis: Axis) -> dict[str, int]:
    """The linear maps that are fed what an axis carries, and how many neighbouring columns are one position in each."""
    tables = model.tables
    return {
        name: width for name, dimension, width in axis.runs if dimension == 1 and isinstance(tables.get(name), Linear)
    }


def _measured(model: Model, names: set[str], inputs: Sequence[Any], context: Context) -> dict[str, Moments]:
    sums: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    waiting: dict[str, Tensor] = {}

    def add(name: str, answered: Tensor | None = None) -> None:
        values = waiting.pop(name)
        there = (values if answered is None else answered).any(dim=1)  # of padding all is zero
        values = values[there]
        apart = values.new_ones(len(values)) if answered is None else answered[there].var(dim=1)
        weight = 1 / apart.clamp_min(float(apart.mean()) * LEAST_APART + 1e-30)
        weighted = values * weight[:, None]
        second, whole, count = sums.get(name, (0.0, 0.0, 0.0))
        sums[name] = values.T @ weighted + second, weighted.sum(0) + whole, weight.sum() + count

    def watch(name: str, values: Tensor) -> Tensor:
        kind, _, table = name.partition(".")
        if table in names and kind == "maps":
            context.deadline.check("measuring what maps are fed")
            if table in waiting:  # the model does not show its sums
                add(table)
            waiting[table] = values.flatten(0, -2)
        elif table in names and kind == "sums":
            add(table, values.flatten(0, -2))
        return values

    with torch.no_grad():
        model.calibrate(inputs, watch, batch=AT_ONCE)
    for name in list(waiting):
        add(name)
    return {name: Moments(second / count, mean / count) for name, (second, mean, count) in sums.items()}
