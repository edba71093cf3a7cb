"""Codes of linear maps that are fitted to what the maps answer, one map after the other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import Linear
from autoprune.packing.compensated import damped
from autoprune.steps.slopes import slopes

CALIBRATION = 384
"""Inputs that codes are fitted to, at most; they pass through the model all at once."""

FELT, DIRECTIONS = 128, 2
"""Inputs, at most, and directions of the vectors of each, by which it is seen what is felt."""

FELT_DAMPING = 0.1
"""Of the mean of what is felt, added along every direction: some inputs do not show all that others feel."""


def felt(model: Model, names: Collection[str], context: Context) -> dict[str, Tensor]:
    """How much the vectors of calibration inputs feel of what changes in the rows of tables, along every direction.

    The outer products of the slopes of a row, by which errors of weights are told from one another (LeCun et al. 1989,
    "Optimal Brain Damage"), summed over all rows of a table.

    Returns:
        By table float64 [dim, dim], positive definite; nothing of one of which no input feels anything.

    Raises:
        RecipeError: there are tables, but no calibration inputs.
    """
    tables = {name: model.tables[name] for name in names}
    found = {
        name: table.weight.new_zeros(2 * table.weight.shape[1:], dtype=torch.float64) for name, table in tables.items()
    }
    inputs = _inputs(context)[:FELT] if tables else ()
    for seen in slopes(model, list(tables), inputs, context, directions=DIRECTIONS):
        for name, slope in seen.items():
            rows = slope[slope.any(dim=1)].double()
            found[name].addmm_(rows.T, rows)
    return {name: damped(moments, FELT_DAMPING) for name, moments in found.items() if moments.any()}


def compensate(model: Model, names: Collection[str], context: Context) -> None:
    """Fits the codes of linear maps to what they are fed as calibration inputs pass, each behind the codes before it.

    Maps that no input reaches keep the codes they have.

    Args:
        names: of tables whose bits are chosen; those that are looked up stay as they are.

    Raises:
        RecipeError: there are no calibration inputs.
    """
    inputs = _inputs(context)[:CALIBRATION]
    if context.rehearsal:
        return
    tables = {name: model.tables[name] for name in names}
    left = {f"maps.{name}": table for name, table in tables.items() if isinstance(table, Linear)}
    if not left:
        return

    def watch(name: str, values: Tensor) -> Tensor:
        table = left.pop(name, None)  # layers that share their weights are fitted to the first of them
        if table is not None:
            context.deadline.check("fitting codes")
            fed = values.flatten(0, -2)
            if len(fed := fed[fed.any(dim=1)]):  # of padding all is zero
                table.compensate(fed)
        return values

    with torch.no_grad():
        model.calibrate(inputs, watch, batch=len(inputs))  # all at once: what follows a map already sees its codes


def _inputs(context: Context) -> Sequence[Any]:
    """Those that codes are fitted to.

    Raises:
        RecipeError: there are none.
    """
    if not context.calibration:
        raise RecipeError(("compensate",), "the task has no inputs to calibrate codes on; leave it out.")
    return context.calibration
