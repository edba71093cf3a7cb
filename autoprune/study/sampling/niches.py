"""Niches: the looks, grouped by the alternatives of the space that they chose.

An alternative, such as a method or an importance, that leads early fills the front. If only the front had neighbours,
the others would hardly be tried again, although they may be better once they are tuned as well. So neighbours are also
drawn from the front of a single alternative, the more often the more that front covers (niching; Mahfoud 1995, "Niching
Methods for Genetic Algorithms").
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from autoprune.fronts.promises import Promises
from autoprune.recipes.domain import Domain
from autoprune.record.looks import Look
from autoprune.study.sampling.sampler import Values

Found = tuple[Look, Values]
"""A look and the values of its recipe."""

Niche = tuple[str, ...]
"""The path of a choice and one of its alternatives; empty for all looks."""

WHOLE = 0.5
"""The share of neighbours that are drawn from the whole front."""

SHARPNESS = 2
"""The alternatives of a choice are drawn in proportion to this power of what they cover."""


class Niches:
    """The front of all looks, and the front of each alternative.

    Args:
        domains: the open values.
        promises: checks looks against the requirements.
        seed: of all random draws.

    Attributes:
        found: what was added, failed looks too.
    """

    def __init__(self, domains: Sequence[Domain], promises: Promises, *, seed: int) -> None:
        self._paths = [domain.path for domain in domains if len(domain.options) > 1]
        self._promises, self._draw = promises, random.Random(seed)
        self._fronts: dict[Niche, list[Found]] = {(): []}
        self._covered: dict[Niche, float] = {}  # by niche, as far as it has been computed
        self.found: list[Found] = []
        self._turns = promises.turns

    def add(self, look: Look, values: Values) -> None:
        """Adds a look."""
        self.found.append((look, values))
        if look.failed:
            return
        if self._turns == self._promises.turns:
            self._place(look, values)

    def _refresh(self) -> None:
        """Recomputes all fronts if looks are now read differently."""
        if self._turns != self._promises.turns:
            self._turns, self._fronts, self._covered = self._promises.turns, {(): []}, {}
            for look, values in self.found:
                if not look.failed:
                    self._place(look, values)

    def _place(self, look: Look, values: Values) -> None:
        for niche in [(), *((path, values[path]) for path in self._paths if path in values)]:
            by_name = {
                (one.key, one.epochs): (one, theirs) for one, theirs in [*self._fronts.get(niche, []), (look, values)]
            }
            best = self._promises.front(among=[self._promises.dense, *(one for one, _ in by_name.values())])
            front = [by_name[one.key, one.epochs] for one in best]
            self._fronts[niche] = sorted(front, key=lambda pair: pair[0].size_bytes)
            self._covered.pop(niche, None)

    @property
    def front(self) -> list[Found]:
        """The front of all looks, the smallest first."""
        self._refresh()
        return self._fronts[()]

    def drawn(self) -> list[Found]:
        """Draws the whole front or that of one alternative; the smallest first."""
        self._refresh()
        if not self._paths or self._draw.random() < WHOLE:
            return self.front
        path = self._draw.choice(self._paths)
        niches = [niche for niche in self._fronts if niche and niche[0] == path]
        covered = [self._covers(niche) ** SHARPNESS for niche in niches]
        return self._fronts[self._draw.choices(niches, covered)[0]] if any(covered) else self.front

    def _covers(self, niche: Niche) -> float:
        if niche not in self._covered:
            self._covered[niche] = self._promises.covered([look for look, _ in self._fronts[niche]])
        return self._covered[niche]
