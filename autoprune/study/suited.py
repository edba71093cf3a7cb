"""What a config asks for, as the task's model can have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.recipes.recipe import keys_of, plan
from autoprune.tasks.task import Task

Sections = Mapping[str, dict[str, Any]]
"""Task, space, presets, requirements and study, as plain values."""


def suited(sections: Sections, task: Task) -> tuple[Sections, list[str]]:
    """The sections without what the task's model can never do, and words about the presets that are left out.

    One is left out where it comes to the same as another, or lost what it is named after (`vocab_half_int4`, where
    no piece can go). Of those that come to the same, one that stays as it was told is kept.
    """
    told = {name: recipe for name, recipe in sections["presets"].items() if recipe is not None}  # `presets.int8=null`
    for name, recipe in told.items():
        if not isinstance(recipe, Mapping):
            raise AutopruneError(f"presets.{name}: a recipe is a mapping of stages, but got {recipe!r}.")
    named = {_key({}, task): "the dense model"}
    found = {name: task.suited(recipe) for name, recipe in told.items()}
    left: dict[str, str] = {}
    for name in sorted(told, key=lambda name: found[name] != told[name]):
        lost = {*keys_of(told[name])} - {*keys_of(found[name])}
        same = named.setdefault(_key(found[name], task), name)
        if lost & {*name.split("_")}:
            left[name] = "nothing of what it is named after can be removed"
        elif same != name:
            left[name] = f"comes to the same as {same}"
    presets = {name: recipe for name, recipe in found.items() if name not in left}
    space = task.suited(sections["space"])
    dropped = _dropped(sections["space"], space)
    width = ", ".join(f"{name} {value}" for name, value in task.base.items())
    words = [f"space.base: {', '.join(dropped)} left out, for the dense model has {width}"] if dropped else []
    words += [f"preset {name} is left out: {left[name]}" for name in told if name in left]
    return {**sections, "space": space, "presets": presets}, words


def _dropped(told: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Settings of the dense model that a space offers and the task does not."""
    dropped = []
    for name, held in (told.get("base") or {}).items():
        options = held.get("any_of", ()) if isinstance(held, Mapping) else ()
        stay = found["base"][name]
        dropped += [f"{name} {one}" for one in options if isinstance(stay, Mapping) and one not in stay["any_of"]]
    return dropped


def _key(recipe: Mapping[str, Any], task: Task) -> str:
    """Names what a recipe comes to; what cannot be read is told when recipes are checked."""
    try:
        return plan(recipe, base_defaults=task.base, runtimes=task.runtimes).key
    except AutopruneError:
        return repr(recipe)
