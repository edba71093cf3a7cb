"""Rounds sparsities to what a model of few layers or heads can reach, so that equal results become one recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoprune.steps.step import removed

TOLD = 0.01
"""A sparsity that can be reached this closely stays as it was given."""

Sizes = Mapping[str, Sequence[int]]
"""By the name of a step, the number of things of which a sparsity removes a share, for each scope."""


def within_reach(recipe: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
    """A space or recipe whose sparsities are those that the model reaches; steps that remove nothing are left out.

    Of two layers, a sparsity of 17 % removes none, and 34 % removes half. In a space, choices with the same result
    become one choice.

    Args:
        recipe: stages by name, as in a config.
        sizes: those of the model.
    """
    reached: dict[str, Any] = {}
    for name, value in recipe.items():
        if not isinstance(value, Mapping):
            reached[name] = value
        elif name not in sizes or "sparsity" not in value:
            reached[name] = within_reach(value, sizes)
        else:
            sparsity = _sparsity(value["sparsity"], sizes[name])
            if sparsity or not value["sparsity"]:
                reached[name] = {**value, "sparsity": sparsity}
    return reached


def of_layers(sizes: Sequence[int]) -> Sequence[int]:
    """The sizes of a step that leaves one thing in each layer: things of the smallest layer, and of all layers.

    Args:
        sizes: how many things each layer has.
    """
    return (min(sizes), sum(sizes)) if max(sizes) > 1 else (1,)


def without(recipe: Mapping[str, Any], step: str) -> dict[str, Any]:
    """A space or a recipe without a step, at any depth."""
    return {
        name: without(value, step) if isinstance(value, Mapping) else value
        for name, value in recipe.items()
        if name != step
    }


def choosing(recipe: Mapping[str, Any], step: str, parameter: str, can: Callable[[Any], bool]) -> dict[str, Any]:
    """A space in which a step's parameter has only the choices that `can` allows; a step without choices is left out.

    A single value stays as it is: the step itself refuses it by name.
    """
    chosen: dict[str, Any] = {}
    for name, value in recipe.items():
        if not isinstance(value, Mapping):
            chosen[name] = value
            continue
        options = value.get(parameter) if name == step else None
        if not isinstance(options, Mapping) or not isinstance(options.get("any_of"), Sequence):
            chosen[name] = choosing(value, step, parameter, can)
        elif left := [option for option in options["any_of"] if can(option)]:
            chosen[name] = {**value, parameter: {**options, "any_of": left}}
    return chosen


def _sparsity(given: Any, sizes: Sequence[int]) -> Any:
    """The sparsity that is reached for a number or a choice of numbers; anything else stays."""
    if isinstance(given, Mapping) and isinstance(given.get("any_of"), Sequence):
        return {**given, "any_of": list(dict.fromkeys(_sparsity(option, sizes) for option in given["any_of"]))}
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < 1:
        return given  # a range, or a value that is refused later
    shares = [removed(size, given) / size for size in sizes]
    if not any(shares):
        return 0.0
    # A sparsity that would remove everything is refused later, by the value that was given.
    if len(shares) > 1 or shares[0] == 1 or abs(shares[0] - given) <= TOLD:
        return given
    # Rounded up, as people write sixths and thirds: of six layers, .17 and .34 remove as many as 1/6 and 1/3 do.
    return math.ceil(100 * shares[0] - 1e-9) / 100
