"""Makes and measures what a search chooses: its presets, and the best of the looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from autoprune.deadline import Deadline, OutOfTime
from autoprune.record.archive import TRIAL
from autoprune.study.evaluation.candidates import Candidates
from autoprune.study.evaluation.eviction import evict
from autoprune.study.evaluation.verdict import HOPELESS
from autoprune.study.progress.telling import Telling
from autoprune.study.sampling.finds import HASTILY, TIMES, Finds
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.session import Session

Recipes = Mapping[str, Mapping[str, Any]]
"""Recipes by name."""

PRESETS = 1 / 3
"""The share of the time left that making presets may take."""

MADE = 12
"""So many finds from the looks' front are made and measured at the end …"""

MADE_FIRST = 4
"""… and so many before training or the rest of the scan, if these follow: later finds may then replace them."""

TOGETHER = 4
"""Finds that are chosen at a time: the measurements of some help to choose the next."""

CHOOSING = 1 / 3
"""The share of the time left that closer looks, which choose the finds, may take."""


class Making:
    """Makes presets and finds.

    Args:
        session: what the stages of the search share.
        candidates: makes and measures recipes.
        telling: reports progress.
    """

    def __init__(self, session: Session, *, candidates: Candidates, telling: Telling) -> None:
        self._session, self._candidates, self._telling = session, candidates, telling
        self._evaluator, self._archive = session.evaluator, session.archive
        self._staff, self._budget = session.staff, session.budget
        self._presets: dict[str, str] = {}  # keys of the presets to be made, by name

    def expect(self, presets: Recipes) -> None:
        """Notes which presets are to be made, now or later."""
        self._presets = {name: self._evaluator.plan(recipe).key for name, recipe in presets.items()}

    @property
    def presets(self) -> list[str]:
        """Keys of the presets that are made at some point."""
        return list(self._presets.values())

    @property
    def missing(self) -> dict[str, str]:
        """Presets that are still to be measured, with their keys; failed ones are left out."""
        return {name: key for name, key in self._presets.items() if self._is_pending(key)}

    def unmade(self, finds: Finds) -> list[str]:
        """How many finds were chosen but not made, in words."""
        pending = sum(self._is_pending(key) for key in finds.chosen)
        return [f"{pending} of {len(finds.chosen)} finds were not made"] if pending else []

    def coming(self, stage: str, *, trains: bool) -> int:
        """About how many candidates are still to be made, from this stage on.

        Args:
            trains: whether something is trained after the scan.
        """
        finds_by_stage = {"scan": MADE_FIRST * trains + MADE, "presets": MADE_FIRST * trains + MADE, "training": MADE}
        return len(self.missing) + finds_by_stage.get(stage, 0)

    def seconds(self, finds: Finds, *, each: float) -> float:
        """About how many seconds choosing and making the last finds takes.

        Args:
            each: seconds that making one takes.
        """
        return MADE * each / min(self._staff.slots, TOGETHER) + finds.seconds(MADE)

    def make_presets(self, presets: Recipes, lookout: Lookout | None) -> None:
        """Makes presets, except those that miss a floor by far according to a look; these are reported."""
        self._telling.stage = "presets"
        until = self._budget.share(PRESETS)
        pending = {name: recipe for name, recipe in presets.items() if name in self._presets}
        untrained = [name for name, recipe in pending.items() if not self._evaluator.plan(recipe).epochs]
        looks = lookout.take([pending[name] for name in untrained], until=until) if lookout else []
        tolerance = HOPELESS + HASTILY * self._evaluator.task.looks_in_haste
        for name, look in zip(untrained, looks, strict=False):
            missed = lookout.promises.far_missed(look, by=tolerance) if lookout and look and not look.failed else []
            if missed:
                del pending[name], self._presets[name]
                self._session.watch.note(f"preset {name} is not made: a look at it misses {', '.join(missed)} by far")
        self._evaluate(list(pending.items()), until=until)

    def make_finds(self, finds: Finds, *, first: bool = False) -> None:
        """Makes and measures finds that represent the looks' front together with the presets and the earlier finds.

        A resumed search chooses the same finds, unless it now has time for presets that were skipped before.

        Args:
            first: whether only a few are made, since training or the rest of the scan follows.
        """
        for left in range(MADE_FIRST if first else MADE, 0, -TOGETHER):
            self._make_some(finds, min(TOGETHER, left), until=self._budget.share(CHOOSING * TOGETHER / left))
        if finds.left and not first and self._budget.seconds > 0:  # without time, those that are not made are reported
            self._budget.undone.append(f"{finds.left} of the best looks did not get a closer look")

    def _make_some(self, finds: Finds, count: int, *, until: Deadline) -> None:
        closer = finds.closer
        looks_in_all_before = self._telling.looks_in_all
        if closer is not None:
            self._telling.looks_in_all = len(closer.looks) + TIMES * count
            self._staff.hire(self._telling.coming(closer))
        archived = [self._archive.candidates.get(key) for key in (*self.presets, *finds.chosen)]
        measured = {candidate.key: candidate.latest() for candidate in archived if candidate is not None}
        chosen = finds.choose(count, beside=self.presets, measured=measured, until=until)
        self._telling.looks_in_all = looks_in_all_before
        self._telling.looking = 0.0
        self._evaluate([(TRIAL, look.recipe) for look in chosen])

    def _evaluate(self, recipes: Sequence[tuple[str, Mapping[str, Any]]], *, until: Deadline | None = None) -> None:
        plans = [self._evaluator.plan(recipe) for _, recipe in recipes]
        plans = [plan for plan in plans if self._is_pending(plan.key)]
        baseline = self._archive.baseline
        seconds_each = self._session.outlook.making or (baseline.seconds if baseline else 0.0)
        if self._staff.hire(len(plans) * seconds_each) and any(plan.epochs for plan in plans):
            with suppress(OutOfTime):  # no training begins then
                self._session.ready(self._budget.seconds)
        self._candidates.evaluate(recipes, until=until)
        if self._session.alone:  # with several drivers, one of them does this at the end
            self.evict()

    def evict(self) -> None:
        """Deletes artifacts beyond the disk limit, if there is one."""
        limit = self._session.config.artifacts_gb
        if limit is not None and self._archive.baseline is not None:
            evict(self._session.front.renewed(), limit_bytes=1e9 * limit)

    def _is_pending(self, key: str) -> bool:
        """Whether a recipe is still to be made: it is neither archived nor failed."""
        return key not in self._archive.candidates and key not in self._candidates.failed
