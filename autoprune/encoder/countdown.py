"""Estimates how long the reading of many texts still takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from autoprune.deadline import clock

EVERY_S = 5.0
"""Seconds between messages; shorter work is not reported at all."""


class Countdown:
    """Reports now and then how long a reading still takes.

    Args:
        doing: what is being done, in a few words.
        of: how much there is to read, in any unit.
        tell: called with `doing` and the time left.
    """

    def __init__(self, doing: str, of: float, tell: Callable[[str], None]) -> None:
        self._doing, self._total, self._tell = doing, of, tell
        self._begun = self._reported = time.monotonic()

    def reached(self, done: float) -> None:
        """Reports the time left, if the last message is long enough ago; `done` is how much has been read."""
        now = time.monotonic()
        if now - self._reported >= EVERY_S and 0 < done < self._total:
            self._reported = now
            left = (now - self._begun) * (self._total - done) / done
            self._tell(f"{self._doing}: {done / self._total:.0%}, about {clock(left)} left")
