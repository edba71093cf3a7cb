"""Estimates how long the rest of a search takes, from what it has measured so far."""

from __future__ import annotations

import math
from statistics import median

from autoprune.fronts.front import Front
from autoprune.record.archive import Archive
from autoprune.study.progress.progress import Expected

STARTING_S = 5.0
"""Seconds that a process for timing finalists takes to start, apart from reading the data."""


class Outlook:
    """Estimates for a search.

    Args:
        archive: of the study; it grows.
        rounds: processes that time each finalist; 0 if none is verified.
        reading: seconds that reading the data took.
        timing: seconds for which each workload of a finalist is timed.
        at_once: finalists that are judged at the same time.
    """

    def __init__(self, archive: Archive, *, rounds: int, reading: float, timing: float, at_once: int = 1) -> None:
        self._archive, self._at_once = archive, at_once
        self._rounds, self._reading, self._timing = rounds, reading, timing

    @property
    def making(self) -> float:
        """Seconds that making and measuring a candidate takes, without its training; 0 before the first candidate.

        It is the median, since one long training is not expected again.
        """
        others = [candidate.seconds for candidate in self._archive.candidates.values() if candidate.number]
        return median(others) if others else 0.0

    def verification(self, front: Front) -> float:
        """Seconds that verifying the remaining finalists takes; 0 if the study does not verify."""
        finalists = sum(not point.verified for point in front.finalists) if self._rounds else 0
        if not finalists:
            return 0.0
        not_rejected = [one for one in self._archive.candidates.values() if not one.rejected]
        # What is not training is mostly measuring; some of the others trained too, so the quickest counts.
        measuring = min(one.seconds - one.training for one in not_rejected)
        timing = finalists * len(not_rejected[0].latest().latency) * self._timing
        judging = measuring * (1 + math.ceil((finalists - 1) / self._at_once))  # the baseline comes first
        return judging + self._rounds * timing + (self._rounds - 1) * (STARTING_S + self._reading)

    def expected(
        self, *, stage: float, making: int, at_once: int, front: Front, limit: float, trains: bool
    ) -> Expected | None:
        """The remaining work, verification included; None if there is none, or nothing is known about it.

        Args:
            stage: seconds that the looks and trainings of the current stage still take.
            making: candidates that are still to be made.
            at_once: candidates that are made at the same time.
            front: so far.
            limit: seconds until the time is over.
            trains: whether something is trained or refined, in this stage or later.
        """
        after = making * self.making / at_once + self.verification(front)
        is_open = trains or (making > 0 and not self.making)
        known = bool(stage or after) or (is_open and math.isfinite(limit))
        return Expected(current=stage, after=after, limit=limit, open=is_open) if known else None
