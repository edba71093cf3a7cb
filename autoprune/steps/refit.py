"""Least-squares refitting of linear layers behind cut neurons and heads, layer by layer, without training.

What the cut positions contributed to a layer's output is taken over by the positions that stay, as far as calibration
inputs show that these predict it (He et al. 2017, "Channel Pruning for Accelerating Very Deep Neural Networks").
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model, covered
from autoprune.models.table import FLOAT_BITS, Linear
from autoprune.packing.compensated import damped
from autoprune.steps.fed import DAMPING, Moments, inputs_of, maps_behind, moments


def refit(table: Linear, before: Linear, known: Moments, columns: Tensor) -> None:
    """Sets the columns of a linear layer that stay so that its outputs are nearest to those from all columns.

    Args:
        table: the layer; its other columns are set to zero.
        before: the layer before any cut.
        known: moments of the activations that `before` received.
        columns: int64 [n], the columns that stay.
    """
    weights, second = before.weights().detach().double(), known.to_answer(bias=before.bias is not None)
    gone = torch.ones(table.dim, dtype=torch.bool, device=columns.device)
    gone[columns] = False
    # The minimum of |W x - V x_kept|² over V, regularised towards the original columns.
    factor = torch.linalg.cholesky(damped(second[columns][:, columns], DAMPING))
    taken_over = torch.cholesky_solve(second[columns][:, gone] @ weights[:, gone].T, factor).T
    refitted = torch.zeros_like(weights)
    refitted[:, columns] = weights[:, columns] + taken_over
    table.weight.data = refitted.to(table.weight.dtype)
    if table.bias is not None and before.bias is not None:
        bias = before.bias.detach().double() + (weights - refitted) @ known.mean.double()
        table.bias.data = bias.to(table.bias.dtype)


def refit_behind(model: Model, keeps: Mapping[str, Tensor], context: Context) -> None:
    """Refits the linear layers behind axes of a model whose hidden positions are about to be cut.

    Args:
        keeps: by the name of an axis, the positions that stay, int64, ascending.

    Raises:
        RecipeError: the same stage changes single weights or bits of such a layer, or there are no inputs.
        OutOfTime: the context's deadline has passed.
    """
    start = context.start
    assert isinstance(start, Model), "plans allow refit only in stages that do not train"
    if not inputs_of(context):
        raise RecipeError(("refit",), "the task has no inputs to measure activations on; set refit: false.")
    behind = {name: columns for axis, keep in keeps.items() for name, columns in _columns(model, axis, keep).items()}
    for name in behind:
        table = model.tables[name]
        if not bool(table.mask.all()) or int(table.bits[0]) < FLOAT_BITS:
            raise RecipeError(
                ("refit",),
                f"single weights or bits of {name} are chosen in the same stage or before it. Set refit: false, or "
                "move magnitude and quantize to a later stage.",
            )
    if context.rehearsal:
        return
    known = moments(start, context)
    for name, columns in behind.items():
        table, before = model.tables[name], start.tables[name]
        if name in known and isinstance(table, Linear) and isinstance(before, Linear):
            refit(table, before, known[name], columns)


def _columns(model: Model, axis: str, keep: Tensor) -> dict[str, Tensor]:
    """The columns that positions of an axis have in each linear layer behind it."""
    return {name: covered(keep, width) for name, width in maps_behind(model, model.axes[axis]).items()}
