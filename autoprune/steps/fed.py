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
        spread: the covariance, float32 [dim, dim].
        mean: float32 [dim].
    """

    spread: Tensor
    mean: Tensor

    def second(self) -> Tensor:
        """The mean outer product with itself: float64 [dim, dim]."""
        mean = self.mean.double()
        return self.spread.double() + torch.outer(mean, mean)

    def to_answer(self, *, bias: bool) -> Tensor:
        """What a map's columns have to answer for: the covariance where a bias makes up for means, else `second`."""
        return self.spread.double() if bias else self.second()


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
    key = ("moments", context.content_of(model), tuple(inputs))
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
    sums: dict[str, tuple[Tensor, Tensor, Tensor]] = {}  # of values about the first of them, which are large elsewhere
    about: dict[str, Tensor] = {}
    waiting: dict[str, Tensor] = {}

    def add(name: str, answered: Tensor | None = None) -> None:
        values = waiting.pop(name)
        there = (values if answered is None else answered).any(dim=1)  # of padding all is zero
        if not there.any():
            return
        values = values[there]
        about.setdefault(name, values.mean(0))
        apart = values.new_ones(len(values)) if answered is None else answered[there].var(dim=1)
        weight = 1 / apart.clamp_min(float(apart.mean()) * LEAST_APART + 1e-30)
        values = values - about[name]
        weighted = values * weight[:, None]
        second, whole, count = sums.get(name, (0.0, 0.0, 0.0))
        sums[name] = values.T @ weighted + second, weighted.sum(0) + whole, weight.sum() + count

    def moments_of(name: str) -> Moments:
        second, whole, count = sums.pop(name)
        off = whole / count
        return Moments(second.div_(count).sub_(torch.outer(off, off)), about[name] + off)

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
    return {name: moments_of(name) for name in list(sums)}
