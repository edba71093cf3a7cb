"""How long what is left of a search takes, by what was measured in it."""

from __future__ import annotations

import math
from statistics import median

from autoprune.fronts.front import Front
from autoprune.record.archive import Archive
from autoprune.study.progress.progress import Expected

STARTING_S = 5.0
"""What a process that times finalists takes to begin, beside reading the data."""


class Outlook:
    """Estimates for a search.

    Args:
        archive: of the study, as it grows.
        rounds: processes that time each finalist; 0 where none is verified.
        reading: seconds that reading the data took.
        timing: seconds that each workload of a finalist is timed.
        at_once: finalists that are judged at the same time.
    """

    def __init__(self, archive: Archive, *, rounds: int, reading: float, timing: float, at_once: int = 1) -> None:
        self._archive, self._at_once = archive, at_once
        self._rounds, self._reading, self._timing = rounds, reading, timing

    @property
    def making(self) -> float:
        """Seconds that making and measuring a candidate takes, its training left out; 0 while none is known.

        Of uneven numbers the median says more than the mean: one long training is not expected again.
        """
        others = [candidate.seconds for candidate in self._archive.candidates.values() if candidate.number]
        return median(others) if others else 0.0

    def verification(self, front: Front) -> float:
        """Seconds that measuring those finalists again takes that are not verified; 0 where it is not asked for."""
        finalists = sum(not point.verified for point in front.finalists) if self._rounds else 0
        if not finalists:
            return 0.0
        whole = [one for one in self._archive.candidates.values() if not one.rejected]
        # What was not trained was measured and little else. That may be the dense model alone, which may come trained.
        measuring = min(one.seconds for one in whole)
        timing = finalists * len(whole[0].latest().latency) * self._timing
        judging = measuring * (1 + math.ceil((finalists - 1) / self._at_once))  # the baseline before all others
        return judging + self._rounds * timing + (self._rounds - 1) * (STARTING_S + self._reading)

    def expected(
        self, *, stage: float, making: int, at_once: int, front: Front, limit: float, trains: bool
    ) -> Expected | None:
        """What is still to come, verification included; None where nothing is, or nothing is known of it.

        Args:
            stage: seconds that the looks and trainings of the stage take that is under way.
            making: candidates that are still to be made.
            at_once: candidates that are made at the same time.
            front: so far.
            limit: seconds until the time is over.
            trains: whether something is trained, or refined, now or after this stage.
        """
        after = making * self.making / at_once + self.verification(front)
        more = trains or (making > 0 and not self.making)
        known = bool(stage or after) or (more and math.isfinite(limit))
        return Expected(current=stage, after=after, limit=limit, open=more) if known else None
