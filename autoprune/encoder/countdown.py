"""How long the reading of many texts still takes, by how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from autoprune.deadline import clock

EVERY_S = 5.0
"""What is sooner over is not told of, and what takes longer is told of as often."""


class Countdown:
    """Tells now and then how long a reading still takes.

    Args:
        doing: what is done, in a few words.
        of: how much there is to read, in any unit.
        tell: called with these words and the time that is left.
    """

    def __init__(self, doing: str, of: float, tell: Callable[[str], None]) -> None:
        self._doing, self._of, self._tell = doing, of, tell
        self._begun = self._told = time.monotonic()

    def reached(self, done: float) -> None:
        """So much is read by now."""
        now = time.monotonic()
        if now - self._told >= EVERY_S and 0 < done < self._of:
            self._told = now
            left = (now - self._begun) * (self._of - done) / done
            self._tell(f"{self._doing}: {done / self._of:.0%}, about {clock(left)} left")
