"""What a search has made and measured: its presets, and the best of all that was looked at."""

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

PRESETS = 0.5
"""The share of what is left that the making of presets may take."""

MADE = 12
"""Of the looks' front, as many are made and measured in the end …"""

MADE_FIRST = 4
"""… and before training, where there is some to come: what was trained takes their place."""

TOGETHER = 4
"""Of those, so many at a time: what was measured of some helps to choose the next."""

CHOOSING = 1 / 3
"""The share of what is left that may be spent on choosing them, by closer looks."""


class Making:
    """Has presets and finds made.

    Args:
        session: what the stages of the search share.
        candidates: makes and measures.
        telling: tells how far it is.
    """

    def __init__(self, session: Session, *, candidates: Candidates, telling: Telling) -> None:
        self._session, self._candidates, self._telling = session, candidates, telling
        self._evaluator, self._archive = session.evaluator, session.archive
        self._staff, self._budget = session.staff, session.budget
        self._presets: dict[str, str] = {}  # keys of those that are to be made, by name

    def expect(self, presets: Recipes) -> None:
        """Notes which presets are to be made, now or later."""
        self._presets = {name: self._evaluator.plan(recipe).key for name, recipe in presets.items()}

    @property
    def presets(self) -> list[str]:
        """Keys of the presets that are made, sooner or later."""
        return list(self._presets.values())

    @property
    def missing(self) -> dict[str, str]:
        """Presets that are not measured, and their keys; without those of which nothing comes."""
        return {name: key for name, key in self._presets.items() if self._is_left(key)}

    def unmade(self, finds: Finds) -> list[str]:
        """What was chosen and not made, in words."""
        left = sum(self._is_left(key) for key in finds.chosen)
        return [f"{left} of {len(finds.chosen)} finds were not made"] if left else []

    def coming(self, stage: str, *, trains: bool) -> int:
        """Candidates that are still to be made from a stage on, about.

        Args:
            trains: whether something is trained after the scan.
        """
        finds = {"scan": MADE_FIRST * trains + MADE, "presets": MADE_FIRST * trains + MADE, "training": MADE}
        return len(self.missing) + finds.get(stage, 0)

    def seconds(self, finds: Finds, *, each: float) -> float:
        """That choosing and making the last finds takes, about.

        Args:
            each: that making one takes.
        """
        return MADE * each / min(self._staff.slots, TOGETHER) + finds.seconds(MADE)

    def make_presets(self, presets: Recipes, lookout: Lookout | None) -> None:
        """Makes presets; one that a look shows to miss a floor by far is not made, and this is said."""
        self._telling.stage = "presets"
        until = self._budget.share(PRESETS)
        left = {name: recipe for name, recipe in presets.items() if name in self._presets}
        untrained = [name for name, recipe in left.items() if not self._evaluator.plan(recipe).epochs]
        looks = lookout.take([left[name] for name in untrained], until=until) if lookout else []
        by = HOPELESS + HASTILY * self._evaluator.task.looks_in_haste
        for name, look in zip(untrained, looks, strict=False):
            far = lookout.promises.far_missed(look, by=by) if lookout and look and not look.failed else []
            if far:
                del left[name], self._presets[name]
                self._session.watch.note(f"preset {name} is not made: a look at it misses {', '.join(far)} by far")
        self._evaluate(list(left.items()), until=until)

    def make_finds(self, finds: Finds, *, trains: bool) -> None:
        """Makes and measures looks that stand for their front, beside presets and what was chosen before.

        A search that is run again chooses the same, unless there is time now for presets that there was none for.

        Args:
            trains: whether training follows, after which more are made.
        """
        for left in range(MADE_FIRST if trains else MADE, 0, -TOGETHER):
            self._make_some(finds, min(TOGETHER, left), until=self._budget.share(CHOOSING * TOGETHER / left))
        if finds.left and self._budget.seconds > 0:  # else nothing is made of them either, which is said
            self._budget.undone.append(f"{finds.left} of the best looks were not looked at closer")

    def _make_some(self, finds: Finds, count: int, *, until: Deadline) -> None:
        closer = finds.closer
        looks = self._telling.looks_in_all
        if closer is not None:
            self._telling.looks_in_all = len(closer.looks) + TIMES * count
            self._staff.hire(self._telling.coming(closer))
        found = [self._archive.candidates.get(key) for key in (*self.presets, *finds.chosen)]
        measured = {candidate.key: candidate.latest() for candidate in found if candidate is not None}
        chosen = finds.choose(count, beside=self.presets, measured=measured, until=until)
        self._telling.looks_in_all = looks
        self._telling.looking = 0.0
        self._evaluate([(TRIAL, look.recipe) for look in chosen])

    def _evaluate(self, recipes: Sequence[tuple[str, Mapping[str, Any]]], *, until: Deadline | None = None) -> None:
        left = [self._evaluator.plan(recipe) for _, recipe in recipes]
        left = [made for made in left if self._is_left(made.key)]
        baseline = self._archive.baseline
        each = self._session.outlook.making or (baseline.seconds if baseline else 0.0)
        if self._staff.hire(len(left) * each) and any(made.epochs for made in left):
            with suppress(OutOfTime):  # nothing is begun then
                self._session.ready(self._budget.seconds)
        self._candidates.evaluate(recipes, until=until)
        if self._session.alone:  # of several drivers one does so in the end
            self.evict()

    def evict(self) -> None:
        """Keeps artifacts within their bound, if there is one."""
        limit = self._session.config.artifacts_gb
        if limit is not None and self._archive.baseline is not None:
            evict(self._session.front.renewed(), limit_bytes=1e9 * limit)

    def _is_left(self, key: str) -> bool:
        """Whether a candidate is still to be made."""
        return key not in self._archive.candidates and key not in self._candidates.failed
