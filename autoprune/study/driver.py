"""A search, one stage after another: the baseline, the scan, the presets, training, refinement."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoprune.artifacts import artifact
from autoprune.deadline import OutOfTime, clock
from autoprune.errors import AutopruneError
from autoprune.machine import cores
from autoprune.record.archive import BASELINE
from autoprune.record.failures import FAILED
from autoprune.record.looks import LOOKS
from autoprune.record.record import Record
from autoprune.record.unfinished import Unfinished
from autoprune.study.evaluation.candidates import Candidates
from autoprune.study.making import Making, Recipes
from autoprune.study.progress.telling import Coming, Telling
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.cohorts import COHORT
from autoprune.study.sampling.looking import Looking, open_search
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.races import RUN
from autoprune.study.sampling.refinement import MOST_LOOKS as MOST_REFINED
from autoprune.study.sampling.refinement import Refinement
from autoprune.study.sampling.rungs import Rungs
from autoprune.study.sampling.sampler import RANDOM
from autoprune.study.sampling.scan import SMALL
from autoprune.study.session import Session
from autoprune.study.teams.team import MEASURING

SCANNED, SCANNED_ALONE = 1 / 3, 0.5
"""The share of the time left after the dense model that the scan may take: if training follows, and if none does."""

EXPECTED_LOOKS = 1000
"""About how many looks a scan takes; other processes are started if they pay off for that many."""

LONG_S = 120.0
"""A scan, or training a dense model, is long if it takes more seconds than this."""

TRAINABLE = 0.5
"""Nothing is trained if the first recipes would take more than this share of the time left after the dense model."""

QUICKER = 0.6
"""About how much each further thread adds to the speed of training: two are 1.6 times as fast as one."""

TRAINED = 0.75
"""The share of the time left, less the time for making finds, that training may take; refinement gets the rest."""


class Driver:
    """Drives a search.

    Args:
        session: what the stages of the search share.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._config, self._archive = session.config, session.archive
        self._budget, self._staff, self._team = session.budget, session.staff, session.team
        self._looking: Looking | None = None
        self._scan_seconds_before = 0.0  # seconds that the scan took in earlier runs of this search
        self._training_is_over = False  # training and refinement are over
        self._telling = Telling(session, coming=self._coming)
        self._candidates = Candidates(session, report=self._telling.made)
        self._making = Making(session, candidates=self._candidates, telling=self._telling)

    def run(
        self, presets: Recipes, choices: Choices, *, between: Callable[[Record], None] = lambda record: None
    ) -> None:
        """Searches until the budget is spent. What this or a killed process finished before is kept.

        What there was no time for is written to the study's folder, see `autoprune.record.unfinished`.

        Args:
            presets: recipes by name; each is made unless a look shows that it misses a floor by far.
            choices: the open values of the space.
            between: called once the scan's finds are measured, before training begins.
        """
        folder = self._session.definition.folder
        Unfinished.clear(folder)
        self._making.expect(presets)
        try:
            self._search(presets, choices, between)
            if not self._session.alone and self._archive.baseline is not None:
                self._candidates.time_together()
                with self._team.alone(MEASURING, until=self._budget.ending) as claimed:
                    if claimed:
                        self._making.evict()
        except OutOfTime as out_of_time:
            self._budget.stopped = out_of_time.doing
        finally:
            self._staff.close()
        self._refuse_if_all_failed()
        unfinished = self._unfinished()
        if unfinished.doing or unfinished.presets or unfinished.undone:
            unfinished.write(folder)
        else:
            Unfinished.clear(folder)  # written by another driver, which had less time

    def _refuse_if_all_failed(self) -> None:
        """Fails a search in which every recipe failed.

        Raises:
            AutopruneError: every recipe failed; the message gives the most frequent reason.
        """
        looks = [look for look in self._session.looks.found.values() if look.number]
        reasons = list(self._candidates.failed.values()) or [look.failed for look in looks]
        if self._budget.stopped is None and len(self._archive.candidates) == 1 and reasons and all(reasons):
            raise AutopruneError(
                f"all {len(reasons)} recipes failed, most often with: {Counter(reasons).most_common(1)[0][0]}\n"
                f"{LOOKS} and {FAILED} in {self._session.definition.folder} give the reason for each. If memory ran "
                "out, study.workers=1 uses the least; if training diverged, lower task.training.learning_rate."
            )

    def _search(self, presets: Recipes, choices: Choices, between: Callable[[Record], None]) -> None:
        if self._team.sole:
            artifact.sweep(self._session.definition.artifacts)
        self._telling.stage = BASELINE
        self._candidates.evaluate([(BASELINE, {})])
        if self._archive.baseline is None:
            return
        self._candidates.check_rules()
        self._candidates.restore()
        if self._session.alone:
            self._candidates.time_here()
        untrained = {name: recipe for name, recipe in presets.items() if not self._epochs(recipe)}
        if self._config.looks == 0 and self._config.trials == 0:
            self._making.make_presets(untrained, None)
            self._making.make_presets(presets, None)
            return
        may_train = self._config.trials != 0 and (self._config.looks == 0 or self._can_train(choices))
        search = self._looking = open_search(self._session, choices, may_train=may_train, tell=self._telling.looked)
        self._scan_seconds_before = self._look_seconds
        self._scan(search, list(untrained.values()))
        self._making.make_presets(untrained, search.lookout)  # while other dense models are still being trained
        if search.scan is not None:
            if not self._dense_models_take_long:
                self._widen(search)
            if search.trains or (search.scan.begun and not search.scan.done):
                self._making.make_finds(search.finds, first=True)
        self._making.make_presets(presets, search.lookout)
        if not may_train:
            self._scan_on(search)
            self._making.make_finds(search.finds)
            return
        undone = "training was not begun" if search.trains or search.scan is None else "the best looks were not made"
        if not self._budget.over(undone):
            if search.scan is not None and search.trains and self._is_long(search.lookout):
                with self._staff.alone(), self._team.alone(MEASURING, until=self._budget.ending) as claimed:
                    if claimed:
                        self._archive.refresh()
                        between(Record(self._session.definition.folder, self._archive))
            self._train(search)

    def _scan(self, search: Looking, presets: Sequence[Mapping[str, Any]]) -> None:
        """Looks at untrained recipes, the presets first, while other dense models are trained."""
        self._telling.stage = "scan"
        scan, lookout = search.scan, search.lookout
        until = self._budget.share(self._share_of_scan(search), before=self._scan_seconds_before)
        if scan is None or self._budget.over("the scan was not begun"):
            return
        if not search.choices.cuts:
            self._session.watch.note("There is nothing to scan: the space leaves only training settings open.")
        lookout.take(presets[:1], until=until)  # shows how long a look takes
        grid = search.choices.grid(SMALL)
        self._telling.looks_in_all = min(self._config.looks or EXPECTED_LOOKS, math.inf if grid is None else len(grid))
        self._staff.hire(self._telling.coming(lookout))
        lookout.take(presets, until=until)
        other_bases = search.bases
        if other_bases is not None:
            other_bases.begin(until=self._budget.share(1.0))
        joined_soon = other_bases is not None and other_bases.coming and not self._dense_models_take_long
        scan.run(presets, until=until, joined=joined_soon)
        self._telling.looking = 0.0

    def _widen(self, search: Looking) -> None:
        """Waits for the other dense models and adds them to the scan; if there are none, the scan goes on as before."""
        scan, other_bases = search.scan, search.bases
        undone = "other dense models of the space were not tried" * (len(search.choices.bases) > 1)
        if scan is None or other_bases is None or self._budget.over(undone):
            return
        self._telling.stage = "scan"
        self._telling.looked(search.lookout)
        until = self._budget.share(self._share_of_scan(search), before=self._scan_seconds_before)
        bases = other_bases.trained(until=until)
        if bases:
            scan.widen(bases, until=until)
        else:  # the time that the scan took in this run counts towards its share too
            scan.go_on(until=self._budget.share(self._share_of_scan(search), before=self._look_seconds))

    def _scan_on(self, search: Looking) -> None:
        """Continues a scan that was stopped when its share of the time was used up, if later stages left some time."""
        if search.scan is not None and search.scan.begun and not search.scan.done:
            self._telling.stage = "scan"
            search.scan.go_on(until=self._budget.share(1.0, but=self._seconds_of_finds(search)))
            self._telling.looking = 0.0

    def _seconds_of_finds(self, search: Looking) -> float:
        """About how long choosing and making the last finds takes."""
        return self._making.seconds(search.finds, each=self._session.outlook.making)

    @property
    def _look_seconds(self) -> float:
        """Seconds that untrained looks have taken so far, in all runs, without those that trained a dense model."""
        untrained = [
            look for look in self._session.looks.found.values() if not look.of_epochs and set(look.recipe) != {"base"}
        ]
        return sum(look.seconds for look in untrained) / self._staff.most

    def _train(self, search: Looking) -> None:
        """Trains what the scan found, other dense models first; then refines it, and makes and measures the finds."""
        choices, lookout, scan = search.choices, search.lookout, search.scan
        making_seconds = min(self._seconds_of_finds(search), self._budget.seconds / 2)
        until = self._budget.share(1.0, but=making_seconds)
        most_looks = MOST_REFINED if self._config.looks is None else min(MOST_REFINED, self._config.looks)
        refines = choices.recodes and most_looks > 0 and self._config.sampler != RANDOM
        share = TRAINED if refines else 1.0
        baseline = self._archive.baseline
        if search.trains or scan is None:
            self._staff.hire(baseline.seconds if baseline else 0.0)
        self._widen(search)
        self._telling.stage = "training"
        rungs = Rungs(
            choices,
            lookout,
            epochs=self._epochs,
            random=self._config.sampler == RANDOM,
            seed=self._session.definition.seed,
            most=self._config.trials,
            starts=self._making.presets,
            scanned=self._config.looks != 0,
            recovers=self._session.task.recovers,
            most_looks=self._config.looks,
        )
        rungs.run(until=self._budget.share(share, but=share * making_seconds), tell=self._telling.trained)
        if not rungs.done:
            self._budget.undone.append(f"training was stopped after {rungs.trials} of at most {rungs.most} recipes")
        if refines:
            self._telling.stage = "refinement"
            refinement = Refinement(choices, lookout, seed=self._session.definition.seed, most=most_looks)
            refinement.run(until=until)
            if not refinement.done:
                self._budget.undone.append("not all promising codes of the trained models were tried")
        self._training_is_over = True
        self._scan_on(search)
        self._making.make_finds(search.finds)

    @property
    def _dense_models_take_long(self) -> bool:
        """Whether training other dense models takes so long that the scan does not wait for them.

        It is estimated from the record, so that a resumed search decides the same. The other dense models are trained
        at the same time with one thread each, whereas the first had all cores.
        """
        baseline = self._archive.baseline
        return cores() * (baseline.seconds if baseline else 0.0) > LONG_S

    def _share_of_scan(self, search: Looking) -> float:
        """The share of the time left that the scan may take."""
        return SCANNED if search.trains else SCANNED_ALONE

    def _can_train(self, choices: Choices) -> bool:
        """Whether there is time to train a first cohort, or some recipes were trained already.

        If not, the search says so. Recipes are trained on one thread each, the dense model on all cores.
        """
        trained = any(look.epochs and look.number for look in self._session.looks.found.values())
        if trained or math.isinf(self._budget.seconds):
            return True
        count = min(COHORT, self._config.trials or COHORT)
        threads = cores() if self._session.evaluator.device.type == "cpu" else 1
        each = RUN * self._epochs(choices.most_trained) * self._session.evaluator.epoch_seconds
        seconds = count * each * (1 + QUICKER * (threads - 1)) / min(self._staff.most, count)
        if seconds <= TRAINABLE * self._budget.seconds:
            return True
        self._budget.undone.append(
            f"nothing was trained: more study.minutes are needed, as the first {count} recipes take about "
            f"{clock(seconds)}"
        )
        return False

    def _is_long(self, lookout: Lookout) -> bool:
        """Whether the search takes so long that the likely picks are verified before anything is trained."""
        return self._dense_models_take_long or EXPECTED_LOOKS * lookout.pace > LONG_S

    def _coming(self, stage: str) -> Coming:
        """What is still to be done from this stage on."""
        search = self._looking
        trains = search is not None and search.trains
        unscanned = search is not None and search.scan is None
        return Coming(self._making.coming(stage, trains=trains), (trains or unscanned) and not self._training_is_over)

    def _epochs(self, recipe: Mapping[str, Any]) -> int:
        """The number of epochs that a recipe asks for."""
        return self._session.evaluator.plan(recipe).epochs

    def _unfinished(self) -> Unfinished:
        looking = self._looking
        unscanned, unmade = (looking.undone(), self._making.unmade(looking.finds)) if looking else ([], [])
        return Unfinished(
            minutes=self._config.minutes or 0.0,
            doing=self._budget.stopped or "",
            presets=self._making.missing,
            undone=list(dict.fromkeys([*unscanned, *self._budget.undone, *unmade])),
        )
