"""What matters: how much rows, dimensions, heads, neurons and layers carry, as steps rank them.

Where inputs are asked for they are what `Context.calibration` holds, and go through the model's `calibrate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from autoprune.deadline import NEVER, Deadline
from autoprune.errors import RecipeError
from autoprune.models.axis import Axis
from autoprune.models.context import Context
from autoprune.models.model import Model

RANKING = "measuring what matters least"

TAYLOR_BATCH = 32
"""Inputs that share one random direction's draw; another number gives other estimates."""


def row_frequency(model: Model, table: str, context: Context) -> Tensor:
    """How often each standing row of a table occurs in the training data: int64 [rows].

    Raises:
        RecipeError: nothing is known of the table's rows, or none of them ever occurs.
    """
    axis = model.rows_axis(table)
    counted = context.frequency.get(axis.name) if axis else None
    if counted is None:
        raise RecipeError((), f"how often the rows of table {table!r} occur is not known; rank them by norm.")
    if not counted.any():
        raise RecipeError(
            (), f"the frequency of table {table!r} is zero for all of its {len(counted)} rows; rank them by norm."
        )
    index = model.tables[table].index
    return counted.to(index.device)[index]


def row_norm(model: Model, table: str) -> Tensor:
    """The length of each row of a table: float32 [rows]."""
    return model.tables[table].lengths()


def dim_norm(squares: list[Tensor]) -> Tensor:
    """How much each dimension carries: its share of the squared norm, summed over the coupled tables.

    Args:
        squares: float32 [dim] each: of the rows of a table, or of what an encoder gives for texts.

    Returns:
        float32 [dim]; the shares of each table add up to 1, so that a table of many rows does not outvote the others.
    """
    return torch.stack([_share(held) for held in squares]).sum(0)


def dim_activation(model: Model, axis: Axis, context: Context) -> Tensor:
    """How strongly each dimension is active across inputs: float32 [size].

    An input looks a row up, so the mean absolute value of a dimension over the lookups of the training data is that
    over rows weighted by how often they occur (the activation of Hu et al. 2016, "Network Trimming", for tables).
    Shares of each coupled table add up to 1.

    Raises:
        RecipeError: how often the rows of a table occur is not known.
    """
    shares = []
    for (table, _), (vectors, often) in zip(axis.pairs, model.vectors(axis, context), strict=True):
        if often is None or not often.any():
            often = row_frequency(model, table, context).float()  # says what is missing, if anything is
        shares.append(_share(often @ vectors.abs()))
    return torch.stack(shares).sum(0)


def _share(amount: Tensor) -> Tensor:
    return amount / amount.sum().clamp_min(1e-30)


def width_norm(model: Model, axis: Axis, *, away_only: bool = False) -> Tensor:
    """The length of the weights of each position (Li et al. 2017), float32 [size].

    Args:
        away_only: without the weights that lead to it.
    """
    squares = torch.zeros(model.size(axis), device=model.device)
    for name, dimension, width in axis.runs[-1:] if away_only else axis.runs:
        weights = model.tables[name].weights().detach().square().sum(1 - dimension)
        squares += weights.view(-1, width).sum(1)
    return squares.sqrt()


def width_activation(
    model: Model, axes: Mapping[str, Axis], inputs: Sequence[Any], *, deadline: Deadline = NEVER
) -> dict[str, Tensor]:
    """How strongly each position answers to inputs, times the length of what leads away (Hu et al. 2016), by axis.

    Raises:
        OutOfTime: the deadline is over.
    """
    sums = {axis.name: torch.zeros(model.size(axis), device=model.device) for axis in axes.values()}

    def watch(name: str, values: Tensor) -> Tensor:
        if name in sums:
            deadline.check(RANKING)
            sums[name] += values.abs().sum((0, 1)) if values.dim() == 3 else values.norm(dim=3).sum((0, 2))
        return values

    with torch.no_grad():
        model.calibrate(inputs, watch)
    return {name: sums[axis.name] * width_norm(model, axis, away_only=True) for name, axis in axes.items()}


def width_taylor(
    model: Model, axes: Mapping[str, Axis], inputs: Sequence[Any], *, deadline: Deadline = NEVER
) -> dict[str, Tensor]:
    """The squared change of the vectors to first order (Molchanov et al. 2019), by axis; sums over inputs.

    A gate on each position for each input; the squared slopes of the vectors by the gates are estimated along random
    directions, whose expectation is the whole.

    Raises:
        OutOfTime: the deadline is over.
    """
    gates: dict[str, Tensor] = {}
    found = {axis.name: torch.zeros(model.size(axis), device=model.device) for axis in axes.values()}
    draw = torch.Generator().manual_seed(0)

    def watch(name: str, values: Tensor) -> Tensor:
        if name not in found:
            return values
        heads = values.dim() == 4
        if name not in gates:  # layers that share their weights share the gate
            size = values.shape[1 if heads else 2]
            gates[name] = torch.ones(len(values), size, device=values.device, requires_grad=True)
        return values * (gates[name][:, :, None, None] if heads else gates[name][:, None, :])

    with torch.enable_grad():
        for start in range(0, len(inputs), TAYLOR_BATCH):
            deadline.check(RANKING)
            gates.clear()
            vectors = model.calibrate(inputs[start : start + TAYLOR_BATCH], watch)
            directions = torch.randn(vectors.shape, generator=draw).to(vectors.device)
            slopes = torch.autograd.grad((vectors * directions).sum(), list(gates.values()))
            for name, slope in zip(gates, slopes, strict=True):
                found[name] += slope.square().sum(0)
    return {name: found[axis.name] for name, axis in axes.items()}


def layer_influence(model: Model, axis: Axis, inputs: Sequence[Any], *, deadline: Deadline = NEVER) -> list[float]:
    """By how much each layer turns what flows through it (Men et al. 2024): 1 - cosine of what comes out and went in.

    Returns:
        Sums over inputs, by position; 0 for layers that are hidden.

    Raises:
        OutOfTime: the deadline is over.
    """
    seen: list[Tensor] = []
    turned = torch.zeros(model.size(axis) + 1, device=model.device)
    standing = model.standing(axis).tolist()

    def watch(name: str, values: Tensor) -> Tensor:
        if name.startswith(f"{axis.name}."):
            deadline.check(RANKING)
            if seen:
                there = values.any(dim=-1)  # all of padding is zero
                turned[len(seen) - 1] += (1 - cosine_similarity(seen[-1], values, dim=-1))[there].sum()
            seen.append(values)
            if name == f"{axis.name}.end":
                seen.clear()
        return values

    with torch.no_grad():
        model.calibrate(inputs, watch)
    found = [0.0] * model.size(axis)
    for place, at in enumerate(standing):
        found[at] = float(turned[place])
    return found


def most_faithful_layers(
    model: Model, axis: Axis, stay: int, inputs: Sequence[Any], *, deadline: Deadline = NEVER
) -> Tensor:
    """Positions of `stay` layers, left when one after the other the one goes that moves the vectors of inputs least.

    Raises:
        OutOfTime: the deadline is over; the model is as it was.
    """
    before = model.standing(axis)
    standing = before.tolist()
    try:
        with torch.no_grad():
            whole = model.calibrate(inputs)
            while len(standing) > stay:
                agreement = {}
                for at in standing:
                    deadline.check(RANKING)
                    model.hide(axis, torch.tensor([other for other in standing if other != at]))
                    agreement[at] = _agreement(model.calibrate(inputs), whole)
                standing.remove(max(agreement, key=lambda at: agreement[at]))
    finally:
        model.hide(axis, before)
    return torch.tensor(standing)


def _agreement(found: Tensor, wanted: Tensor) -> float:
    """The mean cosine of vectors, float32 [n, size]; of single numbers their correlation, as a cosine tells nothing."""
    if wanted.shape[1] > 1:
        return float(cosine_similarity(found, wanted).mean())
    return float(cosine_similarity(found - found.mean(), wanted - wanted.mean(), dim=0))
