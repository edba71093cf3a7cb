"""Adapts a config's space and presets to what the task's model supports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.recipes.recipe import keys_of, plan
from autoprune.tasks.task import Task

Sections = Mapping[str, dict[str, Any]]
"""Task, space, presets, requirements and study, as plain values."""


def suited(sections: Sections, task: Task) -> tuple[Sections, list[str]]:
    """The sections without what the task's model does not support, and messages about what is left out.

    A preset is left out if it is equivalent to another, or if the step that it is named after does not apply (such
    as `vocab_half_int4`, if no piece can be removed). Of equal presets, one that needed no adaptation is kept.
    """
    given = {name: recipe for name, recipe in sections["presets"].items() if recipe is not None}  # int8=null
    for name, recipe in given.items():
        if not isinstance(recipe, Mapping):
            raise AutopruneError(f"presets.{name}: a recipe is a mapping of stages, but got {recipe!r}.")
    name_of_key = {_key({}, task): "the dense model"}
    adapted = {name: task.suited(recipe) for name, recipe in given.items()}
    reasons: dict[str, str] = {}
    for name in sorted(given, key=lambda name: adapted[name] != given[name]):
        lost = {*keys_of(given[name])} - {*keys_of(adapted[name])}
        same = name_of_key.setdefault(_key(adapted[name], task), name)
        if lost & {*name.split("_")}:
            reasons[name] = "the step that it is named after does not apply to this model"
        elif same != name:
            reasons[name] = f"is equivalent to {same}"
    presets = {name: recipe for name, recipe in adapted.items() if name not in reasons}
    space = task.suited(sections["space"])
    dropped = _dropped(sections["space"], space)
    width = ", ".join(f"{name} {value}" for name, value in task.base.items())
    messages = [f"space.base: {', '.join(dropped)} left out, since the dense model has {width}"] if dropped else []
    messages += [f"preset {name} is left out: {reasons[name]}" for name in given if name in reasons]
    return {**sections, "space": space, "presets": presets}, messages


def _dropped(space: Mapping[str, Any], adapted: Mapping[str, Any]) -> list[str]:
    """Settings of the dense model that a space offers but the task does not."""
    dropped = []
    for name, setting in (space.get("base") or {}).items():
        options = setting.get("any_of", ()) if isinstance(setting, Mapping) else ()
        kept = adapted["base"][name]
        dropped += [f"{name} {one}" for one in options if isinstance(kept, Mapping) and one not in kept["any_of"]]
    return dropped


def _key(recipe: Mapping[str, Any], task: Task) -> str:
    """The key of the recipe's plan; a recipe that cannot be planned is refused later, when recipes are checked."""
    try:
        return plan(recipe, base_defaults=task.base, runtimes=task.runtimes).key
    except AutopruneError:
        return repr(recipe)
