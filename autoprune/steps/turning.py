"""Rotations of tables before their rows are coded: at random, or to principal axes."""

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
"""Up to this number of bits, codes gain from a random rotation."""


def spread(model: Model, bits: Mapping[str, float]) -> list[Axis]:
    """Rotates tables at random before they get few bits, so that all dimensions carry about the same amount.

    A row's levels divide its range, which a single strong dimension stretches for all, and similar values in a row have
    similar rounding errors (Ashkboos et al. 2024, "QuaRot"; Gao & Long 2024, "RaBitQ"). Tables are rotated once, and
    only if that costs nothing at inference and fills no pruned zeros.

    Args:
        bits: by group, the bits of the codes that are chosen next; above `SPREAD_BITS` nothing is rotated.

    Returns:
        The axes that were rotated.
    """
    axes = _turning(model, [name for name, width in bits.items() if width <= SPREAD_BITS])
    for axis in axes:
        model.rotate(axis, random_rotation(model.size(axis)).to(model.device))
    return axes


def concentrate(model: Model, groups: Sequence[str], context: Context, *, but: Sequence[Axis] = ()) -> None:
    """Rotates tables to their principal axes before they get codes at a rate, under the conditions of `spread`.

    Along principal axes the entropy of codes with one step falls with the variance. Entropy coding column by column
    (`autoprune.packing.columns`) turns that into bytes, which has the effect of sharing bits out among dimensions
    (Goyal 2001, "Theoretical Foundations of Transform Coding").

    Args:
        groups: the groups of tables that get codes at a rate.
        but: axes that `spread` has already rotated for another table.
    """
    for axis in _turning(model, groups):
        if axis not in but:
            model.rotate(axis, principal_rotation(model.moments(axis, context)))


def _turning(model: Model, groups: Sequence[str]) -> list[Axis]:
    """The dimension axes of groups of tables that can be rotated at no cost at inference."""
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
    """An orthogonal matrix, float32 [dim, dim], the same for every table of that width."""
    gaussian = torch.randn(dim, dim, generator=torch.Generator().manual_seed(dim), dtype=torch.float64)
    rotation: Tensor = torch.linalg.qr(gaussian).Q.float()
    return rotation
