"""Refinement: what was trained is coded otherwise, which costs a look, and no training while its checkpoint is kept.

What pays after training is not what paid before: a model that learned to do without most of its rows has more to lose
by coarse codes, or less. So neighbours are asked for of what was found, of their stages after the last that trains.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from autoprune.deadline import Deadline
from autoprune.recipes.nodes import Recipe
from autoprune.recipes.recipe import digest
from autoprune.record.looks import Look
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.growth import Growth
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.neighbours import NEAR, Neighbours, draw_new
from autoprune.study.sampling.niches import Found, Niches
from autoprune.study.sampling.sampler import Values

BATCH = 10
"""Looks that are asked for together; more for a large cluster, see `Lookout.together`."""

FEWEST = 20
"""Batches in any case."""

MOST_LOOKS = 1000
"""Looks in all, at most."""


class Refinement:
    """Looks at neighbours of what was trained, which share its training.

    Args:
        choices: what is open.
        lookout: takes the looks, and knows those of training.
        seed: of everything that is drawn.
        most: looks, at most.

    Attributes:
        done: whether it has come to its end.
    """

    def __init__(self, choices: Choices, lookout: Lookout, *, seed: int, most: int = MOST_LOOKS) -> None:
        self._choices, self._lookout = choices, lookout
        self._seed, self._draw = seed, random.Random(seed)
        self._niches = Niches(choices.cuts, lookout.promises, seed=seed)
        self._neighbours: dict[tuple[str, ...], Neighbours] = {}  # by what they may differ in
        self._known: set[str] = set()  # digests of recipes
        self._left = most
        self.done = False

    def run(self, *, until: Deadline) -> None:
        """Looks until nothing new is found, or the time is over."""
        growth, size = Growth(), self._lookout.together(BATCH, most=MOST_LOOKS)
        self._add(self._lookout.promises.looks)
        over = False  # once there is no time for a look that is not known
        while not over and not growth.is_over(FEWEST):
            near = self._near(min(size, self._left))
            if not near:
                break
            self._left -= len(near)
            looks = self._lookout.take([one for one, _ in near], epochs=[most for _, most in near], until=until)
            self._add(looks)
            growth.add(self._lookout.promises)
            over = None in looks
        self.done = not over

    def _add(self, looks: Iterable[Look | None]) -> None:
        """Takes in what was trained to the end, and has stages after that."""
        for look in looks:
            if look and look.epochs and look.done and self._choices.after_training(look.recipe):
                values = self._choices.values(look.recipe)
                if values is not None:
                    self._known.add(digest(self._choices.recipe(values)))
                    self._niches.add(look, values)

    def _near(self, count: int) -> list[tuple[Recipe, int]]:
        """New neighbours of what was trained, and their epochs; fewer where few are new."""
        if not self._niches.front:
            return []
        return draw_new(self._drawn, count, key=lambda drawn: digest(drawn[0]), known=self._known)

    def _drawn(self) -> tuple[Recipe, int]:
        parents = self._niches.drawn()
        at = self._draw.randrange(len(parents))
        look, values = parents[at]
        neighbour = self._neighbour(look, values, parents[max(0, at - NEAR) : at + NEAR + 1])
        return self._choices.recipe(neighbour), look.of_epochs

    def _neighbour(self, look: Look, values: Values, around: Sequence[Found]) -> Values:
        """Values of the same training, followed by what is near to that of others beside it on the front."""
        later = self._choices.after_training(look.recipe)
        paths = tuple(domain.path for domain in later)
        if paths not in self._neighbours:
            self._neighbours[paths] = Neighbours(later, seed=self._seed)
        idle = {domain.path: self._draw.choice(domain.listed() or domain.ends()) for domain in later}
        coded = [{path: theirs.get(path, idle[path]) for path in paths} for _, theirs in around]
        return self._neighbours[paths].of([{**values, **one} for one in coded])
