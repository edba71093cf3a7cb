"""What a space leaves open, by who decides it: what a look can tell, and what only training can."""

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
        base: what the task's dense model is made with by default.

    Attributes:
        cuts: what changes an untrained model.
        training: what changes training alone, the dense model's settings left out.
        bases: settings of the dense model that the space allows, as values; the first is as near to the default as it
            can be.
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
        """The recipe that some values decide; of training, what they leave out is at its least."""
        return self.space.resolve(lambda domain: values[domain.path] if domain.path in values else self._least(domain))

    def values(self, recipe: Mapping[str, Any]) -> Values | None:
        """What decides a recipe of the space; None where it lies outside. What it does not say is at its least."""
        said = next((values for values, _ in self.space.completions(recipe)), None)
        if said is None:
            return None
        found: Values = {}

        def decide(domain: Domain) -> Any:
            says = _says(recipe, _in_recipe(domain.path))
            found[domain.path] = said[domain.path] if says else self._least(domain)
            return found[domain.path]

        self.space.resolve(decide)
        return found

    def grid(self, most: int) -> list[Values] | None:
        """All values of the cuts, where there are no more than `most` and none is continuous."""
        axes = [domain.listed() for domain in self.cuts]
        if math.prod(len(axis) or most + 1 for axis in axes) > most:
            return None
        return [
            dict(zip([domain.path for domain in self.cuts], values, strict=True)) for values in itertools.product(*axes)
        ]

    def after_training(self, recipe: Mapping[str, Any]) -> list[Domain]:
        """The cuts of the stages that follow the last one that trains: what they do costs no training again."""
        later = _later(recipe)
        return [domain for domain in self.cuts if _in_recipe(domain.path)[0] in later]

    @property
    def coding(self) -> set[str]:
        """The paths that decide codes: what follows the training, where as much is trained as can be."""
        recipe = self._trained({})
        return {domain.path for domain in self.after_training(recipe)} if _trained(recipe) else set()

    def uncut(self, values: Values) -> Recipe:
        """A recipe without all that its codes follow: these alone, on the same dense model."""
        trained, recipe = self._trained(values), self.recipe(values)
        kept = {"base", "runtime", *(_later(trained) if _trained(trained) else ())}
        return {name: stage for name, stage in recipe.items() if name in kept}

    def uncoded(self, recipe: Mapping[str, Any]) -> str:
        """A digest of a recipe without its codes, which recipes have in common that differ in these alone.

        Of the whole where it lies outside the space, or nothing trains in it.
        """
        values = self.values(recipe)
        trained = self._trained(values or {})
        if values is None or not _trained(trained):
            return digest(recipe)
        later = _later(trained)
        return digest({name: stage for name, stage in self.recipe(values).items() if name not in later})

    def _trained(self, values: Values) -> Recipe:
        """The recipe that some values decide, trained for as long as the space allows."""
        epochs = [domain for domain in self.training if _in_recipe(domain.path)[-1] == "epochs"]
        return self.recipe({**values, **{domain.path: max(domain.ends()) for domain in epochs}})

    @property
    def recodes(self) -> bool:
        """Whether something is open in a stage that follows one which may train."""
        recipes = [self.recipe(one) for one in ({}, *({domain.path: domain.ends()[-1]} for domain in self.training))]
        return any(_trained(recipe) and self.after_training(recipe) for recipe in recipes)

    def _least(self, domain: Domain) -> Any:
        if domain.path in self.bases[0]:
            return self.bases[0][domain.path]
        if _in_recipe(domain.path)[-1] == "epochs":
            return min(domain.ends())
        if domain.kind == "choose" and "none" in domain.options:
            return "none"
        return domain.ends()[0]


def _trained(recipe: Mapping[str, Any]) -> list[str]:
    """The stages that train."""
    return [name for name, stage in recipe.items() if isinstance(stage, Mapping) and stage.get("epochs")]


def _later(recipe: Mapping[str, Any]) -> set[str]:
    """The stages that follow the last one that trains; all where none does."""
    names, trained = list(recipe), _trained(recipe)
    return set(names[names.index(trained[-1]) + 1 :]) if trained else set(names)


def _distance(default: Any, value: Any) -> float:
    """How far a setting is from the default; of what is no number, whether it is another."""
    numbers = all(isinstance(one, int | float) for one in (default, value))
    return abs(value - default) if numbers else float(value != default)


def _in_recipe(path: str) -> tuple[str, ...]:
    """Where a recipe has what a path of a space names: without the space's name, and without `choose`."""
    return tuple(part for part in path.split(".")[1:] if part != "choose")


def _says(recipe: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Whether something stands at a path of a recipe."""
    node: Any = recipe
    for name in path:
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    return True
