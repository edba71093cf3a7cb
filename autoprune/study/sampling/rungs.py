"""Trains recipes cohort by cohort, in races, until training finds nothing more."""

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
"""At most so many recipes are asked of TPE together, since an ask takes longer the more trials are open …"""

PARTS, UNDER_WAY = 2, 3
"""… and beyond that values are drawn at random, so no results must be awaited: the recipes that are requested together
are split into so many cohorts, and so many cohorts run at a time. Workers are busy while one ends."""

MOST_TRIALS = 40
"""The default limit on trained recipes."""

EFFORT = 2
"""Training ends once the looks have found nothing more over so many cohorts."""

IDLE = 20
"""After so many cohorts in a row without a new recipe, there is nothing left to ask for."""


class Rungs:
    """Trains recipes of a space in cohorts.

    Args:
        choices: the open values of the space.
        lookout: takes the looks.
        epochs: returns the epochs of a recipe.
        random: whether values are drawn at random, without learning.
        seed: of all random draws.
        most: recipes to train; None: until training finds nothing more, at most `MOST_TRIALS`.
        starts: keys of presets, which are trained first if they have lost something.
        scanned: whether training begins from the results of a scan; otherwise the sampler chooses all open values.
        recovers: a recipe may be trained if it misses no requirement by a larger share.
        most_looks: limit on looks at neighbours of the scan's cuts before training; None: `NEIGHBOURS`.
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
        self.most, self._limit_is_given = (MOST_TRIALS, False) if most is None else (most, True)
        self.trials = 0
        self.done = False
        self._growth = Growth()
        self._most_looks = NEIGHBOURS if most_looks is None else most_looks

    def run(self, *, until: Deadline, tell: Callable[[int], None] = lambda trials: None) -> None:
        """Trains until the limit on recipes is reached, the hypervolume stops growing, or the time is over.

        Args:
            until: when the time is over.
            tell: called with the number of recipes so far, whenever more are requested.
        """
        if not (self._choices.training if self._scanned else self._choices.space.domains):
            self.done = True
            return
        idle, cohort = 0, self._lookout.together(COHORT, most=self.most)
        many = cohort > MODELLED
        size, at_once = (cohort // PARTS, UNDER_WAY) if many else (cohort, 1)
        beginning = self._beginning if self._scanned else None
        beginnings = self._find(beginning, until)
        promotion = Promotion(self._choices, self._lookout.promises, codes=beginnings.codes, recovers=self._recovers)
        cohorts = Cohorts(
            self._choices,
            self._lookout,
            beginning,
            beginnings,
            promotion=promotion,
            kind=RANDOM if self._random or many else TPE,
            seed=self._seed,
            proposes=not self._random,
            thorough=self._recovers > NEARLY,  # training may regain much
        )
        races = Races(
            self._choices,
            self._lookout,
            promotion,
            epochs=self._epochs,
            coded=beginnings.scanned,
            at_once=at_once,
            until=until,
        )
        requested, over = set[str](), False
        under_way: deque[tuple[Race, Batch]] = deque()
        while True:
            may_go_on = not over and self._may_find
            while may_go_on and len(under_way) < at_once and self.trials < self.most and idle < IDLE:
                recipes = cohorts.ask(min(size, self.most - self.trials), until=until)
                names = {digest(recipe) for recipe in recipes if not beginnings.cuts or self._epochs(recipe)}
                new = names - requested
                requested |= new
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
                over = over or (None in ended.value and until.left <= 0)  # there was no time for a new look
        self.done = not races.curtailed

    @property
    def _may_find(self) -> bool:
        """Whether training may still find more."""
        return self._limit_is_given or not self._growth.stands_still(EFFORT)

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
        """What training begins from: the results of the scan and further looks; nothing without a scan."""
        if beginning is None:
            return Beginnings()
        return beginning.scanned() if self._random else beginning.find(until=until)
