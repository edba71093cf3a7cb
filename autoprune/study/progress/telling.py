"""Reports how far a search is and how long it will still take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoprune.fronts.front import Front
from autoprune.record.archive import Candidate
from autoprune.study.progress.progress import Expected, Progress
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.session import Session


@dataclass(frozen=True)
class Coming:
    """A rough count of the remaining work of a search.

    Attributes:
        candidates: still to be made.
        training: whether something is still to be trained or refined; that takes as long as it finds more.
    """

    candidates: int
    training: bool


class Telling:
    """Reports the progress of a search.

    Args:
        session: what the stages of the search share.
        coming: returns the remaining work from a stage on.

    Attributes:
        stage: the current stage.
        trials: recipes chosen for training so far.
        looks_in_all: expected number of looks at the end of the scan, or of the closer looks.
        looking: seconds that the remaining looks take.
    """

    def __init__(self, session: Session, *, coming: Callable[[str], Coming]) -> None:
        self._session, self._coming = session, coming
        self.stage = ""
        self.trials = 0
        self.looks_in_all = 0.0
        self.looking = 0.0

    def coming(self, lookout: Lookout) -> float:
        """Seconds that the remaining looks take, one after another."""
        return max(0, self.looks_in_all - len(lookout.looks)) * lookout.pace

    def trained(self, trials: int) -> None:
        """Notes how many recipes were chosen for training."""
        self.trials = trials

    def looked(self, lookout: Lookout) -> None:
        """Reports how far the looks are."""
        promises = lookout.promises
        front = promises.front()
        smallest = min((look.size_bytes for look in front), default=promises.dense.size_bytes)
        trained = f"{self.trials} trained, " * bool(self.trials)
        if self.stage == "scan" or lookout.closer:
            self.looking = self.coming(lookout) / lookout.slots
        stage = "closer look" if lookout.closer else self.stage
        self._session.watch.working(
            f"{stage}: {len(lookout.looks):,} looks, {trained}{len(front)} on their front, the smallest "
            f"{promises.dense.size_bytes / smallest:.1f}x smaller, hypervolume {promises.hypervolume:.3f}"
        )
        self._session.watch.expect(self._expected(self._session.front.last()))

    def made(self, latest: Candidate) -> None:
        """Reports a candidate that was just finished."""
        front = self._session.front.renewed()
        self._session.watch.report(
            Progress(
                stage=self.stage,
                looks=len(self._session.looks),
                trials=self.trials,
                front=front,
                rejected=sum(bool(candidate.rejected) for candidate in self._session.archive.candidates.values()),
                latest=latest,
                expected=self._expected(front),
            )
        )

    def _expected(self, front: Front) -> Expected | None:
        coming = self._coming(self.stage)
        return self._session.outlook.expected(
            stage=self.looking,
            making=coming.candidates,
            at_once=self._session.staff.slots,
            front=front,
            limit=self._session.budget.limit,
            trains=coming.training,
        )
