"""Screening: many neighbours are drawn for each that is looked at, and a surrogate chooses the most promising.

A prediction takes less than a millisecond, a look at a small recommender a tenth of a second (surrogate-assisted
evolution; Jin 2011, "Surrogate-assisted evolutionary computation"). Neighbours of the most promising are drawn too, so
that a screening goes several steps beyond the front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from autoprune.fronts.pareto import adding_most
from autoprune.fronts.promises import Promises
from autoprune.recipes.domain import Domain
from autoprune.study.sampling.niches import Found
from autoprune.study.sampling.sampler import Values
from autoprune.study.sampling.surrogate import MOST, Array, Surrogate

DRAWN, GENERATIONS = 60, 3
"""About so many neighbours are drawn in each generation: of what was looked at, then of the most promising so far."""

OPTIMISM = 1.5
"""What is chosen is what would be best if every prediction were better by so many standard errors, so that what is
hardly known is tried too (Srinivas et al. 2010, "Gaussian Process Optimization in the Bandit Setting"). Without it, a
scan stayed with the first alternative that led."""

FEWEST = 10
"""Looks from which a surrogate can learn."""


class Screening:
    """Chooses what to look at next.

    Args:
        domains: the open values.
        promises: what the looks promise.
        used: returns those of some values that their recipe uses.
    """

    def __init__(self, domains: Sequence[Domain], promises: Promises, *, used: Callable[[Values], Values]) -> None:
        self._surrogate, self._promises, self._used = Surrogate(domains), promises, used
        self._learned = 0  # looks

    def learn(self, found: Sequence[Found]) -> bool:
        """Learns from all looks so far, unless they are few; returns whether it did."""
        if len(found) < FEWEST:
            return False
        used = [self._used(values) for _, values in found[self._learned :]]
        self._surrogate.learn(used[-MOST:], [self._promises.standing(look) for look, _ in found[-MOST:]])
        self._learned = len(found)
        return True

    def chosen(
        self,
        count: int,
        *,
        beside: Sequence[Values],
        first: Sequence[Values],
        more: Callable[[Sequence[Values]], list[Values]],
    ) -> list[Values]:
        """The most promising of some values and their descendants.

        Args:
            count: how many, at most.
            beside: the values of the front, and of looks that are under way; what they cover promises nothing more.
            first: the values of the first generation.
            more: draws new neighbours of some values, which are sorted by size.
        """
        # The front counts as it is expected to be, since those of its looks that were lucky would hide others.
        covered = _covers(self._expected(beside, optimism=0.0)) if beside else []
        drawn, expected = list(first), self._expected(first)
        for _ in range(GENERATIONS - 1):
            parents = self._best(expected, 2 * count, covered)
            children = more([drawn[at] for at in parents]) if parents else []
            if children:
                drawn, expected = [*drawn, *children], np.concatenate([expected, self._expected(children)])
        return [drawn[at] for at in self._best(expected, count, covered)]

    def _expected(self, values: Sequence[Values], *, optimism: float = OPTIMISM) -> Array:
        """The gains of recipes and, last, the largest miss; [recipes, targets]."""
        expected, errors = self._surrogate.predict([self._used(one) for one in values])
        better: Array = expected + optimism * errors * ([1.0] * (expected.shape[1] - 1) + [-1.0])
        return better

    def _best(self, expected: Array, count: int, covered: Sequence[Sequence[float]]) -> list[int]:
        """What is expected to cover most beside what is covered; while nothing is, what misses the requirements least.

        Returns:
            Positions, the smallest recipe first.
        """
        best = adding_most(_covers(expected), count, beside=covered)
        if not any(map(any, covered)):
            nearest = np.argsort(expected[:, -1], kind="stable")
            best += [int(at) for at in nearest if at not in best][: count - len(best)]
        gain = self._promises.objectives.index("size") if "size" in self._promises.objectives else 0
        return sorted(best, key=lambda at: -expected[at, gain])


def _covers(expected: Array) -> list[list[float]]:
    """The gains that are expected, or nothing if a requirement is expected to be missed."""
    return [list(gains) if missed <= 0 else [0.0] * len(gains) for *gains, missed in expected]
