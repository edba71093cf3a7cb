"""What stays makes up for what goes: by least squares, map by map, without training.

The linear maps behind neurons and heads that are cut take what they are no longer told from those that stay, as far as
inputs show that one tells of the other (He et al. 2017, "Channel Pruning for Accelerating Very Deep Neural Networks").
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
    """Sets some columns of a map so that its answers from these alone are nearest to what they were from all.

    Args:
        table: the map; its other columns are set to zero.
        before: the map as it was.
        known: of what that was fed.
        columns: int64 [n], those that stay.
    """
    weights, second = before.weights().detach().double(), known.to_answer(bias=before.bias is not None)
    goes = torch.ones(table.dim, dtype=torch.bool, device=columns.device)
    goes[columns] = False
    # The least of |W x - V x_kept|² over V, drawn towards the columns as they were.
    factor = torch.linalg.cholesky(damped(second[columns][:, columns], DAMPING))
    taken_over = torch.cholesky_solve(second[columns][:, goes] @ weights[:, goes].T, factor).T
    found = torch.zeros_like(weights)
    found[:, columns] = weights[:, columns] + taken_over
    table.weight.data = found.to(table.weight.dtype)
    if table.bias is not None and before.bias is not None:
        table.bias.data = (before.bias.detach().double() + (weights - found) @ known.mean.double()).to(table.bias.dtype)


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
    if not inputs_of(context):
        raise RecipeError(("refit",), "the task has no inputs that show what the maps are fed; set refit: false.")
    behind = {name: columns for axis, keep in keeps.items() for name, columns in _columns(model, axis, keep).items()}
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
    known = moments(start, context)
    for name, columns in behind.items():
        table, before = model.tables[name], start.tables[name]
        if name in known and isinstance(table, Linear) and isinstance(before, Linear):
            refit(table, before, known[name], columns)


def _columns(model: Model, axis: str, keep: Tensor) -> dict[str, Tensor]:
    """The columns that positions of an axis have in each of the maps behind it."""
    return {name: covered(keep, width) for name, width in maps_behind(model, model.axes[axis]).items()}
