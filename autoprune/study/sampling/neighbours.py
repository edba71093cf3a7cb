"""Neighbours of recipes on a front: two of them crossed, and a few values moved a few steps.

As in evolutionary search (Deb et al. 2002, "NSGA-II"), but with a whole front as parents and without generations: with
a few hundred looks, none is spent on building a population.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from autoprune.recipes.domain import Domain
from autoprune.study.sampling.sampler import Values

CROSSED = 0.5
"""The share of neighbours with two parents."""

NEAR = 2
"""How many positions apart on the front two parents may be."""

MOVED = (0, 1, 1, 2)
"""How many values are moved, each entry equally likely …"""

SPAN = 0.25
"""… by at most this share of their range."""

TRIES = 20
"""At most so many are drawn for each new one that is wanted."""

Drawn = TypeVar("Drawn")


class Neighbours:
    """Draws neighbours.

    Args:
        domains: the open values.
        seed: of all random draws.
    """

    def __init__(self, domains: Sequence[Domain], *, seed: int) -> None:
        self._domains, self._draw = domains, random.Random(seed)

    def of(self, found: Sequence[Values]) -> Values:
        """A neighbour of one of `found`, which must be sorted by size; it may be a known one."""
        at = self._draw.randrange(len(found))
        values = dict(found[at])
        if len(found) > 1 and self._draw.random() < CROSSED:
            mate = found[min(len(found) - 1, max(0, at + self._draw.choice((-1, 1)) * self._draw.randint(1, NEAR)))]
            values = {path: self._draw.choice((value, mate[path])) for path, value in values.items()}
        for domain in self._draw.sample(list(self._domains), min(len(self._domains), self._draw.choice(MOVED))):
            values[domain.path] = self._moved(domain, values[domain.path])
        return values

    def _moved(self, domain: Domain, value: Any) -> Any:
        if domain.options:
            return self._draw.choice([option for option in domain.options if option != value] or [value])
        listed = domain.listed()
        if not listed:
            return self._moved_between(domain, value)
        nearest = min(range(len(listed)), key=lambda at: abs(listed[at] - value))
        steps = max(1, round(SPAN * (len(listed) - 1)))
        at = nearest + self._draw.choice((-1, 1)) * self._draw.randint(1, steps)
        return listed[min(len(listed) - 1, max(0, at))]

    def _moved_between(self, domain: Domain, value: float) -> float:
        """Moves a value within a range without steps, or within the logarithm of the range."""
        to, back = (math.log, math.exp) if domain.log else (float, float)
        low, high = to(domain.low), to(domain.high)
        moved = back(min(high, max(low, to(value) + self._draw.uniform(-SPAN, SPAN) * (high - low))))
        kept = min(domain.high, max(domain.low, moved))
        return round(kept) if domain.kind == "int" else kept


def draw_new(draw: Callable[[], Drawn], count: int, *, key: Callable[[Drawn], str], known: set[str]) -> list[Drawn]:
    """Draws `count` new items, or fewer if few are new.

    Args:
        draw: draws one item.
        key: of an item.
        known: keys of known items; those of the returned items are added.
    """
    new: list[Drawn] = []
    for _ in range(TRIES * count):
        drawn = draw()
        name = key(drawn)
        if name not in known:
            known.add(name)
            new.append(drawn)
        if len(new) == count:
            break
    return new
