"""What stays makes up for what goes: by least squares, map by map, without training.

The linear maps behind neurons and heads that are cut take what they are no longer told from those that stay, as far as
inputs show that one tells of the other (He et al. 2017, "Channel Pruning for Accelerating Very Deep Neural Networks").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model, covered
from autoprune.models.table import FLOAT_BITS, Linear
from autoprune.packing.compensated import damped

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


def moments(model: Model, names: Collection[str], context: Context) -> dict[str, Moments]:
    """Of what linear maps are fed as inputs of all lengths pass; remembered by what the model holds.

    What a map answers is normed once it is added to what there is, so that an error counts less where that is large: a
    place weighs by the inverse of the variance of the sum. Else a few places of outstanding size would decide all. That
    some models (Gemma) norm answers before they are added as well is left out of account.

    Args:
        names: of the maps. One that no input reaches is not among what is returned.

    Raises:
        OutOfTime: the context's deadline is over.
    """
    inputs = _inputs(context)
    key = ("moments", tuple(sorted(names)), model.content(), tuple(inputs))
    return context.known.get(key, lambda: _measured(model, names, inputs, context))


def _inputs(context: Context) -> Sequence[Any]:
    return context.whole or context.calibration


def _measured(model: Model, names: Collection[str], inputs: Sequence[Any], context: Context) -> dict[str, Moments]:
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


def refit(table: Linear, before: Linear, known: Moments, columns: Tensor) -> None:
    """Sets some columns of a map so that its answers from these alone are nearest to what they were from all.

    Args:
        table: the map; its other columns are set to zero.
        before: the map as it was.
        known: of what that was fed.
        columns: int64 [n], those that stay.
    """
    weights, mean = before.weights().detach().double(), known.mean.double()
    if before.bias is None:  # nothing can make up for what goes in the mean
        mean = torch.zeros_like(mean)
    second = known.second.double() - torch.outer(mean, mean)
    goes = torch.ones(table.dim, dtype=torch.bool, device=columns.device)
    goes[columns] = False
    # The least of |W x - V x_kept|² over V, drawn towards the columns as they were.
    factor = torch.linalg.cholesky(damped(second[columns][:, columns], DAMPING))
    taken_over = torch.cholesky_solve(second[columns][:, goes] @ weights[:, goes].T, factor).T
    found = torch.zeros_like(weights)
    found[:, columns] = weights[:, columns] + taken_over
    table.weight.data = found.to(table.weight.dtype)
    if table.bias is not None and before.bias is not None:
        table.bias.data = (before.bias.detach().double() + (weights - found) @ mean).to(table.bias.dtype)


def refit_behind(model: Model, keeps: Mapping[str, Tensor], context: Context) -> None:
    """Refits the maps behind axes of a model, some positions of which are hidden and about to be cut.

    Args:
        keeps: by the name of an axis, positions that stay, int64, ascending.

    Raises:
        RecipeError: the same stage changes single weights or bits of a map, or there are no inputs.
        OutOfTime: the context's deadline is over.
    """
    start = context.start
    assert isinstance(start, Model), "a plan lets nothing be refit while a model trains"
    if not _inputs(context):
        raise RecipeError(("refit",), "the task has no inputs that show what the maps are fed; set refit: false.")
    behind = {name: columns for axis, keep in keeps.items() for name, columns in _behind(model, axis, keep).items()}
    for name in behind:
        table = model.tables[name]
        if not bool(table.mask.all()) or int(table.bits[0]) < FLOAT_BITS:
            raise RecipeError(
                ("refit",),
                f"single weights or bits of {name} are chosen in the same stage, or before it. Set refit: false, or "
                "name magnitude and quantize in a later stage.",
            )
    if context.rehearsal:
        return
    every = {name for axis in start.axes for name in _behind(start, axis, torch.empty(0, dtype=torch.long))}
    known = moments(start, every, context)  # of all: what else the stage cuts, and the next recipe, will ask for it
    for name, columns in behind.items():
        table, before = model.tables[name], start.tables[name]
        if name in known and isinstance(table, Linear) and isinstance(before, Linear):
            refit(table, before, known[name], columns)


def _behind(model: Model, axis: str, keep: Tensor) -> dict[str, Tensor]:
    """The linear maps that are fed what an axis carries, and the columns that positions have in each."""
    tables = model.tables
    return {
        name: covered(keep, width)
        for name, dimension, width in model.axes[axis].runs
        if dimension == 1 and isinstance(tables.get(name), Linear)
    }
