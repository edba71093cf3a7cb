"""Codes of linear maps that are fitted to what the maps answer, one map after the other."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import Linear

CALIBRATION = 384
"""Inputs that codes are fitted to, at most; they pass through the model all at once."""


def compensate(model: Model, names: Collection[str], context: Context) -> None:
    """Fits the codes of linear maps to what they are fed as calibration inputs pass, each behind the codes before it.

    Maps that no input reaches keep the codes they have.

    Args:
        names: of tables whose bits are chosen; those that are looked up stay as they are.

    Raises:
        RecipeError: there are no calibration inputs.
    """
    if not context.calibration:
        raise RecipeError(("compensate",), "the task has no inputs to calibrate codes on; leave it out.")
    if context.rehearsal:
        return
    tables = {name: model.tables[name] for name in names}
    left = {f"maps.{name}": table for name, table in tables.items() if isinstance(table, Linear)}
    if not left:
        return

    def watch(name: str, values: Tensor) -> Tensor:
        table = left.pop(name, None)  # layers that share their weights are fitted to the first of them
        if table is not None:
            fed = values.flatten(0, -2)
            table.compensate(fed[fed.any(dim=1)])  # of padding all is zero
        return values

    inputs = context.calibration[:CALIBRATION]
    with torch.no_grad():
        model.calibrate(inputs, watch, batch=len(inputs))  # all at once: what follows a map already sees its codes
