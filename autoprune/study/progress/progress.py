"""How far a running search is, and how long it will still take."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from autoprune.deadline import clock
from autoprune.fronts.front import Front
from autoprune.record.archive import Candidate

OVERDUE = 0.1
"""If work has taken longer than expected, this share of the elapsed time is expected on top."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """An estimate of the remaining work, as plain values.

    Attributes:
        current: seconds that the current work still took when the estimate was made.
        after: seconds of all later work.
        limit: seconds until the time is over.
        open: whether work of unknown length follows, such as training.
    """

    current: float
    after: float = 0.0
    limit: float = math.inf
    open: bool = False

    def left(self, elapsed: float = 0.0) -> float:
        """Seconds to the end, `elapsed` seconds after the estimate was made; at least one."""
        rest = self.limit - elapsed
        if self.open and math.isfinite(self.limit):  # it uses the time while it finds more
            return max(1.0, rest)
        return max(1.0, min(max(self.current - elapsed, OVERDUE * elapsed) + self.after, rest))

    def text(self, elapsed: float = 0.0) -> str:
        """The remaining time in words."""
        least = self.open and math.isinf(self.limit)
        return f"{'at least' if least else 'about'} {clock(self.left(elapsed))} left"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a search is.

    Attributes:
        stage: `baseline`, `presets`, `scan`, `training` or `refinement`.
        looks: taken so far.
        trials: recipes chosen for training so far.
        front: the front so far.
        rejected: candidates given up before they were fully measured.
        latest: the candidate that was just finished.
        expected: the remaining work, verification included; None if there is none, or nothing is known about it.
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
        """Estimated seconds to the end; None if `expected` is None."""
        return self.expected.left() if self.expected else None


@dataclass(frozen=True, kw_only=True)
class Watching:
    """Callbacks that report on a search.

    Attributes:
        report: called whenever a candidate is finished.
        working: called with a few words about the work in progress.
        note: called with messages that should stay visible, such as what the data is or that time is short.
        expect: called with an estimate of the remaining work; None if it is unknown.
    """

    report: Callable[[Progress], None] = lambda progress: None
    working: Callable[[str], None] = lambda message: None
    note: Callable[[str], None] = lambda message: None
    expect: Callable[[Expected | None], None] = lambda expected: None
