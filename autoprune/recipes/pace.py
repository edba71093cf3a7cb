"""Estimates how long a training will still take, from the time that its updates have taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from autoprune.deadline import clock

MEASURABLE_S = 2.0
"""Fewer seconds are no basis for an estimate, since the first updates fill caches."""


class Pace:
    """The pace of a training, measured as it runs.

    Attributes:
        updates: number of measured updates.
    """

    def __init__(self) -> None:
        self.updates = 0
        self._seconds = self._validation_seconds = 0.0

    def add(self, seconds: float) -> None:
        """Adds an update that took so long."""
        self.updates += 1
        self._seconds += seconds

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Measures a validation."""
        start = time.monotonic()
        yield
        self._validation_seconds = time.monotonic() - start

    def seconds(self, updates: float, validations: float = 0.0) -> float | None:
        """Seconds that so many updates and validations take; None while too little is measured."""
        if not self.updates or self._seconds < MEASURABLE_S:
            return None
        return self._seconds / self.updates * updates + self._validation_seconds * validations


def left(fewest: float | None, most: float | None) -> str:
    """The remaining time in words, such as `, about 1:10 to 12:30 left`; empty if it is unknown."""
    if fewest is None or most is None:
        return ""
    least, longest = clock(fewest), clock(most)
    return f", about {least} left" if least == longest else f", about {least} to {longest} left"
