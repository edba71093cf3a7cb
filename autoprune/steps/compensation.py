"""Codes of linear layers that are fitted to the layers' outputs, one layer after the other."""

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
"""The most inputs that codes are fitted to; they pass through the model all at once."""

FELT, DIRECTIONS = 128, 2
"""The most inputs, and random directions of the vectors of each, by which `felt` measures."""

FELT_DAMPING = 0.1
"""This share of the mean is added along every direction: a few inputs do not show all that others feel."""


def felt(model: Model, names: Collection[str], context: Context) -> dict[str, Tensor]:
    """How far errors in the rows of tables move the vectors of calibration inputs, along every direction of a row.

    These are the outer products of the slopes of a row (LeCun et al. 1989, "Optimal Brain Damage"), summed over all
    rows of a table.

    Returns:
        By table, float64 [dim, dim], positive definite; without tables that change the vectors of no input.

    Raises:
        RecipeError: there are tables, but no calibration inputs.
    """
    tables = {name: model.tables[name] for name in names}
    moments_of = {
        name: table.weight.new_zeros(2 * table.weight.shape[1:], dtype=torch.float64) for name, table in tables.items()
    }
    inputs = _inputs(context)[:FELT] if tables else ()
    for by_table in slopes(model, list(tables), inputs, context, directions=DIRECTIONS):
        for name, slope in by_table.items():
            rows = slope[slope.any(dim=1)].double()
            moments_of[name].addmm_(rows.T, rows)
    return {name: damped(matrix, FELT_DAMPING) for name, matrix in moments_of.items() if matrix.any()}


def compensate(model: Model, names: Collection[str], context: Context) -> None:
    """Fits the codes of linear layers to the activations they receive while calibration inputs pass through the model.

    Each layer sees what the already fitted codes before it produce. Layers that no input reaches keep their codes.

    Args:
        names: tables whose bits have been chosen; lookup tables stay as they are.

    Raises:
        RecipeError: there are no calibration inputs.
    """
    inputs = _inputs(context)[:CALIBRATION]
    if context.rehearsal:
        return
    tables = {name: model.tables[name] for name in names}
    unfitted = {f"maps.{name}": table for name, table in tables.items() if isinstance(table, Linear)}
    if not unfitted:
        return

    def watch(name: str, values: Tensor) -> Tensor:
        table = unfitted.pop(name, None)  # layers with shared weights: fitted to the first
        if table is not None:
            context.deadline.check("fitting codes")
            activations = values.flatten(0, -2)
            if len(activations := activations[activations.any(dim=1)]):  # padding is all zeros
                table.compensate(activations)
        return values

    with torch.no_grad():
        model.calibrate(inputs, watch, batch=len(inputs))  # one batch: later layers already see these codes


def _inputs(context: Context) -> Sequence[Any]:
    """The inputs that codes are fitted to.

    Raises:
        RecipeError: there are none.
    """
    if not context.calibration:
        raise RecipeError(("compensate",), "the task has no inputs to calibrate codes on; leave compensate out.")
    return context.calibration
