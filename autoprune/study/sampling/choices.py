"""The open values of a space: those that a look can judge, and those that only training can."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from autoprune.recipes.domain import Domain
from autoprune.recipes.nodes import Recipe
from autoprune.recipes.recipe import digest, trains_only
from autoprune.recipes.space import Space
from autoprune.study.sampling.sampler import Values


class Choices:
    """The open values of a space.

    Args:
        space: what may be tried.
        base: default settings of the task's dense model.

    Attributes:
        cuts: domains that change an untrained model.
        training: domains that change training alone, without the dense model's settings.
        bases: settings of the dense model that the space allows, as values; the first are nearest to the default.
    """

    def __init__(self, space: Space, *, base: Mapping[str, Any]) -> None:
        self.space = space
        paths = {path: _in_recipe(path) for path in space.domains}
        of_base = [space.domains[path] for path, parts in paths.items() if parts[0] == "base"]
        self.cuts = [space.domains[path] for path, parts in paths.items() if not trains_only(parts)]
        self.training = [
            space.domains[path] for path, parts in paths.items() if trains_only(parts) and parts[0] != "base"
        ]
        defaults = {domain.path: base.get(paths[domain.path][-1]) for domain in of_base}
        self.bases: list[Values] = [
            {domain.path: value for domain, value in zip(of_base, values, strict=True)}
            for values in itertools.product(
                *(sorted(domain.ends(), key=partial(_distance, defaults[domain.path])) for domain in of_base)
            )
        ]

    def recipe(self, values: Values) -> Recipe:
        """The recipe that values lead to; a training value that they leave out takes its minimum."""
        return self.space.resolve(lambda domain: values[domain.path] if domain.path in values else self._lowest(domain))

    def values(self, recipe: Mapping[str, Any]) -> Values | None:
        """The values that lead to a recipe; None if it lies outside. Values that it leaves out take their minimum."""
        completion = next((values for values, _ in self.space.completions(recipe)), None)
        if completion is None:
            return None
        values: Values = {}

        def decide(domain: Domain) -> Any:
            is_given = _has_entry(recipe, _in_recipe(domain.path))
            values[domain.path] = completion[domain.path] if is_given else self._lowest(domain)
            return values[domain.path]

        self.space.resolve(decide)
        return values

    def used(self, values: Values) -> Values:
        """The values that decide a recipe: without those of parameters of alternatives that it does not choose."""
        used: Values = {}

        def decide(domain: Domain) -> Any:
            used[domain.path] = values[domain.path] if domain.path in values else self._lowest(domain)
            return used[domain.path]

        self.space.resolve(decide)
        return used

    def grid(self, most: int) -> list[Values] | None:
        """All values of the cuts; None if there are more than `most`, or a domain is continuous."""
        axes = [domain.listed() for domain in self.cuts]
        if math.prod(len(axis) or most + 1 for axis in axes) > most:
            return None
        return [
            dict(zip([domain.path for domain in self.cuts], values, strict=True)) for values in itertools.product(*axes)
        ]

    def after_training(self, recipe: Mapping[str, Any]) -> list[Domain]:
        """The cuts in stages after the last one that trains: changing them needs no new training."""
        later = _stages_after_training(recipe)
        return [domain for domain in self.cuts if _in_recipe(domain.path)[0] in later]

    @property
    def coding(self) -> set[str]:
        """The paths that decide codes: the cuts after training, if as many stages train as the space allows."""
        recipe = self.most_trained
        return {domain.path for domain in self.after_training(recipe)} if _training_stages(recipe) else set()

    @property
    def most_trained(self) -> Recipe:
        """The recipe that cuts least and is trained for as long as the space allows."""
        return self._fully_trained({})

    def uncut(self, values: Values) -> Recipe:
        """The recipe with its codes alone, on the same dense model, without the stages before them."""
        full, recipe = self._fully_trained(values), self.recipe(values)
        kept_names = {"base", "runtime", *(_stages_after_training(full) if _training_stages(full) else ())}
        return {name: stage for name, stage in recipe.items() if name in kept_names}

    def uncoded(self, recipe: Mapping[str, Any]) -> str:
        """A digest of a recipe without its codes: recipes that differ only in their codes share it.

        It is the digest of the whole recipe if that lies outside the space or trains nothing.
        """
        values = self.values(recipe)
        full = self._fully_trained(values or {})
        if values is None or not _training_stages(full):
            return digest(recipe)
        codes = _stages_after_training(full)
        return digest({name: stage for name, stage in self.recipe(values).items() if name not in codes})

    def _fully_trained(self, values: Values) -> Recipe:
        """The recipe that values lead to, trained for as long as the space allows."""
        epochs = [domain for domain in self.training if _in_recipe(domain.path)[-1] == "epochs"]
        return self.recipe({**values, **{domain.path: max(domain.ends()) for domain in epochs}})

    @property
    def recodes(self) -> bool:
        """Whether a stage that follows a training stage has open values."""
        recipes = [self.recipe(one) for one in ({}, *({domain.path: domain.ends()[-1]} for domain in self.training))]
        return any(_training_stages(recipe) and self.after_training(recipe) for recipe in recipes)

    def _lowest(self, domain: Domain) -> Any:
        if domain.path in self.bases[0]:
            return self.bases[0][domain.path]
        if _in_recipe(domain.path)[-1] == "epochs":
            return min(domain.ends())
        if domain.kind == "choose" and "none" in domain.options:
            return "none"
        return domain.ends()[0]


def _training_stages(recipe: Mapping[str, Any]) -> list[str]:
    """The stages that train."""
    return [name for name, stage in recipe.items() if isinstance(stage, Mapping) and stage.get("epochs")]


def _stages_after_training(recipe: Mapping[str, Any]) -> set[str]:
    """The stages after the last one that trains; all stages if none does."""
    names, training = list(recipe), _training_stages(recipe)
    return set(names[names.index(training[-1]) + 1 :]) if training else set(names)


def _distance(default: Any, value: Any) -> float:
    """The distance of a setting from its default; for other values than numbers, 1 if they differ."""
    numbers = all(isinstance(one, int | float) for one in (default, value))
    return abs(value - default) if numbers else float(value != default)


def _in_recipe(path: str) -> tuple[str, ...]:
    """The path in a recipe for a path in a space: without the space's name and without `choose`."""
    return tuple(part for part in path.split(".")[1:] if part != "choose")


def _has_entry(recipe: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Whether a recipe has an entry at a path."""
    node: Any = recipe
    for name in path:
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    return True
