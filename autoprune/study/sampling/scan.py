"""The scan: looks by the thousand at what needs no training, a batch at a time, until they find no more."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autoprune.deadline import Deadline
from autoprune.recipes.domain import Domain
from autoprune.recipes.nodes import Recipe
from autoprune.recipes.recipe import digest
from autoprune.record.looks import Look
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.dispatcher import Batch
from autoprune.study.sampling.growth import Growth
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.neighbours import Neighbours, draw_new
from autoprune.study.sampling.niches import Niches
from autoprune.study.sampling.sampler import RANDOM, TPE, Sampler, Values

BATCH = 10
"""Looks that are asked for together; more for a large cluster, see `Lookout.together`. TPE is not asked for those, as
it takes longer than they do …"""

UNDER_WAY = 2
"""… and they come as so many batches at a time, so that the next is there when the last looks of one are awaited."""

ALONE = 20
"""Looks for which a sampler is asked alone; then half of each batch are neighbours of what was found …"""

MODELLED = 300
"""… and from so many on all are: Optuna's TPE models what pays, and an ask takes longer than a look by then."""

MOST_LOOKS = 3000
"""Looks of a scan, at most, where nobody says how many."""

FEWEST = 20
"""Batches that are looked at in any case before a scan ends …"""

HOPEFUL = 90
"""… and while nothing meets the requirements."""

SMALL = 200
"""A space of no more untrained recipes is looked at whole."""

CARRIED = 10
"""Looks of the front that are taken again with each further dense model."""

BASE = Domain(path="base", kind="int")
"""Which of the dense models."""


class Scan:
    """Looks at untrained recipes of a space: of the first dense model, and of others once they are there.

    Args:
        choices: what is open.
        lookout: takes the looks.
        drawn: whether all values are drawn, and nothing is learned.
        seed: of everything that is drawn.
        most: looks that are asked for with the first dense model, and as many again once there are others, at most.
        whole: whether so many are asked for in any case; else until they find no more.

    Attributes:
        begun: whether it has begun.
        done: whether it has come to its end, as far as there are dense models.
    """

    def __init__(
        self,
        choices: Choices,
        lookout: Lookout,
        *,
        drawn: bool,
        seed: int,
        most: int = MOST_LOOKS,
        whole: bool = False,
    ) -> None:
        self._choices, self._lookout = choices, lookout
        self._drawn, self._seed = drawn, seed
        self._most, self._whole = most, whole
        self._bases = choices.bases[:1]
        self._domains = list(choices.cuts)
        self._asked: set[str] = set()  # digests of recipes
        self._digests: dict[tuple[tuple[str, Any], ...], str] = {}  # by values: neighbours are drawn again and again
        self._taken: dict[str, Values] = {}  # what decides the looks of this scan, by their keys
        self._niches = Niches(choices.cuts, lookout.promises, seed=seed)
        self._growth = Growth()
        self._left = most  # looks that may still be asked for
        self._due: list[Values] = []  # what is looked at in any case
        together = lookout.together(BATCH, most=most)
        self._many = together > BATCH
        self._batch, self._at_once = (together // UNDER_WAY, UNDER_WAY) if self._many else (together, 1)
        self.begun = self.done = False

    def run(self, starts: Iterable[Mapping[str, Any]], *, until: Deadline, joined: bool = False) -> None:
        """Looks until no more is found, or the time is over; what is known already costs nothing.

        Args:
            starts: recipes that it begins with, as far as they lie within the space.
            joined: whether other dense models are to join it: then it stops for them after `MODELLED` looks.
        """
        self.begun, grid = True, self._grid
        if grid is not None:
            self._due = grid
            self.go_on(until=until)
            return
        values = [values for recipe in [{}, *starts] if (values := self._choices.values(recipe)) is not None]
        most = min(self._most, MODELLED) if joined else self._most
        self._search(values, most, modelled=0 if self._many else MODELLED, until=until)

    def go_on(self, *, until: Deadline) -> None:
        """Goes on where its time was over."""
        if self.done:
            return
        self.done = None not in self._look(self._due, until)
        if self.done and self._grid is None:
            self._search([], self._left, modelled=0, until=until)

    def widen(self, bases: Sequence[Values], *, until: Deadline) -> None:
        """Goes on with other dense models beside the first: what stands for the front is looked at with each of them.

        Args:
            bases: their settings.
        """
        front, self.done = self._lookout.promises.thinned([look for look, _ in self._niches.front], CARRIED), False
        others = range(len(self._bases), len(self._bases) + len(bases))
        self._bases = [*self._bases, *bases]
        self._domains = [*self._choices.cuts, dataclasses.replace(BASE, high=len(self._bases) - 1)]
        grid = self._grid
        carried = grid or [self._taken[look.key] for look in front] or [self._untouched]
        self._due = [{**values, BASE.path: at} for at in others for values in carried]
        self._left = max(0, self._most - len(self._due))
        self.go_on(until=until)

    def _search(self, starts: Sequence[Values], most: int, *, modelled: int, until: Deadline) -> None:
        """Asks for batches until there is no time for a look that is not known; known ones take none.

        Args:
            modelled: looks of these for which a sampler that learns is asked.
        """
        self.done = over = False
        sampler, near = self._sampler(TPE if modelled else RANDOM), Neighbours(self._domains, seed=self._seed)
        for start in starts:
            sampler.propose(start)
        taken, self._growth = 0, Growth()
        coming: deque[tuple[list[Values], Batch]] = deque()
        while True:
            while taken < most and not self._still and len(coming) < self._at_once and not over:
                if taken and taken == modelled:
                    sampler = self._sampler(RANDOM)
                count = min(self._batch, most - taken)
                share = count if taken >= modelled else count // 2 if taken >= ALONE else 0
                values = _values(sampler, count, near=self._near(near, share))
                taken += count
                coming.append((values, self._ask(values, until)))
            if not coming:
                break
            values, batch = coming.popleft()
            looks = self._wait(values, batch)
            over = over or None in looks
            if not over:
                sampler.tell([self._lookout.outcome(look) for look in looks])
                self._growth.add(self._lookout.promises)
                self._left -= len(values)
        self.done = self._left <= 0 or self._still

    @property
    def _grid(self) -> list[Values] | None:
        """All cuts, where they are few."""
        return self._choices.grid(min(SMALL, self._most))

    @property
    def _untouched(self) -> Values:
        """What decides the dense model itself, with something for what is idle then."""
        said = self._choices.values({}) or {}
        return {domain.path: said.get(domain.path, domain.ends()[0]) for domain in self._choices.cuts}

    @property
    def _nearest(self) -> list[Values]:
        """Of what misses the requirements by least, the largest last."""
        nearest = self._lookout.promises.nearest()
        mine = [look for look in nearest if look.key in self._taken and not look.epochs][:CARRIED]
        return [self._taken[look.key] for look in sorted(mine, key=lambda look: look.size_bytes)]

    def _sampler(self, kind: str) -> Sampler:
        objectives = len(self._lookout.promises.objectives)
        kind = RANDOM if self._drawn else kind
        return Sampler(self._domains, objectives=objectives, kind=kind, seed=self._seed)

    def _near(self, neighbours: Neighbours, count: int) -> list[Values]:
        """Neighbours of the front, or of the nearest where nothing holds, that were not asked for; at most so many."""
        nearest = [] if self._niches.front else self._nearest
        if self._drawn or not count or not (nearest or self._niches.front):
            return []
        return draw_new(
            lambda: neighbours.of(nearest or [values for _, values in self._niches.drawn()]),
            count,
            key=self._digest,
            known=self._asked,
        )

    def _digest(self, values: Values) -> str:
        """Of the recipe that some values decide."""
        drawn = tuple(sorted(values.items()))
        if drawn not in self._digests:
            self._digests[drawn] = digest(self._recipe(values))
        return self._digests[drawn]

    def _recipe(self, values: Values) -> Recipe:
        return self._choices.recipe({**values, **self._bases[values[BASE.path]]})

    def _look(self, values: Sequence[Values], until: Deadline) -> list[Look | None]:
        return self._wait(values, self._ask(values, until))

    def _ask(self, values: Sequence[Values], until: Deadline) -> Batch:
        recipes = [self._recipe({BASE.path: 0, **one}) for one in values]
        self._asked |= {digest(recipe) for recipe in recipes}
        return self._lookout.ask(recipes, until=until)

    def _wait(self, values: Sequence[Values], batch: Batch) -> list[Look | None]:
        looks = self._lookout.wait(batch)
        for look, one in zip(looks, values, strict=True):
            if look is not None and look.key not in self._taken:
                self._taken[look.key] = {BASE.path: 0, **one}
                self._niches.add(look, self._taken[look.key])
        return looks

    @property
    def _still(self) -> bool:
        """Whether no more is found."""
        volumes = self._growth.volumes
        return not self._whole and self._growth.is_over(FEWEST if volumes and volumes[-1] else HOPEFUL)


def _values(sampler: Sampler, count: int, *, near: Sequence[Values]) -> list[Values]:
    """So many values, of which some are given. A sampler that learns is to know of these as well."""
    if not sampler.learns:
        return [*near, *sampler.ask(count - len(near))]
    for values in near:
        sampler.propose(values)
    return sampler.ask(count)
