"""A race: recipes are trained a part of the way, and those that promise most go on to their end.

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
"""Of the epochs, before the first decision."""

GO_ON = 0.5
"""Of a cohort, after it, if the time does for so many …"""

SAFELY = 0.9
"""… of which, as seconds are no promise, such a part is given out."""

RELATIVES = 16
"""Recipes that share a training with one that was finished and that are looked at for its sake, at most."""

Race = Generator[Batch, list[Look | None], list[Look | None]]
"""What a race waits for, what it is given then, and where its recipes end."""


class Races:
    """Runs races; who runs several waits for the looks of one, and may go on with others meanwhile.

    Args:
        choices: what is open.
        lookout: takes the looks.
        promotion: says who goes on.
        epochs: of a recipe.
        coded: looks whose codes are tried on whatever came to its end.
        at_once: races that share the time.
        until: when the time is over.

    Attributes:
        curtailed: whether the time did not do for all that would have gone on.
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
        """The look that each recipe reached: at its end, or at the rung where it was stopped."""
        until = self._until
        epochs = [self._epochs(recipe) for recipe in recipes]
        starts = yield self._lookout.ask(recipes, until=until)
        places = {digest(recipe): at for at, recipe in enumerate(recipes)}
        looks, racing = list(starts), [at for at in places.values() if epochs[at]]
        for share in (FIRST, 1.0):
            racing = [at for at in racing if (look := looks[at]) is not None and not look.failed]
            reached = {at: math.ceil(share * epochs[at]) for at in racing}
            ends = Deadline.after(until.left * _part(reached, epochs))
            found = yield self._lookout.ask([recipes[at] for at in racing], epochs=[*reached.values()], until=ends)
            for at, look in zip(racing, found, strict=True):
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
        """Those of a cohort that are trained on, best first: a half, without those that have no hope.

        Fewer where the time does not do for a half: of what is not trained to its end nothing is made. Those that are
        known to their end go on in any case: a search that was stopped keeps what it had.

        Args:
            racing: places of those that are still in the race.
            starts, looks: of all, by place: untrained, and after the first rung.
        """
        found = set[Name]() if math.isinf(self._until.left) else self._lookout.looks.found
        begun, ended, hopeful = set[str](), dict[int, Look](), dict[int, Look]()
        for at in racing:
            look = looks[at]
            if look is None or look.failed or look.done or look.key in begun:
                continue
            begun.add(look.key)
            if (look.key, look.of_epochs) in found:
                ended[at] = look
            elif self._promotion.has_hope(look, starts[at]):
                hopeful[at] = look
        wanted = min(max(0, math.ceil(GO_ON * len(begun)) - len(ended)), len(hopeful))
        count = min(wanted, self._in_time(starts, looks, racing))
        self.curtailed = self.curtailed or count < wanted
        return [*ended, *self._promotion.promote(hopeful, count, known=ended.values())]

    def _in_time(self, starts: Sequence[Look | None], looks: Sequence[Look | None], racing: Sequence[int]) -> int:
        """How many that were trained a part of the way come to their end in time, about.

        While there is some, as many as are trained at a time: who waits gains nothing.
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
        """What shares a training that was finished and differs in the codes that follow it; and its epochs.

        The sampler is not told: of many that differ in little it would learn to ask for the same again.
        """
        related = []
        for look in trained:
            values = self._choices.values(look.recipe)
            paths = {domain.path for domain in self._choices.after_training(look.recipe)}
            found = {}
            for other in self._coded:
                theirs = self._choices.values(other.recipe) or {}
                recipe = self._choices.recipe(
                    {**(values or {}), **{path: value for path, value in theirs.items() if path in paths}}
                )
                found[digest(recipe)] = recipe
            related += [(recipe, look.of_epochs) for recipe in _spread(list(found.values()), RELATIVES)]
        return related


def _part(reached: Mapping[int, int], epochs: Sequence[int]) -> float:
    """Of the epochs that a cohort takes to the end of those that go on: what a rung takes."""
    now, more = sum(reached.values()), GO_ON * sum(epochs[at] - most for at, most in reached.items())
    return now / (now + more) if more else 1.0


def _spread(recipes: Sequence[Recipe], count: int) -> list[Recipe]:
    """At most so many of them, evenly over their order, the first and the last included."""
    if len(recipes) <= count:
        return list(recipes)
    return [recipes[round(at * (len(recipes) - 1) / (count - 1))] for at in range(count)]
