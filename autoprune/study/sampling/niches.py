"""Niches: what was found, apart by the alternatives of the space that it chose.

An alternative that is ahead early fills the front. If only the front had neighbours, little more would be heard of the
others, though they may be better where they are tuned as well. So neighbours are also drawn of the front that an
alternative has by itself, the more often the more that front covers (niching; Mahfoud 1995, "Niching Methods for
Genetic Algorithms").
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from autoprune.fronts.promises import Promises
from autoprune.recipes.domain import Domain
from autoprune.record.looks import Look
from autoprune.study.sampling.sampler import Values

Found = tuple[Look, Values]
"""A look, and what decides its recipe."""

Niche = tuple[str, ...]
"""A choice, by its path, and an alternative; nothing: all that was found."""

WHOLE = 0.5
"""Of the neighbours, those of the whole front."""

SHARPNESS = 2
"""To what power it counts how much an alternative covers, among those of one choice."""


class Niches:
    """The front of some looks, and that of each alternative.

    Args:
        domains: what is open.
        promises: holds looks to the requirements.
        seed: of everything that is drawn.
    """

    def __init__(self, domains: Sequence[Domain], promises: Promises, *, seed: int) -> None:
        self._paths = [domain.path for domain in domains if domain.kind == "choose"]
        self._promises, self._draw = promises, random.Random(seed)
        self._fronts: dict[Niche, list[Found]] = {(): []}
        self._covered: dict[Niche, float] = {}  # what is known of them
        self._added: list[Found] = []
        self._read = promises.turns

    def add(self, look: Look, values: Values) -> None:
        """Takes in a look."""
        if look.failed:
            return
        self._added.append((look, values))
        if self._read == self._promises.turns:
            self._place(look, values)

    def _refresh(self) -> None:
        """Finds all fronts anew if looks are read otherwise by now."""
        if self._read != self._promises.turns:
            self._read, self._fronts, self._covered = self._promises.turns, {(): []}, {}
            for look, values in self._added:
                self._place(look, values)

    def _place(self, look: Look, values: Values) -> None:
        for niche in [(), *((path, values[path]) for path in self._paths if path in values)]:
            among = {
                (one.key, one.epochs): (one, theirs) for one, theirs in [*self._fronts.get(niche, []), (look, values)]
            }
            best = self._promises.front(among=[self._promises.dense, *(one for one, _ in among.values())])
            found = [among[one.key, one.epochs] for one in best]
            self._fronts[niche] = sorted(found, key=lambda pair: pair[0].size_bytes)
            self._covered.pop(niche, None)

    @property
    def front(self) -> list[Found]:
        """That of all of them, the smallest first."""
        self._refresh()
        return self._fronts[()]

    def drawn(self) -> list[Found]:
        """The whole front, or that of an alternative; the smallest first."""
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
