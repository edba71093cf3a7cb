"""The scan: looks by the thousand at what needs no training, a batch at a time, until they find no more."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from autoprune.deadline import Deadline
from autoprune.record.looks import Look
from autoprune.study.choices import Choices
from autoprune.study.lookout import Lookout
from autoprune.study.sampler import GENETIC, RANDOM, TPE, Sampler, Values

BATCH = 10
"""Looks that are asked for together."""

MODELLED = 100
"""Looks for which TPE is asked. It models what pays, and finds more in so few; later an ask takes longer than a look,
and the genetic sampler goes on from what was found."""

POPULATION = 20
"""Looks of a generation of the genetic sampler."""

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
        self._volumes: list[float] = []
        self.done = False

    def run(
        self, starts: Iterable[Mapping[str, Any]], *, until: Deadline, longer: Callable[[], None] | None = None
    ) -> None:
        """Looks until no more is found, or the time is over; what is known already costs nothing.

        Args:
            starts: recipes that it begins with, as far as they lie within the space.
            longer: called when it goes on beyond the first `MODELLED` looks.
        """
        grid = self._choices.grid(min(SMALL, self._most))
        if grid is not None:
            self._look(grid, until)
            self.done = until.left > 0
            return
        asked = 0
        sampler = self._sampler(RANDOM if self._drawn else TPE, self._values([{}, *starts]))
        while asked < self._most and not self._still:
            if asked == MODELLED:
                if longer is not None:
                    longer()
                sampler = sampler if self._drawn else self._sampler(GENETIC, self._bred())
            batch = sampler.ask(min(BATCH, self._most - asked))
            asked += len(batch)
            looks = self._look(batch, until)
            if until.left <= 0:
                return
            sampler.tell([self._lookout.outcome(look) for look in looks])
            self._volumes.append(self._lookout.promises.hypervolume)
        self.done = True

    def _sampler(self, kind: str, first: Iterable[Values]) -> Sampler:
        objectives = len(self._lookout.promises.objectives)
        sampler = Sampler(self._choices.cuts, objectives=objectives, kind=kind, seed=self._seed, population=POPULATION)
        for values in first:
            sampler.propose(values)
        return sampler

    def _values(self, recipes: Iterable[Mapping[str, Any]]) -> list[Values]:
        """What decides recipes, as far as they lie within the space."""
        return [values for recipe in recipes if (values := self._choices.values(recipe)) is not None]

    def _bred(self) -> list[Values]:
        """The first generation of the genetic sampler: what stands for the front, and this with one value changed."""
        promises, draw = self._lookout.promises, random.Random(self._seed)
        found = promises.thinned(promises.front(wanted=self._of_base), POPULATION // 2)
        known = self._values(look.recipe for look in found) or self._values([{}])
        varied = [self._choices.varied(known[at % len(known)], draw) for at in range(POPULATION - len(known)) if known]
        return [*known, *varied]

    def _of_base(self, look: Look) -> bool:
        """Whether a look is at a cut of this scan's dense model."""
        values = None if look.epochs else self._choices.values(look.recipe)
        return values is not None and all(values[path] == value for path, value in self._base.items())

    def _look(self, values: list[Values], until: Deadline) -> list[Any]:
        return self._lookout.take([self._choices.recipe({**one, **self._base}) for one in values], until=until)

    @property
    def _still(self) -> bool:
        """Whether the hypervolume stands still."""
        done = len(self._volumes)
        if self._whole or done < (FEWEST if self._volumes and self._volumes[-1] else HOPEFUL):
            return False
        return self._volumes[-1] <= (1 + GROWTH) * self._volumes[-1 - round(EFFORT * done)]
