"""Tells whoever watches how far a search is, and how long it still takes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from autoprune.fronts.front import Front
from autoprune.record.archive import Archive, Candidate
from autoprune.record.looks import Looks
from autoprune.study.budget import Budget
from autoprune.study.progress.outlook import Outlook
from autoprune.study.progress.progress import Expected, Progress, Watching
from autoprune.study.sampling.lookout import Lookout

OPEN = ("training", "refinement")
"""Stages that go on while they find more."""


class Telling:
    """Tells how a search goes.

    Args:
        watch: who is told.
        archive, looks: of the study, as they grow.
        outlook: estimates how long things take.
        budget: of the search.
        front: of the study as its archive is now; asked with whether it is to be computed anew.
        making: candidates that are still to be made, about, in a stage.

    Attributes:
        stage: that is under way.
        trials: recipes that were asked for to be trained.
        looks_in_all: that there are at the end of the scan, or of the closer look, about.
        looking: seconds that the looks take that are still to come.
    """

    def __init__(
        self,
        watch: Watching,
        *,
        archive: Archive,
        looks: Looks,
        outlook: Outlook,
        budget: Budget,
        front: Callable[[bool], Front],
        making: Callable[[str], int],
    ) -> None:
        self._watch, self._archive, self._looks = watch, archive, looks
        self._outlook, self._budget, self._front, self._making = outlook, budget, front, making
        self.stage = ""
        self.trials = 0
        self.looks_in_all = 0.0
        self.looking = 0.0

    def note(self, message: str) -> None:
        """Says what should stay in sight."""
        self._watch.note(message)

    def coming(self, lookout: Lookout) -> float:
        """Seconds that the looks take that are still to come, one after another."""
        return max(0, self.looks_in_all - len(lookout.looks)) * lookout.pace

    def trained(self, trials: int) -> None:
        """Takes down how many recipes were asked for to be trained."""
        self.trials = trials

    def looked(self, lookout: Lookout) -> None:
        """Says how far the looks are."""
        promises = lookout.promises
        front = promises.front()
        smallest = min((look.size_bytes for look in front), default=promises.dense.size_bytes)
        trained = f"{self.trials} trained, " * bool(self.trials)
        if self.stage == "scan" or lookout.closer:
            self.looking = self.coming(lookout) / lookout.slots
        stage = "closer look" if lookout.closer else self.stage
        self._watch.working(
            f"{stage}: {len(lookout.looks):,} looks, {trained}{len(front)} on their front, the smallest "
            f"{promises.dense.size_bytes / smallest:.1f}x smaller, hypervolume {promises.hypervolume:.3f}"
        )
        expected, limit = self._expected(self._front(False)), self._budget.limit
        if self.stage in OPEN and not lookout.closer and expected:  # it goes on while it finds more, or has time
            expected = None if math.isinf(limit) else dataclasses.replace(expected, current=limit)
        self._watch.expect(expected)

    def made(self, latest: Candidate) -> None:
        """Reports a candidate that was just finished."""
        front = self._front(True)
        self._watch.report(
            Progress(
                stage=self.stage,
                looks=len(self._looks),
                trials=self.trials,
                front=front,
                rejected=sum(bool(candidate.rejected) for candidate in self._archive.candidates.values()),
                latest=latest,
                expected=self._expected(front),
            )
        )

    def _expected(self, front: Front) -> Expected | None:
        making, limit = self._making(self.stage), self._budget.limit
        return self._outlook.expected(stage=self.looking, making=making, front=front, limit=limit)
