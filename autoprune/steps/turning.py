"""Turns of the axes of tables before their rows are coded: at random, or to their principal axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from autoprune.models.axis import Axis
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import FLOAT_BITS
from autoprune.steps.dims import principal_rotation

SPREAD_BITS = 4
"""Codes of so few bits are worth a turn of the axes."""


def spread(model: Model, bits: Mapping[str, float]) -> list[Axis]:
    """Turns tables at random before they get few bits, so that each dimension carries about as much as the others.

    A row's levels divide its range, which one strong dimension stretches for all; and what is alike in a row's
    dimensions rounds alike (Ashkboos et al. 2024, "QuaRot"; Gao & Long 2024, "RaBitQ"). Tables are turned once, and
    only where it costs nothing when the model answers, and no zeros would be filled.

    Args:
        bits: of the codes that are chosen next, by group; more than `SPREAD_BITS` need no turn.

    Returns:
        What was turned.
    """
    turning = _turning(model, [name for name, width in bits.items() if width <= SPREAD_BITS])
    for axis in turning:
        model.rotate(axis, random_rotation(model.size(axis)).to(model.device))
    return turning


def concentrate(model: Model, groups: Sequence[str], context: Context, *, but: Sequence[Axis] = ()) -> None:
    """Turns tables to their principal axes before they get codes of a rate, on the terms of `spread`.

    Codes of one step along such axes have an entropy that falls with the variance, and entropy-coded column by column
    (`autoprune.packing.columns`) they take no more: what sharing bits out among dimensions would come to (Goyal 2001,
    "Theoretical Foundations of Transform Coding").

    Args:
        groups: of tables that get codes of a rate.
        but: what was spread for another table on it.
    """
    for axis in _turning(model, groups):
        if axis not in but:
            model.rotate(axis, principal_rotation(model.moments(axis, context)))


def _turning(model: Model, groups: Sequence[str]) -> list[Axis]:
    """The axes of dimensions of groups of tables that can be turned at no cost when the model answers."""
    tables = {table for name in groups for table in model.groups[name]}
    return [
        axis
        for axis in model.axes_of("dim").values()
        if tables & {name for name, _ in axis.pairs} and model.turns_freely(axis) and _is_plain(model, axis)
    ]


def _is_plain(model: Model, axis: Axis) -> bool:
    """Whether nothing along an axis is coded, pruned or hidden yet."""
    tables = [model.tables[name] for name, _ in axis.pairs]
    plain = all(int(table.bits[0]) == FLOAT_BITS and bool(table.mask.all()) for table in tables)
    return plain and len(model.standing(axis)) == model.size(axis)


def random_rotation(dim: int) -> Tensor:
    """An orthogonal matrix, float32 [dim, dim], the same one for every table of that width."""
    drawn = torch.randn(dim, dim, generator=torch.Generator().manual_seed(dim), dtype=torch.float64)
    rotation: Tensor = torch.linalg.qr(drawn).Q.float()
    return rotation
