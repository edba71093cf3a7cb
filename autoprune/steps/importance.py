"""What matters: how much each row or dimension of a table carries, as steps rank them."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.axis import Axis
from autoprune.models.context import Context
from autoprune.models.model import Model


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
    lengths: Tensor = torch.linalg.vector_norm(model.tables[table].weights().detach(), dim=1)
    return lengths


def dim_norm(vectors: list[Tensor]) -> Tensor:
    """How much each dimension carries: its share of the squared norm, summed over the coupled tables.

    Args:
        vectors: float32 [n, dim] each (the rows of a table, or what an encoder gives for texts), one dim for all.

    Returns:
        float32 [dim]; the shares of each table add up to 1, so that a table of many rows does not outvote the others.
    """
    return torch.stack([_share(part.detach().square().sum(0)) for part in vectors]).sum(0)


def dim_activation(model: Model, axis: Axis, context: Context) -> Tensor:
    """How strongly each dimension is active across inputs: float32 [size].

    An input looks a row up, so the mean absolute value of a dimension over the lookups of the training data is that
    over rows weighted by how often they occur (the activation of Hu et al. 2016, "Network Trimming", for tables).
    Shares of each coupled table add up to 1.

    Raises:
        RecipeError: how often the rows of a table occur is not known.
    """
    shares = []
    for (table, _), (part, often) in zip(axis.parts, model.vectors(axis, context), strict=True):
        if often is None or not often.any():
            often = row_frequency(model, table, context).float()  # says what is missing, if anything is
        shares.append(_share(often @ part.abs()))
    return torch.stack(shares).sum(0)


def _share(amount: Tensor) -> Tensor:
    return amount / amount.sum().clamp_min(1e-30)
