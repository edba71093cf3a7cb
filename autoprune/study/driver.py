"""A search, one stage after another: the baseline, the scan, the presets, training, refinement. The driver archives."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoprune.artifacts import artifact
from autoprune.deadline import OutOfTime
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
from autoprune.study.sampling.looking import Looking, open_search
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.refinement import MOST_LOOKS as MOST_REFINED
from autoprune.study.sampling.refinement import Refinement
from autoprune.study.sampling.rungs import Rungs
from autoprune.study.sampling.sampler import RANDOM
from autoprune.study.sampling.scan import SMALL
from autoprune.study.session import Session
from autoprune.study.teams.team import MEASURING

SCANNED, SCANNED_ALONE = 1 / 3, 0.5
"""The share of what is left after the dense model that a scan may take, where training follows and where none does."""

EXPECTED_LOOKS = 1000
"""Looks that a scan takes, about: for so many other processes are started, if that pays."""

LONG_S = 120.0
"""Seconds of so many looks, or of training a dense model, that are long."""

TRAINED = 0.75
"""The share of what is left beside making that training may take; refinement has the rest."""


class Driver:
    """Drives a search.

    Args:
        session: what its stages share.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._config, self._archive = session.config, session.archive
        self._budget, self._staff, self._team = session.budget, session.staff, session.team
        self._now: Looking | None = None
        self._scanned = 0.0  # seconds that the scan took in the runs that this one goes on with
        self._trained = False  # and refined: nothing of that follows
        self._telling = Telling(session, coming=self._coming)
        self._candidates = Candidates(session, report=self._telling.made)
        self._making = Making(session, candidates=self._candidates, telling=self._telling)

    def run(
        self, presets: Recipes, choices: Choices, *, between: Callable[[Record], None] = lambda record: None
    ) -> None:
        """Searches until the budget is spent. What was finished before, by this or a killed process, is kept.

        What the time does not do for is written down in the study's folder, see `autoprune.record.unfinished`.

        Args:
            presets: measured before anything is searched.
            choices: what the space leaves open.
            between: called once the scan's finds are measured, before training begins.
        """
        folder = self._session.definition.folder
        Unfinished.clear(folder)
        self._making.expect(presets)
        try:
            self._search(presets, choices, between)
            if not self._session.alone and self._archive.baseline is not None:
                self._candidates.time_together()
                with self._team.alone(MEASURING, until=self._budget.ending) as mine:
                    if mine:
                        self._making.evict()
        except OutOfTime as stopped:
            self._budget.stopped = stopped.doing
        finally:
            self._staff.close()
        self._check_found()
        unfinished = self._unfinished()
        if unfinished.doing or unfinished.presets or unfinished.undone:
            unfinished.write(folder)
        else:
            Unfinished.clear(folder)  # of another driver, which had less time

    def _check_found(self) -> None:
        """Refuses to end as if nothing had been wrong where every recipe came to nothing.

        Raises:
            AutopruneError: it did.
        """
        looks = [look for look in self._session.looks.found.values() if look.number]
        reasons = list(self._candidates.failed.values()) or [look.failed for look in looks]
        if self._budget.stopped is None and len(self._archive.candidates) == 1 and reasons and all(reasons):
            raise AutopruneError(
                f"all {len(reasons)} recipes failed, most often with: {Counter(reasons).most_common(1)[0][0]}\n"
                f"{LOOKS} and {FAILED} in {self._session.definition.folder} give the reason of each. If memory ran "
                "out, study.workers=1 takes least; if training diverged, lower task.training.learning_rate."
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
        quick = {name: recipe for name, recipe in presets.items() if not self._epochs(recipe)}
        if self._config.looks == 0 and self._config.trials == 0:
            self._making.make_presets(quick, None)
            self._making.make_presets(presets, None)
            return
        search = self._now = open_search(self._session, choices, tell=self._telling.looked)
        self._scanned = self._looked
        self._scan(search, list(quick.values()))
        self._making.make_presets(quick, search.lookout)  # while other dense models are still trained
        if search.scan is not None:
            if not self._dear:
                self._widen(search)
            if self._will_train(search):
                self._making.make_finds(search.finds, trains=True)
        self._making.make_presets(presets, search.lookout)
        if self._config.trials == 0:
            self._scan_on(search)
            self._making.make_finds(search.finds, trains=False)
            return
        trains = self._will_train(search) or search.scan is None
        if not self._budget.over("training was not begun" if trains else "the best looks were not made"):
            if search.scan is not None and self._will_train(search) and self._is_long(search.lookout):
                with self._staff.alone(), self._team.alone(MEASURING, until=self._budget.ending) as mine:
                    if mine:
                        self._archive.refresh()
                        between(Record(self._session.definition.folder, self._archive))
            self._train(search)

    def _scan(self, search: Looking, starts: Sequence[Mapping[str, Any]]) -> None:
        """Looks at what needs no training, the presets first, while other dense models are trained."""
        self._telling.stage = "scan"
        scan, lookout = search.scan, search.lookout
        until = self._budget.share(self._share_of_scan(search), before=self._scanned)
        if scan is None or self._budget.over("the scan was not begun"):
            return
        if not search.choices.cuts:
            self._session.watch.note(
                "There is nothing to scan: all that the space leaves open is a matter of training."
            )
        lookout.take(starts[:1], until=until)  # which tells how long a look takes
        grid = search.choices.grid(SMALL)
        self._telling.looks_in_all = min(self._config.looks or EXPECTED_LOOKS, math.inf if grid is None else len(grid))
        self._staff.hire(self._telling.coming(lookout))
        lookout.take(starts, until=until)
        others = search.bases
        if others is not None:
            others.begin(until=self._budget.share(1.0))
        soon = others is not None and others.coming and not self._dear
        scan.run(starts, until=until, joined=soon)
        self._telling.looking = 0.0

    def _widen(self, search: Looking) -> None:
        """Has other dense models join the scan, once; waits until they are trained. Else it goes on as it was."""
        scan, others = search.scan, search.bases
        undone = "other dense models of the space were not tried" * (len(search.choices.bases) > 1)
        if scan is None or others is None or self._budget.over(undone):
            return
        self._telling.stage = "scan"
        self._telling.looked(search.lookout)
        until = self._budget.share(self._share_of_scan(search), before=self._scanned)
        bases = others.trained(until=until)
        if bases:
            scan.widen(bases, until=until)
        else:  # what the scan has taken in this run is a part of its share too
            scan.go_on(until=self._budget.share(self._share_of_scan(search), before=self._looked))

    def _scan_on(self, search: Looking) -> None:
        """Goes on with a scan that its share of the time has ended, if the stages after it have left some."""
        if search.scan is not None and search.scan.begun and not search.scan.done:
            self._telling.stage = "scan"
            search.scan.go_on(until=self._budget.share(1.0, but=self._seconds_of_finds(search)))

    def _seconds_of_finds(self, search: Looking) -> float:
        """That choosing and making the last finds takes, about; half of what is left at most."""
        return min(self._making.seconds(search.finds, each=self._session.outlook.making), self._budget.seconds / 2)

    @property
    def _looked(self) -> float:
        """Seconds that untrained looks took, by now and in all runs; without those that trained a dense model."""
        taken = [
            look for look in self._session.looks.found.values() if not look.of_epochs and set(look.recipe) != {"base"}
        ]
        return sum(look.seconds for look in taken) / self._staff.most

    def _train(self, search: Looking) -> None:
        """Trains what the scan found, other dense models first; refines, makes and measures what came of it."""
        choices, lookout, scan = search.choices, search.lookout, search.scan
        making = self._seconds_of_finds(search)
        until = self._budget.share(1.0, but=making)
        most = MOST_REFINED if self._config.looks is None else min(MOST_REFINED, self._config.looks)
        refines = choices.recodes and most > 0 and self._config.sampler != RANDOM
        part = TRAINED if refines else 1.0
        baseline = self._archive.baseline
        if self._will_train(search) or scan is None:
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
        rungs.run(until=self._budget.share(part, but=part * making), tell=self._telling.trained)
        if not rungs.done:
            self._budget.undone.append(f"training was stopped after {rungs.trials} of at most {rungs.most} recipes")
        if refines:
            self._telling.stage = "refinement"
            refinement = Refinement(choices, lookout, seed=self._session.definition.seed, most=most)
            refinement.run(until=until)
            if not refinement.done:
                self._budget.undone.append("what was trained was not coded in all ways that promise more")
        self._trained = True
        self._scan_on(search)
        self._making.make_finds(search.finds, trains=False)

    @property
    def _dear(self) -> bool:
        """Whether other dense models take so long to be trained that the scan does not wait for them.

        By what is on record, so that a search that is gone on with decides the same. A dense model that is trained
        beside others has one thread, where the first had a core each.
        """
        baseline = self._archive.baseline
        return cores() * (baseline.seconds if baseline else 0.0) > LONG_S

    def _share_of_scan(self, search: Looking) -> float:
        """The share of what is left that the scan may take."""
        return SCANNED if self._will_train(search) else SCANNED_ALONE

    def _will_train(self, search: Looking) -> bool:
        """Whether something is trained after the scan, unless the time is over."""
        return self._config.trials != 0 and search.trains

    def _is_long(self, lookout: Lookout) -> bool:
        """Whether the search takes so long that what would be picked is verified before anything is trained."""
        return self._dear or EXPECTED_LOOKS * lookout.pace > LONG_S

    def _coming(self, stage: str) -> Coming:
        """What is still to come from a stage on."""
        search = self._now
        trains = search is not None and self._will_train(search)
        unscanned = search is not None and search.scan is None
        return Coming(self._making.coming(stage, trains=trains), (trains or unscanned) and not self._trained)

    def _epochs(self, recipe: Mapping[str, Any]) -> int:
        """That a recipe asks for."""
        return self._session.evaluator.plan(recipe).epochs

    def _unfinished(self) -> Unfinished:
        now = self._now
        unscanned, unmade = (now.undone(), self._making.unmade(now.finds)) if now else ([], [])
        return Unfinished(
            minutes=self._config.minutes or 0.0,
            doing=self._budget.stopped or "",
            presets=self._making.missing,
            undone=list(dict.fromkeys([*unscanned, *self._budget.undone, *unmade])),
        )
