"""The scan: looks by the thousand at what needs no training, a batch at a time, until they find no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autoprune.deadline import Deadline
from autoprune.recipes.recipe import digest
from autoprune.recipes.space import Recipe
from autoprune.record.looks import Look
from autoprune.study.choices import Choices
from autoprune.study.lookout import Lookout
from autoprune.study.neighbours import Neighbours
from autoprune.study.sampler import RANDOM, TPE, Sampler, Values

BATCH = 10
"""Looks that are asked for together."""

ALONE = 20
"""Looks for which a sampler is asked alone; then half of each batch are neighbours of what was found …"""

MODELLED = 300
"""… and from so many on all are: Optuna's TPE models what pays, and an ask takes longer than a look by then."""

TRIES = 20
"""Neighbours that are drawn for each that is new."""

MOST_LOOKS = 3000
"""Looks of a scan, at most, where nobody says how many."""

GROWTH = 0.01
"""A scan is done once the hypervolume of its looks has grown by no larger share …"""

EFFORT = 1 / 2
"""… over the last part of its batches: what a look costs does not matter, what came of the effort does."""

FEWEST = 20
"""Batches that are looked at in any case …"""

HOPEFUL = 90
"""… and while nothing meets the requirements."""

SMALL = 200
"""A space of no more untrained recipes is looked at whole."""


class Scan:
    """Looks at untrained recipes of a space under one base.

    Args:
        choices: what is open.
        lookout: takes the looks.
        base: settings of the dense model, of those that the space allows.
        drawn: whether all values are drawn, and nothing is learned.
        seed: of everything that is drawn.
        most: looks that are asked for, at most.
        whole: whether so many are asked for in any case; else until they find no more.
    """

    def __init__(
        self,
        choices: Choices,
        lookout: Lookout,
        *,
        base: Values,
        drawn: bool,
        seed: int,
        most: int = MOST_LOOKS,
        whole: bool = False,
    ) -> None:
        self._choices, self._lookout, self._base = choices, lookout, base
        self._drawn, self._seed = drawn, seed
        self._most, self._whole = most, whole
        self._neighbours = Neighbours(choices.cuts, seed=seed)
        self._asked: set[str] = set()  # digests of recipes
        self._taken: dict[str, Values] = {}  # what decides the looks of this scan, by their keys
        self._volumes: list[float] = []
        self.done = False

    def run(self, starts: Iterable[Mapping[str, Any]], *, until: Deadline) -> None:
        """Looks until no more is found, or the time is over; what is known already costs nothing.

        Args:
            starts: recipes that it begins with, as far as they lie within the space.
        """
        grid = self._choices.grid(min(SMALL, self._most))
        if grid is not None:
            self._look(grid, until)
            self.done = until.left > 0
            return
        sampler = self._sampler(TPE)
        for values in self._values([{}, *starts]):
            sampler.propose(values)
        taken = 0
        while taken < self._most and not self._still:
            if taken == MODELLED:
                sampler = self._sampler(RANDOM)
            count = min(BATCH, self._most - taken)
            for values in self._near(0 if taken < ALONE else count // 2 if taken < MODELLED else count):
                sampler.propose(values)
            batch = sampler.ask(count)
            taken += count
            looks = self._look(batch, until)
            if until.left <= 0:
                return
            sampler.tell([self._lookout.outcome(look) for look in looks])
            self._volumes.append(self._lookout.promises.hypervolume)
        self.done = True

    def _sampler(self, kind: str) -> Sampler:
        objectives = len(self._lookout.promises.objectives)
        kind = RANDOM if self._drawn else kind
        return Sampler(self._choices.cuts, objectives=objectives, kind=kind, seed=self._seed)

    def _values(self, recipes: Iterable[Mapping[str, Any]]) -> list[Values]:
        """What decides recipes, as far as they lie within the space."""
        return [values for recipe in recipes if (values := self._choices.values(recipe)) is not None]

    def _near(self, count: int) -> list[Values]:
        """Neighbours of the front of this scan's looks that were not asked for; fewer where few are new."""
        if self._drawn or not count:
            return []
        front = self._lookout.promises.front(wanted=lambda look: look.key in self._taken and not look.epochs)
        parents = [self._taken[look.key] for look in sorted(front, key=lambda look: look.size_bytes)]
        near: list[Values] = []
        for _ in range(TRIES * count if parents else 0):
            values = self._neighbours.of(parents)
            name = digest(self._recipe(values))
            if name not in self._asked:
                self._asked.add(name)
                near.append(values)
            if len(near) == count:
                break
        return near

    def _recipe(self, values: Values) -> Recipe:
        return self._choices.recipe({**values, **self._base})

    def _look(self, values: list[Values], until: Deadline) -> list[Look | None]:
        recipes = [self._recipe(one) for one in values]
        self._asked |= {digest(recipe) for recipe in recipes}
        looks = self._lookout.take(recipes, until=until)
        self._taken |= {look.key: one for look, one in zip(looks, values, strict=True) if look is not None}
        return looks

    @property
    def _still(self) -> bool:
        """Whether the hypervolume stands still."""
        done = len(self._volumes)
        if self._whole or done < (FEWEST if self._volumes and self._volumes[-1] else HOPEFUL):
            return False
        return self._volumes[-1] <= (1 + GROWTH) * self._volumes[-1 - round(EFFORT * done)]
