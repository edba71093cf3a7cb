"""Moments of the activations that linear layers receive: they show how far inputs of a layer predict one another."""

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
"""This share of the mean variance is added to each variance: directions that inputs hardly showed are not relied on."""

LEAST_APART = 1e-6
"""The least variance of a place's sum, as a share of the mean over places; smaller ones count as this."""

AT_ONCE = 16
"""Inputs that pass through a model at a time."""


class Moments(NamedTuple):
    """Weighted mean and covariance of the activations that a linear layer receives.

    Attributes:
        spread: the covariance, float32 [dim, dim].
        mean: float32 [dim].
    """

    spread: Tensor
    mean: Tensor

    def second(self) -> Tensor:
        """The mean outer product of the activations: float64 [dim, dim]."""
        mean = self.mean.double()
        return self.spread.double() + torch.outer(mean, mean)

    def to_answer(self, *, bias: bool) -> Tensor:
        """What outputs depend on: the covariance if a bias makes up for means, else `second`; float64 [dim, dim]."""
        return self.spread.double() if bias else self.second()


def moments(model: Model, context: Context) -> dict[str, Moments]:
    """Moments of the activations that the linear layers behind all axes receive, cached by the model's content.

    A layer's output is added to the residual stream, and the sum is normalised, so an error counts less where the sum
    is large. Each place is therefore weighted by the inverse variance of its sum; without weights a few places of
    outstanding size would decide everything. Some models (Gemma) also normalise outputs before they are added; this is
    ignored.

    Returns:
        By name of the linear layer, without layers that no input reaches.

    Raises:
        OutOfTime: the context's deadline has passed.
    """
    inputs = inputs_of(context)
    names = {name for axis in model.axes.values() for name in maps_behind(model, axis)}
    key = ("moments", context.content_of(model), tuple(inputs))
    return context.known.get(key, lambda: _measured(model, names, inputs, context))


def inputs_of(context: Context) -> Sequence[Any]:
    """Calibration inputs of all lengths if the task has them, else the usual ones."""
    return context.whole or context.calibration


def maps_behind(model: Model, axis: Axis) -> dict[str, int]:
    """The linear layers whose inputs are positions of an axis, and how many neighbouring columns each position has."""
    tables = model.tables
    return {
        name: width for name, dimension, width in axis.runs if dimension == 1 and isinstance(tables.get(name), Linear)
    }


def _measured(model: Model, names: set[str], inputs: Sequence[Any], context: Context) -> dict[str, Moments]:
    # Sums are over values minus `origins`, the mean of the first batch: they may lie far from zero.
    sums: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    origins: dict[str, Tensor] = {}
    waiting: dict[str, Tensor] = {}

    def add(name: str, summed: Tensor | None = None) -> None:
        values = waiting.pop(name)
        real = (values if summed is None else summed).any(dim=1)  # padding is all zeros
        if not real.any():
            return
        values = values[real]
        origins.setdefault(name, values.mean(0))
        variance = values.new_ones(len(values)) if summed is None else summed[real].var(dim=1)
        weight = 1 / variance.clamp_min(float(variance.mean()) * LEAST_APART + 1e-30)
        values = values - origins[name]
        weighted = values * weight[:, None]
        second, first, count = sums.get(name, (0.0, 0.0, 0.0))
        sums[name] = values.T @ weighted + second, weighted.sum(0) + first, weight.sum() + count

    def moments_of(name: str) -> Moments:
        second, first, count = sums.pop(name)
        offset = first / count
        return Moments(second.div_(count).sub_(torch.outer(offset, offset)), origins[name] + offset)

    def watch(name: str, values: Tensor) -> Tensor:
        kind, _, table = name.partition(".")
        if table in names and kind == "maps":
            context.deadline.check("measuring inputs of linear layers")
            if table in waiting:  # the model does not report its sums
                add(table)
            waiting[table] = values.flatten(0, -2)
        elif table in names and kind == "sums":
            add(table, values.flatten(0, -2))
        return values

    with torch.no_grad():
        model.calibrate(inputs, watch, batch=AT_ONCE)
    for name in list(waiting):
        add(name)
    return {name: moments_of(name) for name in list(sums)}
