"""Sparsities as a model of few layers or heads can have them: what comes to the same becomes one recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoprune.steps.step import removed

TOLD = 0.01
"""A sparsity that is reached as nearly as this stays as it was told."""

Sizes = Mapping[str, Sequence[int]]
"""What a step counts in, by its name: of how many a sparsity takes its share, in each scope."""


def within_reach(recipe: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
    """A space or a recipe whose sparsities of few things say what they remove; steps that can't remove any are gone.

    One of 17 % of the layers removes none of two, and one of 34 % removes half. In a space, choices that come to the
    same are one choice.

    Args:
        recipe: stages by name, as they stand in a config.
        sizes: of the model.
    """
    found: dict[str, Any] = {}
    for name, held in recipe.items():
        if not isinstance(held, Mapping):
            found[name] = held
        elif name not in sizes or "sparsity" not in held:
            found[name] = within_reach(held, sizes)
        else:
            sparsity = _sparsity(held["sparsity"], sizes[name])
            if sparsity or not held["sparsity"]:
                found[name] = {**held, "sparsity": sparsity}
    return found


def of_layers(sizes: Sequence[int]) -> Sequence[int]:
    """What a step counts in that leaves one of each layer: things of the smallest, and of all; so of single ones none.

    Args:
        sizes: how many things each layer has.
    """
    return (min(sizes), sum(sizes)) if max(sizes) > 1 else (1,)


def without(recipe: Mapping[str, Any], step: str) -> dict[str, Any]:
    """A space or a recipe without a step, wherever it stands."""
    return {
        name: without(held, step) if isinstance(held, Mapping) else held
        for name, held in recipe.items()
        if name != step
    }


def choosing(recipe: Mapping[str, Any], step: str, parameter: str, can: Callable[[Any], bool]) -> dict[str, Any]:
    """A space whose choices for a parameter of a step are those that can be; a step left without any is gone.

    A value that stands alone stays, to be refused by its name.
    """
    found: dict[str, Any] = {}
    for name, held in recipe.items():
        if not isinstance(held, Mapping):
            found[name] = held
            continue
        options = held.get(parameter) if name == step else None
        if not isinstance(options, Mapping) or not isinstance(options.get("any_of"), Sequence):
            found[name] = choosing(held, step, parameter, can)
        elif left := [one for one in options["any_of"] if can(one)]:
            found[name] = {**held, parameter: {**options, "any_of": left}}
    return found


def _sparsity(asked: Any, sizes: Sequence[int]) -> Any:
    """A number, or a choice of numbers, as it is reached; anything else stays."""
    if isinstance(asked, Mapping) and isinstance(asked.get("any_of"), Sequence):
        return {**asked, "any_of": list(dict.fromkeys(_sparsity(one, sizes) for one in asked["any_of"]))}
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not 0 <= asked < 1:
        return asked  # a range, or what is refused later on
    shares = [removed(size, asked) / size for size in sizes]
    if not any(shares):
        return 0.0
    # What would remove all is refused later on, as it was told.
    if len(shares) > 1 or shares[0] == 1 or abs(shares[0] - asked) <= TOLD:
        return asked
    # Rounded up, as sixths and thirds are usually told: .17 and .34 remove the same of six as they do.
    return math.ceil(100 * shares[0] - 1e-9) / 100
