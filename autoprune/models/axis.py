"""Axes: the (table, dimension) pairs that can only be cut together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.errors import RecipeError, nearest


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis along which a model can be cut.

    Attributes:
        name: `dim`, `rows.item`, `vocab`, `ffn.3`, …
        kind: what steps select axes by: `dim` (dimensions of vectors), `rows` (of an embedding table), `ffn` (neurons),
            `heads` or `layers`.
        pairs: the coupled (table, dimension) pairs; none if only the model knows what belongs together (layers).
        width: how many neighbouring rows or columns one position of the axis has (the dimensions of a head).
        several: for each pair, how many times `width` a position has in it; empty: once in all.
    """

    name: str
    kind: str
    pairs: tuple[tuple[str, int], ...] = ()
    width: int = 1
    several: tuple[int, ...] = ()

    @property
    def runs(self) -> tuple[tuple[str, int, int], ...]:
        """The coupled (table, dimension) pairs, each with the number of rows or columns that one position has in it."""
        times = self.several or (1,) * len(self.pairs)
        return tuple((*pair, self.width * factor) for pair, factor in zip(self.pairs, times, strict=True))


def by_name(
    value: Any, names: Mapping[str, object], *, path: tuple[str, ...]
) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """The value of a parameter for each of `names`, and its path in the recipe.

    Args:
        value: one value for all names, or a mapping from name to value, whose other names are left out.
        names: the names that the model has.
        path: of the value in the recipe, for the error.

    Raises:
        RecipeError: a name is unknown.
    """
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, (value, path))
    for name in value:
        if str(name) not in names:  # YAML reads the number of a layer as a number
            raise RecipeError((*path, str(name)), f"the model has no {name!r}. {nearest(name, names)}")
    return {str(name): (entry, (*path, str(name))) for name, entry in value.items()}


def sparsity_by_name(sparsity: Any, names: Mapping[str, object], *, path: tuple[str, ...]) -> dict[str, float]:
    """The sparsity of each of `names`.

    Args:
        sparsity: one fraction for all names, or a mapping from name to fraction, whose other names lose nothing.
        names: the names that the model has.
        path: of the value in the recipe, for the error.

    Raises:
        RecipeError: a name is unknown, or a fraction is not in [0, 1).
    """
    values = by_name(sparsity, names, path=path)
    for value, at in values.values():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            way_out = "; 1 would remove everything" if value == 1 else ""
            raise RecipeError(at, f"0 <= sparsity < 1 must hold, but got {value!r}{way_out}.")
    return {name: float(value) for name, (value, _) in values.items()}


def removes_nothing(sparsity: Any) -> bool:
    """Whether a sparsity, one number or a mapping of numbers, is zero everywhere."""
    return all(
        value == 0 and value is not False
        for value in (sparsity.values() if isinstance(sparsity, Mapping) else (sparsity,))
    )
