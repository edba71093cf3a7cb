"""How long what is left of a search takes, by what was measured in it."""

from __future__ import annotations

from statistics import median

from autoprune.fronts.front import Front
from autoprune.record.archive import TRIAL, Archive
from autoprune.study.progress import Expected

STARTING_S = 5.0
"""What a process that times finalists takes to begin, beside reading the data."""


class Outlook:
    """Estimates for a search.

    Args:
        archive: of the study, as it grows.
        rounds: processes that time each finalist; 0 where none is verified.
        reading: seconds that reading the data took.
        timing: seconds that each workload of a finalist is timed.
    """

    def __init__(self, archive: Archive, *, rounds: int, reading: float, timing: float) -> None:
        self._archive = archive
        self._rounds, self._reading, self._timing = rounds, reading, timing

    def work(self, presets: int, trials: int) -> list[float] | None:
        """Seconds of each preset and trial that is still to be measured; None where nothing was measured yet.

        Of uneven numbers the median says more than the mean: one long training is not expected again.
        """
        if not presets and not trials:
            return []
        others = [candidate for candidate in self._archive.candidates.values() if candidate.number]
        if not others:
            return None
        takes = []
        for count, asked in ((presets, False), (trials, True)):
            alike = [candidate.seconds for candidate in others if (candidate.name == TRIAL) == asked]
            takes += [median(alike or [candidate.seconds for candidate in others])] * count
        return takes

    def verification(self, front: Front) -> float:
        """Seconds that measuring the finalists again takes; 0 where it is not asked for."""
        if not self._rounds:
            return 0.0
        whole = [one for one in self._archive.candidates.values() if not one.rejected]
        # What was not trained was measured and little else; of the baseline that is not known, for it was trained.
        measuring = min((one.seconds for one in whole if one.number), default=whole[0].seconds)
        finalists = len(front.finalists)
        timing = finalists * len(whole[0].latest().latency) * self._timing
        return finalists * measuring + (self._rounds - 1) * (STARTING_S + self._reading + timing)

    def expected(self, presets: int, trials: int, *, front: Front, limit: float) -> Expected | None:
        """What is still to come, verification included; None where nothing is, and while nothing is known of it.

        Args:
            presets, trials: that are not measured.
            front: so far.
            limit: seconds until the time is over.
        """
        work, verification = self.work(presets, trials), self.verification(front)
        if work is None or not (work or verification):
            return None
        current, *after = [*work, verification]
        return Expected(current=current, after=sum(after), limit=limit)
