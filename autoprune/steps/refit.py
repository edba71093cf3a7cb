"""What stays makes up for what goes: by least squares, map by map, without training.

The maps behind neurons and heads that are cut take their answers from those that stay, as far as inputs show that these
tell of the others (He et al. 2017, "Channel Pruning for Accelerating Very Deep Neural Networks").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model, covered
from autoprune.models.table import Linear
from autoprune.packing.compensated import damped

DAMPING = 0.03
"""Of the mean variance of what a map is fed, added to each: what inputs hardly showed is not relied on."""

LEAST_APART = 1e-6
"""Of the mean variance of sums: a place whose sum has less counts as if it had so much."""

AT_ONCE = 16
"""Inputs that pass through a model together."""


class Fed(NamedTuple):
    """What a map is fed in the mean, places weighted.

    Attributes:
        moments: the mean outer product with itself, float32 [dim, dim].
        mean: float32 [dim].
    """

    moments: Tensor
    mean: Tensor


def fed(model: Model, names: Collection[str], context: Context) -> dict[str, Fed]:
    """What linear maps are fed as inputs of all lengths pass; remembered by what the model holds.

    Answers are normed once they are added to what there is, so that an error counts less where that is large: a place
    weighs by the inverse of the variance of the sum. Else a few places of outstanding size would decide all.

    Args:
        names: of the maps. One that no input reaches is not among what is returned.

    Raises:
        RecipeError: there are no inputs.
    """
    inputs = context.whole or context.calibration
    if not inputs:
        raise RecipeError(("refit",), "the task has no inputs that show what the maps are fed; leave it out.")
    key = ("fed", tuple(sorted(names)), model.content(), tuple(inputs))
    return context.known.get(key, lambda: _fed(model, frozenset(names), inputs, context))


def _fed(model: Model, names: Collection[str], inputs: Sequence[Any], context: Context) -> dict[str, Fed]:
    sums: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    waiting: dict[str, Tensor] = {}

    def add(name: str, added: Tensor | None = None) -> None:
        fed = waiting.pop(name)
        there = (fed if added is None else added).any(dim=1)  # of padding all is zero
        fed = fed[there]
        apart = fed.new_ones(len(fed)) if added is None else added[there].var(dim=1)
        weight = 1 / apart.clamp_min(float(apart.mean()) * LEAST_APART + 1e-30)
        weighted = fed * weight[:, None]
        moments, whole, count = sums.get(name, (0.0, 0.0, 0.0))
        sums[name] = fed.T @ weighted + moments, weighted.sum(0) + whole, weight.sum() + count

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
    return {name: Fed(moments / weight, mean / weight) for name, (moments, mean, weight) in sums.items()}


def refit(table: Linear, before: Linear, of: Fed, columns: Tensor) -> None:
    """Sets some columns of a map so that its answers from these alone are nearest to what they were from all.

    Args:
        table: the map; its other columns are set to zero.
        before: the map as it was.
        of: what that was fed.
        columns: int64 [n], those that stay.
    """
    weights, mean = before.weights().detach().double(), of.mean.double()
    if before.bias is None:
        mean = torch.zeros_like(mean)
    moments = of.moments.double() - torch.outer(mean, mean)
    goes = torch.ones(table.dim, dtype=torch.bool, device=columns.device)
    goes[columns] = False
    kept = damped(moments[columns][:, columns], DAMPING)
    # The least of |W x - V x_kept|² over V, drawn towards the columns as they were.
    told = torch.cholesky_solve(moments[columns][:, goes] @ weights[:, goes].T, torch.linalg.cholesky(kept))
    found = torch.zeros_like(weights)
    found[:, columns] = weights[:, columns] + told.T
    table.weight.data = found.to(table.weight.dtype)
    if table.bias is not None and before.bias is not None:
        table.bias.data = (before.bias.detach().double() + (weights - found) @ mean).to(table.bias.dtype)


def refit_behind(model: Model, keeps: Mapping[str, Tensor], context: Context) -> None:
    """Refits the maps behind axes of a model, some positions of which are hidden and about to be cut.

    Args:
        keeps: by the name of an axis, positions that stay, int64, ascending.

    Raises:
        RecipeError: the stage trains, single weights of a map are pruned, or there are no inputs.
    """
    start = context.start
    if not isinstance(start, Model):
        raise RecipeError(
            ("refit",), "what is cut while a model trains is made up for by training; leave it out, or cut at once."
        )
    behind = {name: columns for axis, keep in keeps.items() for name, columns in _behind(model, axis, keep).items()}
    for name in behind:
        if not bool(model.tables[name].mask.all()):
            raise RecipeError(
                ("refit",), f"single weights of {name} are pruned beside it; put magnitude into a later stage."
            )
    if context.rehearsal:
        return
    every = {name for axis in start.axes for name in _behind(start, axis, torch.empty(0, dtype=torch.long))}
    found = fed(start, every, context)  # of all: what else the stage cuts, and the next recipe, will ask for it
    for name, columns in behind.items():
        table, before = model.tables[name], start.tables[name]
        if name in found and isinstance(table, Linear) and isinstance(before, Linear):
            refit(table, before, found[name], columns)


def _behind(model: Model, axis: str, keep: Tensor) -> dict[str, Tensor]:
    """The linear maps that are fed what an axis carries, and the columns that positions have in each."""
    tables = model.tables
    return {
        name: covered(keep, width)
        for name, dimension, width in model.axes[axis].runs
        if dimension == 1 and isinstance(tables.get(name), Linear)
    }
