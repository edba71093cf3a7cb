"""How long a training still takes, by the time that its own updates took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from autoprune.deadline import clock

MEASURABLE_S = 2.0
"""Less than this tells nothing of the rest: the first updates fill caches."""


class Pace:
    """Seconds of a training, measured as it goes.

    Attributes:
        updates: that were measured.
    """

    def __init__(self) -> None:
        self.updates = 0
        self._seconds = self._look = 0.0

    def add(self, seconds: float) -> None:
        """One more update took so long."""
        self.updates += 1
        self._seconds += seconds

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Measures a look at validation data."""
        start = time.monotonic()
        yield
        self._look = time.monotonic() - start

    def seconds(self, updates: float, looks: float = 0.0) -> float | None:
        """What so many updates and looks take; None while too little is measured."""
        if not self.updates or self._seconds < MEASURABLE_S:
            return None
        return self._seconds / self.updates * updates + self._look * looks


def left(fewest: float | None, most: float | None) -> str:
    """A length of time in words, with a comma before it: `, about 1:10 to 12:30 left`; empty where nobody knows."""
    if fewest is None or most is None:
        return ""
    one, other = clock(fewest), clock(most)
    return f", about {one} left" if one == other else f", about {one} to {other} left"
