"""Training where it pays: recipes are trained a part of the way, and those that promise most go on.

Successive halving (Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization")
for several objectives: who goes on is decided by front rank, as NSGA-II ranks (Deb et al. 2002). Optuna's own pruners
take one objective.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from typing import Any

from autoprune.deadline import Deadline
from autoprune.fronts.pareto import nondominated
from autoprune.fronts.promises import Promises
from autoprune.recipes.recipe import digest
from autoprune.recipes.space import Domain, Recipe
from autoprune.record.looks import Look
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.dispatcher import Batch
from autoprune.study.sampling.growth import Growth
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.sampler import RANDOM, TPE, Sampler, Values

COHORT = 8
"""Recipes that race one another; more of a large cluster, see `autoprune.study.sampling.lookout.Lookout.together`."""

MODELLED = 50
"""Recipes that TPE is asked for together, at most: an ask takes it longer the more are open …"""

PARTS, UNDER_WAY = 2, 3
"""… and where nothing is modelled nothing is waited for: cohorts of such a part of what is asked for together, so many
at a time, one further than the other. While the last of one are awaited, workers are busy with the others."""

FIRST = 0.25
"""Of the epochs, before the first decision."""

GO_ON = 0.5
"""Of a cohort, after it."""

MOST_TRIALS = 40
"""Recipes that are trained, where nobody says how many."""

EFFORT = 2
"""Training is done once the looks have found no more over so many cohorts."""

IDLE = 20
"""Cohorts in a row in which nothing is new: then there is nothing left to ask for."""

CUTS = 16
"""Looks of the scan's front that training starts from, of those that miss requirements by `NEARLY` at most …"""

NEARLY = 0.15
"""… and as many of all that may recover, where more than that may."""

UNHARMED = 0.01
"""A preset that lost no more than this is not among the first that are trained: there is little to bring back."""

RELATIVES = 16
"""Recipes that share a training with one that was finished and that are looked at for its sake, at most."""

Race = Generator[Batch, list[Look | None], list[Look | None]]
"""What a race waits for, what it is given then, and where its recipes end."""

CUT = Domain(path="cut", kind="int")
"""Which of the cuts, largest first: neighbours are alike."""


class Rungs:
    """Trains recipes of a space in cohorts.

    Args:
        choices: what is open.
        lookout: takes the looks.
        epochs: of a recipe.
        random: whether values are drawn, and nothing is learned.
        seed: of everything that is drawn.
        most: recipes that are asked for; None: until training finds no more, at most `MOST_TRIALS`.
        starts: keys of presets: what a good engineer would cut is trained first, if a look shows that something is
            gone. It may stand behind the front, for training mends most where most is gone.
        scanned: whether it begins from what a scan found; without a scan it asks for everything that is open.
        recovers: what misses a requirement by no larger share may be trained.
    """

    def __init__(
        self,
        choices: Choices,
        lookout: Lookout,
        *,
        epochs: Callable[[Recipe], int],
        random: bool,
        seed: int,
        most: int | None = None,
        starts: Collection[str] = (),
        scanned: bool = True,
        recovers: float,
    ) -> None:
        self._choices, self._lookout, self._epochs, self._starts = choices, lookout, epochs, starts
        self._random, self._seed, self._scanned, self._recovers = random, seed, scanned, recovers
        self.most, self._whole = (MOST_TRIALS, False) if most is None else (most, True)
        self.trials = 0
        self.done = False
        self._growth = Growth()

    def run(self, *, until: Deadline, tell: Callable[[int], None] = lambda trials: None) -> None:
        """Trains until the budget is spent, nothing grows, or the time is over.

        Args:
            tell: called with the number of recipes so far, whenever more were asked for.
        """
        cuts = self._cuts()
        domains = self._domains(cuts)
        if not domains:
            self.done = True
            return
        promises, idle, cohort = self._lookout.promises, 0, self._lookout.together(COHORT, most=self.most)
        many = cohort > MODELLED
        size, at_once = (cohort // PARTS, UNDER_WAY) if many else (cohort, 1)
        kind = RANDOM if self._random or many else TPE
        sampler = Sampler(domains, objectives=len(promises.objectives), kind=kind, seed=self._seed)
        for at, cut in enumerate(cuts):
            if cut.key in self._starts and not self._random and self._lost(cut) > UNHARMED:
                sampler.propose({CUT.path: at, **{domain.path: _middle(domain) for domain in self._choices.training}})
        asked_before: set[str] = set()
        under_way: deque[tuple[Race, Batch]] = deque()
        while True:
            while len(under_way) < at_once and self.trials < self.most and idle < IDLE and self._may_find(until):
                asked = sampler.ask(min(size, self.most - self.trials))
                recipes = [self._choices.recipe(self._decided(values, cuts)) for values in asked]
                names = {digest(recipe) for recipe in recipes if not cuts or self._epochs(recipe)}
                new = names - asked_before
                asked_before |= new
                self.trials, idle = self.trials + len(new), 0 if new else idle + 1
                tell(self.trials)
                race = self._race(recipes, cuts, until)
                under_way.append((race, next(race)))
            if not under_way:
                break
            race, batch = under_way.popleft()
            try:
                under_way.append((race, race.send(self._lookout.wait(batch))))
            except StopIteration as ended:
                sampler.tell([self._lookout.outcome(look) for look in ended.value])
                self._growth.add(promises)
        self.done = until.left > 0

    def _may_find(self, until: Deadline) -> bool:
        """Whether there is time, and training may find more."""
        return until.left > 0 and (self._whole or not self._growth.stands_still(EFFORT))

    def _cuts(self) -> list[Look]:
        """What the scan found, largest first: not all that is feasible alone, for training may mend what is not.

        Presets are looked at as well, and may lie outside the space.
        """
        if not self._scanned:
            return []
        promises = self._lookout.promises
        found = [
            look
            for slack in sorted({min(NEARLY, self._recovers), self._recovers})
            for look in promises.thinned(promises.front(wanted=self._is_cut, slack=slack), CUTS)
        ]
        hopeful = [look for look in promises.looks if look.key in self._starts and self._is_cut(look)]
        starts = [look for look in hopeful if not promises.far_missed(look, by=self._recovers)]
        cuts = {look.key: look for look in [*found, *starts]}
        return sorted(cuts.values(), key=lambda look: -look.size_bytes)

    def _lost(self, look: Look) -> float:
        """The share of its quality that is gone."""
        return 1.0 - self._lookout.promises.readings(look)["quality"].ratio

    def _is_cut(self, look: Look) -> bool:
        """Whether it was not trained, and lies within the space."""
        return not look.epochs and self._choices.values(look.recipe) is not None

    def _domains(self, cuts: Sequence[Look]) -> list[Domain]:
        """What is asked for: where on the scan's front, and how it is trained; without a scan, everything."""
        if not cuts:
            return list(self._choices.space.domains.values())
        if not self._choices.training:
            return []
        return [dataclasses.replace(CUT, high=len(cuts) - 1), *self._choices.training]

    def _decided(self, values: Values, cuts: Sequence[Look]) -> Values:
        if not cuts:
            return values
        cut = self._choices.values(cuts[values[CUT.path]].recipe)
        assert cut is not None, "what was looked at lies within the space"
        return {**cut, **{path: value for path, value in values.items() if path != CUT.path}}

    def _race(self, recipes: Sequence[Recipe], cuts: Sequence[Look], until: Deadline) -> Race:
        """The look that each recipe reached: at its end, or at the rung where it was stopped.

        Looks are asked for one batch after the other: who runs the race waits for them, and may run others meanwhile.
        """
        epochs = [self._epochs(recipe) for recipe in recipes]
        starts = yield self._lookout.ask(recipes, until=until)
        places = {digest(recipe): at for at, recipe in enumerate(recipes)}
        looks, racing = list(starts), [at for at in places.values() if epochs[at]]
        for share in (FIRST, 1.0):
            racing = [at for at in racing if (look := looks[at]) is not None and not look.failed]
            reached = [math.ceil(share * epochs[at]) for at in racing]
            found = yield self._lookout.ask([recipes[at] for at in racing], epochs=reached, until=until)
            for at, look in zip(racing, found, strict=True):
                looks[at] = look
            if share < 1:
                racing = self._going_on(racing, starts, looks)
        raced = [looks[places[digest(recipe)]] for recipe in recipes]
        if related := self._relatives([look for look in raced if look and look.done and look.epochs], cuts):
            yield self._lookout.ask(
                [recipe for recipe, _ in related], epochs=[most for _, most in related], until=until
            )
        return raced

    def _going_on(
        self, racing: Sequence[int], starts: Sequence[Look | None], looks: Sequence[Look | None]
    ) -> list[int]:
        """Those of a cohort that are trained on: the better half by front rank, without those that have no hope."""
        promises = self._lookout.promises
        best = promises.front(slack=self._recovers)
        known = {at: look for at in racing if (look := looks[at]) is not None and not look.failed}
        hopeful = [
            at for at, look in known.items() if not promises.beaten(look, best, hope=_hope(promises, starts[at], look))
        ]
        points = [promises.gains(known[at]) for at in hopeful]
        left, ranked, most = list(range(len(points))), list[int](), math.ceil(GO_ON * len(racing))
        while left and len(ranked) < most:
            best_left = nondominated([points[at] for at in left], maximise=[True] * len(promises.objectives))
            front = [left[at] for at in best_left]
            ranked += sorted(front, key=lambda at: -points[at][0])
            left = sorted({*left} - {*front})
        return [hopeful[at] for at in ranked[:most]]

    def _relatives(self, trained: Sequence[Look], cuts: Sequence[Look]) -> list[tuple[Recipe, int]]:
        """What shares a training that was finished and differs in what follows it, as the cuts have it; and its epochs.

        The sampler is not told: of many that differ in little it would learn to ask for the same again.
        """
        related = []
        for look in trained:
            values = self._choices.values(look.recipe)
            paths = {domain.path for domain in self._choices.after_training(look.recipe)}
            found = {}
            for cut in cuts:
                theirs = self._choices.values(cut.recipe) or {}
                recipe = self._choices.recipe(
                    {**(values or {}), **{path: value for path, value in theirs.items() if path in paths}}
                )
                found[digest(recipe)] = recipe
            related += [(recipe, look.of_epochs) for recipe in _spread(list(found.values()), RELATIVES)]
        return related


def _middle(domain: Domain) -> Any:
    """Neither the least nor the most of it, where it has more values than these."""
    values = domain.listed() or domain.ends()
    return values[len(values) // 2]


def _spread(recipes: Sequence[Recipe], count: int) -> list[Recipe]:
    """At most so many of them, evenly over their order, the first and the last included."""
    if len(recipes) <= count:
        return list(recipes)
    return [recipes[round(at * (len(recipes) - 1) / (count - 1))] for at in range(count)]


def _hope(promises: Promises, start: Look | None, look: Look) -> float:
    """What quality may still gain if every epoch that is left gains as much as those that were trained.

    That is more than learning curves do, which flatten.
    """
    if start is None or start.failed or not look.epochs:
        return 0.0
    gained = promises.readings(look)["quality"].ratio - promises.readings(start)["quality"].ratio
    return max(0.0, gained) * (look.of_epochs - look.epochs) / look.epochs
