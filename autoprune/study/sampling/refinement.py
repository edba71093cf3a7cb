"""Refinement: tries other codes on trained models; each try costs a look, and no training while the checkpoint is kept.

The best codes after training are not those before it: a model that has learned to do without most of its rows may lose
more by coarse codes, or less. So neighbours of the trained recipes are drawn, in the stages after the last training.
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
"""Looks that are requested together; more on a large cluster, see `Lookout.together`."""

FEWEST = 20
"""Batches that are looked at in any case."""

MOST_LOOKS = 1000
"""At most so many looks in total."""


class Refinement:
    """Looks at neighbours of trained recipes that share their training.

    Args:
        choices: the open values of the space.
        lookout: takes the looks, and knows those of training.
        seed: of all random draws.
        most: at most so many looks.

    Attributes:
        done: whether it ended by itself, not for lack of time.
    """

    def __init__(self, choices: Choices, lookout: Lookout, *, seed: int, most: int = MOST_LOOKS) -> None:
        self._choices, self._lookout = choices, lookout
        self._seed, self._draw = seed, random.Random(seed)
        self._niches = Niches(choices.cuts, lookout.promises, seed=seed)
        self._neighbours: dict[tuple[str, ...], Neighbours] = {}  # by the paths that may differ
        self._known: set[str] = set()  # digests of recipes
        self._left = most
        self.done = False

    def run(self, *, until: Deadline) -> None:
        """Takes looks until they find nothing new, or the time is over."""
        growth, size = Growth(), self._lookout.together(BATCH, most=MOST_LOOKS)
        self._add(self._lookout.promises.looks)
        over = False  # whether there was no time for a look
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
        """Adds the looks that are fully trained and have stages after the training."""
        for look in looks:
            if look and look.epochs and look.done and self._choices.after_training(look.recipe):
                values = self._choices.values(look.recipe)
                if values is not None:
                    self._known.add(digest(self._choices.recipe(values)))
                    self._niches.add(look, values)

    def _near(self, count: int) -> list[tuple[Recipe, int]]:
        """Up to `count` new neighbours of the trained recipes, with their epochs."""
        if not self._niches.front:
            return []
        return draw_new(self._drawn, count, key=lambda drawn: digest(drawn[0]), known=self._known)

    def _drawn(self) -> tuple[Recipe, int]:
        parents = self._niches.drawn()
        at = self._draw.randrange(len(parents))
        look, values = parents[at]
        neighbour = self._neighbour(look, values, parents[max(0, at - NEAR) : at + NEAR + 1])
        return self._choices.recipe(neighbour), look.of_epochs

    def _neighbour(self, look: Look, values: Values, nearby: Sequence[Found]) -> Values:
        """Values with the same training, and codes near those of looks next to it on the front."""
        later = self._choices.after_training(look.recipe)
        paths = tuple(domain.path for domain in later)
        if paths not in self._neighbours:
            self._neighbours[paths] = Neighbours(later, seed=self._seed)
        idle = {domain.path: self._draw.choice(domain.listed() or domain.ends()) for domain in later}
        coded = [{path: theirs.get(path, idle[path]) for path in paths} for _, theirs in nearby]
        return self._neighbours[paths].of([{**values, **one} for one in coded])
