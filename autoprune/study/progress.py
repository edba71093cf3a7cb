"""How far a running search is."""

from __future__ import annotations

from dataclasses import dataclass

from autoprune.fronts.front import Front
from autoprune.record.archive import Candidate


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a search is.

    Attributes:
        trials, of: new recipes that the sampler asked for, and the budget.
        front: the front so far.
        rejected: candidates given up before they were measured whole.
        latest: the candidate that was just finished.
        seconds_left: estimated; None while nothing is known.
    """

    trials: int
    of: int
    front: Front
    rejected: int
    latest: Candidate
    seconds_left: float | None
