"""An axis: the (table, dimension) pairs that can only be cut together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.errors import RecipeError, nearest


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One thing a model can lose some of.

    Attributes:
        name: `dim`, `rows.item`, `vocab`, `ffn.3`, …
        kind: what a step looks for: `dim` (what vectors consist of), `rows` (of a table that is looked up), `ffn`
            (neurons), `heads` or `layers`.
        pairs: the coupled (table, dimension) pairs; none where the model alone knows what belongs together (layers).
        width: how many neighbours along the dimension are one position of the axis (the dimensions of a head).
        several: of each pair, how many times `width` a position has in it; none: once in all of them.
    """

    name: str
    kind: str
    pairs: tuple[tuple[str, int], ...] = ()
    width: int = 1
    several: tuple[int, ...] = ()

    @property
    def runs(self) -> tuple[tuple[str, int, int], ...]:
        """The coupled (table, dimension) pairs, each with how many neighbours are one position in it."""
        times = self.several or (1,) * len(self.pairs)
        return tuple((*pair, self.width * many) for pair, many in zip(self.pairs, times, strict=True))


def by_name(
    value: Any, names: Mapping[str, object], *, path: tuple[str, ...]
) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """What a parameter says of each of `names`, and where it says so.

    Args:
        value: one for all names, or a mapping from name to value (names left out are not there).
        names: what the model has.
        path: where the value stands in the recipe, for the error.

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
    """What each of `names` is asked to lose.

    Args:
        sparsity: one fraction for all names, or a mapping from name to fraction (names left out lose nothing).
        names: what the model has.
        path: where the value stands in the recipe, for the error.

    Raises:
        RecipeError: there is no name at all, a name is unknown, or a fraction is not in [0, 1).
    """
    asked = by_name(sparsity, names, path=path)
    for value, at in asked.values():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            way_out = "; 1 would remove everything" if value == 1 else ""
            raise RecipeError(at, f"0 <= sparsity < 1 must hold, but got {value!r}{way_out}.")
    return {name: float(value) for name, (value, _) in asked.items()}


def removes_nothing(sparsity: Any) -> bool:
    """Whether a sparsity, one number or a mapping, is zero throughout."""
    return all(
        value == 0 and value is not False
        for value in (sparsity.values() if isinstance(sparsity, Mapping) else (sparsity,))
    )
