"""Training where it pays: cohort by cohort recipes race, until training finds no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from autoprune.deadline import Deadline
from autoprune.recipes.nodes import Recipe
from autoprune.recipes.recipe import digest
from autoprune.study.sampling.beginnings import NEARLY, NEIGHBOURS, Beginning, Beginnings
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.cohorts import COHORT, Cohorts
from autoprune.study.sampling.dispatcher import Batch
from autoprune.study.sampling.growth import Growth
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.promotion import Promotion
from autoprune.study.sampling.races import Race, Races
from autoprune.study.sampling.sampler import RANDOM, TPE

MODELLED = 50
"""Recipes that TPE is asked for together, at most: an ask takes it longer the more are open …"""

PARTS, UNDER_WAY = 2, 3
"""… and where nothing is modelled nothing is waited for: cohorts of such a part of what is asked for together, so many
at a time, one further than the other. While the last of one are awaited, workers are busy with the others."""

MOST_TRIALS = 40
"""Recipes that are trained, where nobody says how many."""

EFFORT = 2
"""Training is done once the looks have found no more over so many cohorts."""

IDLE = 20
"""Cohorts in a row in which nothing is new: then there is nothing left to ask for."""


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
        size, at_once = (cohort // PARTS, UNDER_WAY) if many else (cohort, 1)
        beginning = self._beginning if self._scanned else None
        found = self._find(beginning, until)
        promotion = Promotion(self._choices, self._lookout.promises, codes=found.codes, recovers=self._recovers)
        cohorts = Cohorts(
            self._choices,
            self._lookout,
            beginning,
            found,
            promotion=promotion,
            kind=RANDOM if self._random or many else TPE,
            seed=self._seed,
            proposes=not self._random,
            thorough=self._recovers > NEARLY,  # what much may be brought back of
        )
        races = Races(
            self._choices,
            self._lookout,
            promotion,
            epochs=self._epochs,
            coded=found.scanned,
            at_once=at_once,
            until=until,
        )
        asked_before, over = set[str](), False
        under_way: deque[tuple[Race, Batch]] = deque()
        while True:
            more = not over and self._may_find
            while more and len(under_way) < at_once and self.trials < self.most and idle < IDLE:
                recipes = cohorts.ask(min(size, self.most - self.trials), until=until)
                names = {digest(recipe) for recipe in recipes if not found.cuts or self._epochs(recipe)}
                new = names - asked_before
                asked_before |= new
                self.trials, idle = self.trials + len(new), 0 if new else idle + 1
                tell(self.trials)
                race = races.race(recipes)
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
        self.done = not races.curtailed

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
