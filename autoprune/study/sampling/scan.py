"""The scan: thousands of looks at untrained recipes, batch by batch, until they find nothing more."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from autoprune.deadline import Deadline
from autoprune.measure.timing import on_threads
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
from autoprune.study.sampling.screening import DRAWN, Screening

BATCH = 6
"""Looks in a batch; more on a large cluster, see `Lookout.together`. Such large batches are not drawn by TPE, which
would take longer than the looks."""

UNDER_WAY = 2
"""So many batches are under way: workers go on with one while the sampler, told of the last, chooses another."""

ALONE, SCREENED = 20, 2 / 3
"""The sampler alone chooses so many looks; after that, this share of each batch is screened neighbours …"""

MODELLED = 300
"""… and from so many looks on, the rest are neighbours too: by then an ask of Optuna's TPE takes longer than a look."""

MOST_LOOKS = 3000
"""The default limit on the looks of a scan."""

FEWEST, FEWEST_LOOKS = 20, 200
"""A scan takes at least so many batches, and at least so many looks …"""

HOPEFUL = 4.5
"""… and so many times as many while nothing meets the requirements."""

SMALL = 200
"""If a space has no more untrained recipes, all of them are looked at."""

CARRIED = 10
"""At most so many looks of the front are repeated with each further dense model."""

DIGESTS = 2**14
"""Digests of recipes to remember: neighbours repeat often."""

BASE = Domain(path="base", kind="int")
"""The index of a dense model."""


class Scan:
    """Looks at untrained recipes of a space: of the first dense model, and of the others once they are trained.

    Args:
        choices: the open values of the space.
        lookout: takes the looks.
        drawn: whether all values are drawn at random, without learning.
        seed: of all random draws.
        most: limit on looks with the first dense model, and again on those after other dense models have joined.
        whole: whether to take `most` looks in any case; otherwise the scan ends when they find nothing more.

    Attributes:
        begun: whether it has begun.
        done: whether it has ended by itself, with the dense models that it has.
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
        self._requested: set[str] = set()  # digests of recipes
        self._digest_of = lru_cache(DIGESTS)(self._digest_of_items)
        self._values_of_key: dict[str, Values] = {}  # the values of this scan's looks, by key
        self._niches = Niches(choices.cuts, lookout.promises, seed=seed)
        self._growth = Growth()
        self._left = most  # looks that may still be requested
        self._pending: list[Values] = []  # values to look at in any case
        together = lookout.together(UNDER_WAY * BATCH, most=most)
        self._many, self._batch = together > UNDER_WAY * BATCH, together // UNDER_WAY
        self.begun = self.done = False

    def run(self, starts: Iterable[Mapping[str, Any]], *, until: Deadline, joined: bool = False) -> None:
        """Takes looks until they find nothing more, or the time is over; known looks cost nothing.

        Args:
            starts: recipes to begin with; those outside the space are skipped.
            until: when the time is over.
            joined: whether other dense models will join; then it stops for them after `MODELLED` looks.
        """
        self.begun, grid = True, self._grid
        if grid is not None:
            self._pending = grid
            self.go_on(until=until)
            return
        values = [values for recipe in [{}, *starts] if (values := self._choices.values(recipe)) is not None]
        most = min(self._most, MODELLED) if joined else self._most
        self._search(values, most, modelled=0 if self._many else MODELLED, until=until)

    def go_on(self, *, until: Deadline) -> None:
        """Continues a scan that ran out of time."""
        if self.done:
            return
        self.done = None not in self._look(self._pending, until)
        if self.done and self._grid is None:
            self._search([], self._left, modelled=0, until=until)

    def widen(self, bases: Sequence[Values], *, until: Deadline) -> None:
        """Continues with further dense models: looks that represent the front are repeated with each of them.

        Args:
            bases: settings of the further dense models.
            until: when the time is over.
        """
        front, self.done = self._lookout.promises.thinned([look for look, _ in self._niches.front], CARRIED), False
        indices = range(len(self._bases), len(self._bases) + len(bases))
        self._bases = [*self._bases, *bases]
        self._domains = [*self._choices.cuts, dataclasses.replace(BASE, high=len(self._bases) - 1)]
        grid = self._grid
        carried = grid or [self._values_of_key[look.key] for look in front] or [self._untouched]
        self._pending = [{**values, BASE.path: at} for at in indices for values in carried]
        self._left = max(0, self._most - len(self._pending))
        self.go_on(until=until)

    def _search(self, starts: Sequence[Values], most: int, *, modelled: int, until: Deadline) -> None:
        """Requests batches until they find nothing more, or there is no time for a new look; known looks take no time.

        Args:
            starts: values to begin with.
            most: at most so many looks.
            modelled: how many of these a learning sampler chooses.
            until: when the time is over.
        """
        self.done = over = False
        sampler, neighbours = self._sampler(TPE if modelled else RANDOM), Neighbours(self._domains, seed=self._seed)
        screening = Screening(self._domains, self._lookout.promises, used=self._used)
        for start in starts:
            sampler.propose(start)
        taken, self._growth = 0, Growth()
        in_flight: deque[tuple[list[Values], Batch]] = deque()
        while True:
            while taken < most and not self._has_converged and len(in_flight) < UNDER_WAY and not over:
                if sampler.learns and taken >= modelled:
                    sampler = self._sampler(RANDOM)
                count = min(self._batch, most - taken)
                near: list[Values] = []
                if taken >= min(ALONE, modelled):
                    under_way = [one for asked, _ in in_flight for one in asked]
                    near = self._screened(neighbours, screening, round(SCREENED * count), under_way)
                if taken >= modelled:
                    near += self._near(neighbours, count - len(near), known=self._requested)
                values = _values(sampler, count, near=near)
                taken += count
                in_flight.append((values, self._ask(values, until)))
            if not in_flight:
                break
            values, batch = in_flight.popleft()
            looks = self._wait(values, batch)
            over = over or None in looks
            if not over:
                sampler.tell([self._lookout.outcome(look) for look in looks])
                self._growth.add(self._lookout.promises)
                self._left -= len(values)
        self.done = self._left <= 0 or self._has_converged

    @property
    def _grid(self) -> list[Values] | None:
        """All values of the cuts, if they are few."""
        return self._choices.grid(min(SMALL, self._most))

    @property
    def _untouched(self) -> Values:
        """The values of the dense model itself, with arbitrary ones for parameters that it does not use."""
        given = self._choices.values({}) or {}
        return {domain.path: given.get(domain.path, domain.ends()[0]) for domain in self._choices.cuts}

    @property
    def _nearest(self) -> list[Values]:
        """The values of the looks that miss the requirements by least, the largest last."""
        nearest = self._lookout.promises.nearest()
        untrained = [look for look in nearest if look.key in self._values_of_key and not look.epochs][:CARRIED]
        return [self._values_of_key[look.key] for look in sorted(untrained, key=lambda look: look.size_bytes)]

    def _sampler(self, kind: str) -> Sampler:
        objectives = len(self._lookout.promises.objectives)
        kind = RANDOM if self._drawn else kind
        return Sampler(self._domains, objectives=objectives, kind=kind, seed=self._seed)

    def _near(self, neighbours: Neighbours, count: int, *, known: set[str]) -> list[Values]:
        """Up to `count` neighbours of the front or, if nothing is feasible, of the nearest looks; none is known."""
        nearest = [] if self._niches.front else self._nearest
        if self._drawn or not count or not (nearest or self._niches.front):
            return []
        return draw_new(
            lambda: neighbours.of(nearest or [values for _, values in self._niches.drawn()]),
            count,
            key=self._digest,
            known=known,
        )

    def _screened(
        self, neighbours: Neighbours, screening: Screening, count: int, under_way: Sequence[Values]
    ) -> list[Values]:
        """Up to `count` of many neighbours, the most promising beside the front and what is under way."""
        known, drawn = set(self._requested), max(DRAWN, 2 * count)
        first = self._near(neighbours, drawn, known=known)
        with on_threads(1):  # the cores are taking looks
            if first and screening.learn(self._niches.found):
                chosen = screening.chosen(
                    count,
                    beside=[*(values for _, values in self._niches.front), *under_way],
                    first=first,
                    more=lambda best: draw_new(lambda: neighbours.of(best), drawn, key=self._digest, known=known),
                )
            else:
                chosen = first[:count]
        self._requested |= {self._digest(values) for values in chosen}
        return chosen

    def _used(self, values: Values) -> Values:
        return {**self._choices.used(values), BASE.path: values.get(BASE.path, 0)}

    def _digest(self, values: Values) -> str:
        """The digest of the recipe that values lead to."""
        return self._digest_of(tuple(sorted(values.items())))

    def _digest_of_items(self, items: tuple[tuple[str, Any], ...]) -> str:
        return digest(self._recipe(dict(items)))

    def _recipe(self, values: Values) -> Recipe:
        return self._choices.recipe({**values, **self._bases[values[BASE.path]]})

    def _look(self, values: Sequence[Values], until: Deadline) -> list[Look | None]:
        return self._wait(values, self._ask(values, until))

    def _ask(self, values: Sequence[Values], until: Deadline) -> Batch:
        recipes = [self._recipe({BASE.path: 0, **one}) for one in values]
        self._requested |= {digest(recipe) for recipe in recipes}
        return self._lookout.ask(recipes, until=until)

    def _wait(self, values: Sequence[Values], batch: Batch) -> list[Look | None]:
        looks = self._lookout.wait(batch)
        for look, one in zip(looks, values, strict=True):
            if look is not None and look.key not in self._values_of_key:
                self._values_of_key[look.key] = {BASE.path: 0, **one}
                self._niches.add(look, self._values_of_key[look.key])
        return looks

    @property
    def _has_converged(self) -> bool:
        """Whether the looks find nothing more."""
        fewest = max(FEWEST, -(-FEWEST_LOOKS // self._batch))
        feasible = bool(self._growth.volumes) and self._growth.volumes[-1] > 0
        return not self._whole and self._growth.is_over(fewest if feasible else round(HOPEFUL * fewest))


def _values(sampler: Sampler, count: int, *, near: Sequence[Values]) -> list[Values]:
    """`count` values: the given neighbours, then the sampler's. A learning sampler is told about the neighbours too."""
    if not sampler.learns:
        return [*near, *sampler.ask(count - len(near))]
    for values in near:
        sampler.propose(values)
    return sampler.ask(count)
