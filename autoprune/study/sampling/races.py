"""Races: recipes are trained part of the way, and the most promising ones are trained to the end.

Successive halving (Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization")
for several objectives; see `autoprune.study.sampling.promotion`. Optuna's own pruners take one objective.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from statistics import median

from autoprune.deadline import Deadline
from autoprune.recipes.nodes import Recipe
from autoprune.recipes.recipe import digest
from autoprune.record.looks import Look
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.dispatcher import Batch, Name
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.promotion import Promotion

FIRST = 0.25
"""The share of the epochs before the first decision."""

GO_ON = 0.5
"""The share of a cohort that continues after it, if there is time for so many …"""

SAFELY = 0.9
"""… of which only this share is allotted, since estimated seconds are uncertain."""

RUN = FIRST + GO_ON * (1 - FIRST)
"""The share of its recipes' epochs that a whole race trains."""

RELATIVES = 16
"""At most so many recipes that share a finished training are also looked at."""

Race = Generator[Batch, list[Look | None], list[Look | None]]
"""Yields batches to wait for, is sent their looks, and returns the looks that its recipes reached."""


class Races:
    """Runs races as generators, so that the caller can advance several in turn.

    Args:
        choices: the open values of the space.
        lookout: takes the looks.
        promotion: chooses the recipes that continue.
        epochs: returns the epochs of a recipe.
        coded: looks whose codes are tried on every fully trained recipe.
        at_once: races that share the time.
        until: when the time is over.

    Attributes:
        curtailed: whether there was too little time for all recipes that should have continued.
    """

    def __init__(
        self,
        choices: Choices,
        lookout: Lookout,
        promotion: Promotion,
        *,
        epochs: Callable[[Recipe], int],
        coded: Sequence[Look] = (),
        at_once: int = 1,
        until: Deadline,
    ) -> None:
        self._choices, self._lookout, self._promotion, self._epochs = choices, lookout, promotion, epochs
        self._coded, self._at_once, self._until = coded, at_once, until
        self.curtailed = False

    def race(self, recipes: Sequence[Recipe]) -> Race:
        """A race of recipes; returns the look that each reached, at its end or at the rung where it was stopped."""
        until = self._until
        epochs = [self._epochs(recipe) for recipe in recipes]
        starts = yield self._lookout.ask(recipes, until=until)
        places = {digest(recipe): at for at, recipe in enumerate(recipes)}
        looks, racing = list(starts), [at for at in places.values() if epochs[at]]
        for share in (FIRST, 1.0):
            racing = [at for at in racing if (look := looks[at]) is not None and not look.failed]
            reached = {at: math.ceil(share * epochs[at]) for at in racing}
            ends = Deadline.after(until.left * _part(reached, epochs))
            results = yield self._lookout.ask([recipes[at] for at in racing], epochs=[*reached.values()], until=ends)
            for at, look in zip(racing, results, strict=True):
                looks[at] = look
            if share < 1:
                racing = self.promoted(racing, starts, looks)
        self._promotion.end(looks)
        trained = {look.key: look for at in racing if (look := looks[at]) is not None}
        raced = [look and trained.get(look.key, look) for look in (looks[places[digest(one)]] for one in recipes)]
        if related := self._relatives([look for look in raced if look and look.done and look.epochs]):
            yield self._lookout.ask(
                [recipe for recipe, _ in related], epochs=[most for _, most in related], until=until
            )
        self.curtailed = self.curtailed or None in raced
        return raced

    def promoted(self, racing: Sequence[int], starts: Sequence[Look | None], looks: Sequence[Look | None]) -> list[int]:
        """Positions of the recipes to train further, best first: half of the cohort, without hopeless ones.

        It is fewer if there is no time for half, since nothing is made of a recipe that is not fully trained. Recipes
        whose final look is on record always continue, so that a resumed search keeps its results.

        Args:
            racing: positions of the recipes that are still in the race.
            starts, looks: of all recipes, by position: untrained, and after the first rung.
        """
        on_record = set[Name]() if math.isinf(self._until.left) else self._lookout.looks.found
        seen, ended, hopeful = set[str](), dict[int, Look](), dict[int, Look]()
        for at in racing:
            look = looks[at]
            if look is None or look.failed or look.done or look.key in seen:
                continue
            seen.add(look.key)
            if (look.key, look.of_epochs) in on_record:
                ended[at] = look
            elif self._promotion.has_hope(look, starts[at]):
                hopeful[at] = look
        wanted = min(max(0, math.ceil(GO_ON * len(seen)) - len(ended)), len(hopeful))
        count = min(wanted, self._in_time(starts, looks, racing))
        self.curtailed = self.curtailed or count < wanted
        return [*ended, *self._promotion.promote(hopeful, count, known=ended.values())]

    def _in_time(self, starts: Sequence[Look | None], looks: Sequence[Look | None], racing: Sequence[int]) -> int:
        """About how many of the partly trained recipes can be finished in time.

        While there is time at all, it is at least as many as can be trained at once, since idle workers gain nothing.
        """
        until, seconds = self._until, list[float]()
        for at in racing:
            start, look = starts[at], looks[at]
            if start and look and look.epochs < look.of_epochs:
                training = max(0.0, look.seconds - start.seconds) / look.epochs * (look.of_epochs - look.epochs)
                seconds.append(training + start.seconds)
        if not seconds or math.isinf(until.left):
            return len(racing)
        rounds = SAFELY * until.left / self._at_once / max(median(seconds), 1e-9)
        return max(int(until.left > 0), int(rounds)) * self._lookout.slots

    def _relatives(self, trained: Sequence[Look]) -> list[tuple[Recipe, int]]:
        """Recipes that share a finished training and differ only in the codes after it, with their epochs.

        The sampler is not told about them: from many similar results it would learn to ask for the same again.
        """
        related = []
        for look in trained:
            values = self._choices.values(look.recipe)
            paths = {domain.path for domain in self._choices.after_training(look.recipe)}
            recipes = {}
            for other in self._coded:
                theirs = self._choices.values(other.recipe) or {}
                recipe = self._choices.recipe(
                    {**(values or {}), **{path: value for path, value in theirs.items() if path in paths}}
                )
                recipes[digest(recipe)] = recipe
            related += [(recipe, look.of_epochs) for recipe in _spread(list(recipes.values()), RELATIVES)]
        return related


def _part(reached: Mapping[int, int], epochs: Sequence[int]) -> float:
    """The share of a cohort's remaining training that the next rung takes, if `GO_ON` of the cohort continues."""
    rung, rest = sum(reached.values()), GO_ON * sum(epochs[at] - most for at, most in reached.items())
    return rung / (rung + rest) if rest else 1.0


def _spread(recipes: Sequence[Recipe], count: int) -> list[Recipe]:
    """At most `count` of the recipes, evenly spread, with the first and the last."""
    if len(recipes) <= count:
        return list(recipes)
    return [recipes[round(at * (len(recipes) - 1) / (count - 1))] for at in range(count)]
