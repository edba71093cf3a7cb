"""Importance: how steps rank rows, dimensions, heads, neurons and layers.

The `inputs` arguments take elements of `Context.calibration`, which go through the model's `calibrate`.
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
"""Inputs per batch, for which random directions are drawn together; another number gives other estimates."""


def row_frequency(model: Model, table: str, context: Context) -> Tensor:
    """How often each standing row of a table occurs in the training data: int64 [rows].

    Raises:
        RecipeError: the frequency of the table's rows is unknown, or no row ever occurs.
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
    """The share of each dimension in the squared norm, summed over the coupled tables.

    Args:
        squares: float32 [dim] each: sums of squares over the rows of a table, or over an encoder's vectors of texts.

    Returns:
        float32 [dim]; the shares of each table add up to 1, so that a table of many rows does not outvote the others.
    """
    return torch.stack([_share(amount) for amount in squares]).sum(0)


def dim_activation(model: Model, axis: Axis, context: Context) -> Tensor:
    """How strongly each dimension is active across inputs: float32 [size].

    Every occurrence of an id is a lookup of its row, so the activation of Hu et al. 2016 ("Network Trimming") is, for a
    table, the mean absolute value over rows, weighted by frequency. The shares of each coupled table add up to 1.

    Raises:
        RecipeError: the frequency of a table's rows is unknown.
    """
    shares = []
    for (table, _), (vectors, frequency) in zip(axis.pairs, model.vectors(axis, context), strict=True):
        if frequency is None or not frequency.any():
            frequency = row_frequency(model, table, context).float()  # raises the error that says what is missing
        shares.append(_share(frequency @ vectors.abs()))
    return torch.stack(shares).sum(0)


def _share(amount: Tensor) -> Tensor:
    return amount / amount.sum().clamp_min(1e-30)


def width_norm(model: Model, axis: Axis, *, away_only: bool = False) -> Tensor:
    """The norm of the weights of each position (Li et al. 2017), float32 [size].

    Args:
        away_only: whether only outgoing weights count, not incoming ones.
    """
    squares = torch.zeros(model.size(axis), device=model.device)
    for name, dimension, width in axis.runs[-1:] if away_only else axis.runs:
        weights = model.tables[name].weights().detach().square().sum(1 - dimension)
        squares += weights.view(-1, width).sum(1)
    return squares.sqrt()


def width_activation(
    model: Model, axes: Mapping[str, Axis], inputs: Sequence[Any], *, deadline: Deadline = NEVER
) -> dict[str, Tensor]:
    """The activation of each position over inputs, times the norm of its outgoing weights (Hu et al. 2016), by axis.

    Raises:
        OutOfTime: the deadline has passed.
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
    """How far vectors move, squared and to first order, without each position (Molchanov et al. 2019), by axis.

    Each position has a gate per input. The squared gradients of the vectors with respect to the gates are estimated
    without bias along random directions, and summed over inputs.

    Raises:
        OutOfTime: the deadline has passed.
    """
    gates: dict[str, Tensor] = {}
    sums = {axis.name: torch.zeros(model.size(axis), device=model.device) for axis in axes.values()}
    generator = torch.Generator().manual_seed(0)

    def watch(name: str, values: Tensor) -> Tensor:
        if name not in sums:
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
            directions = torch.randn(vectors.shape, generator=generator).to(vectors.device)
            slopes = torch.autograd.grad((vectors * directions).sum(), list(gates.values()))
            for name, slope in zip(gates, slopes, strict=True):
                sums[name] += slope.square().sum(0)
    return {name: sums[axis.name] for name, axis in axes.items()}


def layer_influence(model: Model, axis: Axis, inputs: Sequence[Any], *, deadline: Deadline = NEVER) -> list[float]:
    """Block influence (Men et al. 2024): 1 minus the cosine between a layer's input and its output.

    Returns:
        Sums over inputs, by position; 0 for hidden layers.

    Raises:
        OutOfTime: the deadline has passed.
    """
    outputs: list[Tensor] = []
    turned = torch.zeros(model.size(axis) + 1, device=model.device)
    standing = model.standing(axis).tolist()

    def watch(name: str, values: Tensor) -> Tensor:
        if name.startswith(f"{axis.name}."):
            deadline.check(RANKING)
            if outputs:
                real = values.any(dim=-1)  # padding is all zeros
                turned[len(outputs) - 1] += (1 - cosine_similarity(outputs[-1], values, dim=-1))[real].sum()
            outputs.append(values)
            if name == f"{axis.name}.end":
                outputs.clear()
        return values

    with torch.no_grad():
        model.calibrate(inputs, watch)
    influence = [0.0] * model.size(axis)
    for number, at in enumerate(standing):
        influence[at] = float(turned[number])
    return influence


def most_faithful_layers(
    model: Model, axis: Axis, stay: int, inputs: Sequence[Any], *, deadline: Deadline = NEVER
) -> Tensor:
    """Positions of the `stay` layers that remain when the layer whose removal moves vectors least goes, one at a time.

    Raises:
        OutOfTime: the deadline has passed; the model is unchanged.
    """
    standing_before = model.standing(axis)
    remaining = standing_before.tolist()
    try:
        with torch.no_grad():
            wanted = model.calibrate(inputs)
            while len(remaining) > stay:
                agreement = {}
                for at in remaining:
                    deadline.check(RANKING)
                    model.hide(axis, torch.tensor([other for other in remaining if other != at]))
                    agreement[at] = _agreement(model.calibrate(inputs), wanted)
                remaining.remove(max(agreement, key=lambda at: agreement[at]))
    finally:
        model.hide(axis, standing_before)
    return torch.tensor(remaining)


def _agreement(vectors: Tensor, wanted: Tensor) -> float:
    """The mean cosine between vectors, float32 [n, size]; the correlation if size is 1, where cosines say nothing."""
    if wanted.shape[1] > 1:
        return float(cosine_similarity(vectors, wanted).mean())
    return float(cosine_similarity(vectors - vectors.mean(), wanted - wanted.mean(), dim=0))
