"""How far a running search is, and how long it still takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from autoprune.deadline import clock
from autoprune.fronts.front import Front
from autoprune.record.archive import Candidate

OVERDUE = 0.1
"""Of what has taken longer than expected, so much of what it has taken is expected still."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is still to come, by what was measured before; plain values.

    Attributes:
        current: seconds that what is in the making takes, from when this was said.
        after: seconds of all that follows it.
        limit: seconds until the time is over.
        open: whether more follows of which nobody knows how long it takes, such as training.
    """

    current: float
    after: float = 0.0
    limit: float = math.inf
    open: bool = False

    def left(self, elapsed: float = 0.0) -> float:
        """Seconds to the end, `elapsed` seconds after this was said; never less than one while there is work."""
        rest = self.limit - elapsed
        if self.open and math.isfinite(self.limit):  # it goes on while it finds more
            return max(1.0, rest)
        return max(1.0, min(max(self.current - elapsed, OVERDUE * elapsed) + self.after, rest))

    def text(self, elapsed: float = 0.0) -> str:
        """How long it still takes, in words."""
        least = self.open and math.isinf(self.limit)
        return f"{'at least' if least else 'about'} {clock(self.left(elapsed))} left"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a search is.

    Attributes:
        stage: `baseline`, `presets`, `scan`, `training` or `refinement`.
        looks: taken so far.
        trials: recipes that were asked for to be trained.
        front: the front so far.
        rejected: candidates given up before they were measured whole.
        latest: the candidate that was just finished.
        expected: what is still to come, verification included; None while nothing is known of it, and where nothing is
            to come.
    """

    stage: str
    looks: int
    trials: int
    front: Front
    rejected: int
    latest: Candidate
    expected: Expected | None

    @property
    def seconds_left(self) -> float | None:
        """Estimated; None where nothing is expected."""
        return self.expected.left() if self.expected else None


@dataclass(frozen=True, kw_only=True)
class Watching:
    """Who is told how a search goes.

    Attributes:
        report: called whenever a candidate is finished.
        working: called with a few words about the work in progress.
        note: called with what should stay in sight: what the data is, and that the time will not do.
        expect: called with what is still to come; None where nobody knows.
    """

    report: Callable[[Progress], None] = lambda progress: None
    working: Callable[[str], None] = lambda message: None
    note: Callable[[str], None] = lambda message: None
    expect: Callable[[Expected | None], None] = lambda expected: None
