"""Training where it pays: recipes are trained a part of the way, and those that promise most go on.

Successive halving (Jamieson & Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization")
for several objectives; see `autoprune.study.sampling.promotion`. Optuna's own pruners take one objective.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from statistics import median

from autoprune.deadline import Deadline
from autoprune.recipes.recipe import digest
from autoprune.recipes.space import Recipe
from autoprune.record.looks import Look
from autoprune.study.sampling.beginnings import NEARLY, NEIGHBOURS, Beginning, Beginnings
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.cohorts import COHORT, Cohorts
from autoprune.study.sampling.dispatcher import Batch, Name
from autoprune.study.sampling.growth import Growth
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.promotion import Promotion
from autoprune.study.sampling.sampler import RANDOM, TPE, Values

MODELLED = 50
"""Recipes that TPE is asked for together, at most: an ask takes it longer the more are open …"""

PARTS, UNDER_WAY = 2, 3
"""… and where nothing is modelled nothing is waited for: cohorts of such a part of what is asked for together, so many
at a time, one further than the other. While the last of one are awaited, workers are busy with the others."""

FIRST = 0.25
"""Of the epochs, before the first decision."""

GO_ON = 0.5
"""Of a cohort, after it, if the time does for so many …"""

SAFELY = 0.9
"""… of which, as seconds are no promise, such a part is given out."""

MOST_TRIALS = 40
"""Recipes that are trained, where nobody says how many."""

EFFORT = 2
"""Training is done once the looks have found no more over so many cohorts."""

IDLE = 20
"""Cohorts in a row in which nothing is new: then there is nothing left to ask for."""

RELATIVES = 16
"""Recipes that share a training with one that was finished and that are looked at for its sake, at most."""

Race = Generator[Batch, list[Look | None], list[Look | None]]
"""What a race waits for, what it is given then, and where its recipes end."""


class Rungs:
    """Trains recipes of a space in cohorts.

    Args:
        choices: what is open.
        lookout: takes the looks.
        epochs: of a recipe.
        random: whether values are drawn, and nothing is learned.
        seed: of everything that is drawn.
        most: recipes that are asked for; None: until training finds no more, at most `MOST_TRIALS`.
        starts: keys of presets, which are trained first where something of them is gone.
        scanned: whether it begins from what a scan found; without a scan it asks for everything that is open.
        recovers: what misses a requirement by no larger share may be trained.
        most_looks: that are taken at neighbours of what the scan found before training begins; None: as many as pay.
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
        most_looks: int | None = None,
    ) -> None:
        self._choices, self._lookout, self._epochs, self._starts = choices, lookout, epochs, starts
        self._random, self._seed, self._scanned, self._recovers = random, seed, scanned, recovers
        self.most, self._whole = (MOST_TRIALS, False) if most is None else (most, True)
        self.trials = 0
        self.done = False
        self._growth = Growth()
        self._most_looks = NEIGHBOURS if most_looks is None else most_looks
        self._promotion = self._promoting(Values())
        self._at_once, self._curtailed = 1, False  # cohorts, and whether the time did not do for what else went on

    def run(self, *, until: Deadline, tell: Callable[[int], None] = lambda trials: None) -> None:
        """Trains until the budget is spent, nothing grows, or the time is over.

        Args:
            tell: called with the number of recipes so far, whenever more were asked for.
        """
        if not (self._choices.training if self._scanned else self._choices.space.domains):
            self.done = True
            return
        idle, cohort = 0, self._lookout.together(COHORT, most=self.most)
        many = cohort > MODELLED
        size, self._at_once = (cohort // PARTS, UNDER_WAY) if many else (cohort, 1)
        beginning = self._beginning if self._scanned else None
        found = self._find(beginning, until)
        self._promotion = self._promoting(found.codes)
        cohorts = Cohorts(
            self._choices,
            self._lookout,
            beginning,
            found,
            promotion=self._promotion,
            kind=RANDOM if self._random or many else TPE,
            seed=self._seed,
            proposes=not self._random,
            thorough=self._recovers > NEARLY,  # what much may be brought back of
        )
        asked_before, over = set[str](), False
        under_way: deque[tuple[Race, Batch]] = deque()
        while True:
            more = not over and self._may_find
            while more and len(under_way) < self._at_once and self.trials < self.most and idle < IDLE:
                recipes = cohorts.ask(min(size, self.most - self.trials), until=until)
                names = {digest(recipe) for recipe in recipes if not found.cuts or self._epochs(recipe)}
                new = names - asked_before
                asked_before |= new
                self.trials, idle = self.trials + len(new), 0 if new else idle + 1
                tell(self.trials)
                race = self._race(recipes, found.scanned, until)
                under_way.append((race, next(race)))
            if not under_way:
                break
            race, batch = under_way.popleft()
            try:
                under_way.append((race, race.send(self._lookout.wait(batch))))
            except StopIteration as ended:
                self._growth.add(self._lookout.promises)
                cohorts.tell(ended.value)
                over = over or (None in ended.value and until.left <= 0)  # there was no time for what is not known
                self._curtailed = self._curtailed or None in ended.value
        self.done = not self._curtailed

    def _promoting(self, codes: Values) -> Promotion:
        return Promotion(self._choices, self._lookout.promises, codes=codes, recovers=self._recovers)

    @property
    def _may_find(self) -> bool:
        """Whether training may find more."""
        return self._whole or not self._growth.stands_still(EFFORT)

    @property
    def _beginning(self) -> Beginning:
        return Beginning(
            self._choices,
            self._lookout,
            presets=self._starts,
            recovers=self._recovers,
            seed=self._seed,
            most=self._most_looks,
        )

    def _find(self, beginning: Beginning | None, until: Deadline) -> Beginnings:
        """What the scan found, and what is looked at beside it; without a scan, nothing."""
        if beginning is None:
            return Beginnings()
        return beginning.scanned() if self._random else beginning.find(until=until)

    def _race(self, recipes: Sequence[Recipe], coded: Sequence[Look], until: Deadline) -> Race:
        """The look that each recipe reached: at its end, or at the rung where it was stopped.

        The codes of `coded` are tried on what came to its end. Looks are asked for one batch after the other: who runs
        the race waits for them, and may run others meanwhile.
        """
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
                racing = self._promoted(racing, starts, looks, until)
        self._promotion.end(looks)
        trained = {look.key: look for at in racing if (look := looks[at]) is not None}
        raced = [look and trained.get(look.key, look) for look in (looks[places[digest(one)]] for one in recipes)]
        if related := self._relatives([look for look in raced if look and look.done and look.epochs], coded):
            yield self._lookout.ask(
                [recipe for recipe, _ in related], epochs=[most for _, most in related], until=until
            )
        return raced

    def _promoted(
        self, racing: Sequence[int], starts: Sequence[Look | None], looks: Sequence[Look | None], until: Deadline
    ) -> list[int]:
        """Those of a cohort that are trained on, best first: a half, without those that have no hope.

        Fewer where the time does not do for a half: of what is not trained to its end nothing is made. Those that are
        known to their end go on in any case: a search that was stopped keeps what it had.
        """
        found = set[Name]() if math.isinf(until.left) else self._lookout.looks.found
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
        count = min(wanted, self._in_time(starts, looks, racing, until))
        self._curtailed = self._curtailed or count < wanted
        return [*ended, *self._promotion.promote(hopeful, count, known=ended.values())]

    def _in_time(
        self, starts: Sequence[Look | None], looks: Sequence[Look | None], racing: Sequence[int], until: Deadline
    ) -> int:
        """How many that were trained a part of the way come to their end in time, about; while there is some, one."""
        seconds = list[float]()
        for at in racing:
            start, look = starts[at], looks[at]
            if start and look and look.epochs < look.of_epochs:
                training = max(0.0, look.seconds - start.seconds) / look.epochs * (look.of_epochs - look.epochs)
                seconds.append(training + start.seconds)
        if not seconds or math.isinf(until.left):
            return len(racing)
        rounds = SAFELY * until.left / self._at_once / max(median(seconds), 1e-9)
        return max(int(until.left > 0), int(rounds) * self._lookout.slots)

    def _relatives(self, trained: Sequence[Look], coded: Sequence[Look]) -> list[tuple[Recipe, int]]:
        """What shares a training that was finished and differs in what follows it, as `coded` have it; and its epochs.

        The sampler is not told: of many that differ in little it would learn to ask for the same again.
        """
        related = []
        for look in trained:
            values = self._choices.values(look.recipe)
            paths = {domain.path for domain in self._choices.after_training(look.recipe)}
            found = {}
            for other in coded:
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
