"""The time of a search: what is left of it, who may have how much, and what it did not do for."""

from __future__ import annotations

import math
from collections.abc import Callable

from autoprune.deadline import Deadline

RESERVED = 0.25
"""The share of study.minutes that the search leaves to the verification at most."""


class Budget:
    """The time of a search.

    Args:
        deadline: when the run is to end, verification included.
        minutes: that it has in all; None: no limit.
        verification: seconds that verifying what was found takes, by now.

    Attributes:
        stopped: what was in the making when the time was over, empty where nothing was; None while it is not over.
        undone: what the search did not come to, or stopped in, each in a few words.
    """

    def __init__(self, deadline: Deadline, *, minutes: float | None, verification: Callable[[], float]) -> None:
        self._deadline, self._minutes, self._verification = deadline, minutes, verification
        self.stopped: str | None = None
        self.undone: list[str] = []

    @property
    def limit(self) -> float:
        """Seconds until the run ends."""
        return self._deadline.left

    @property
    def seconds(self) -> float:
        """Until the search is over; a part of the time is left to the verification of what it found."""
        left = self._deadline.left
        if self._minutes is None or math.isinf(left):
            return left
        return left - min(self._verification(), RESERVED * 60 * self._minutes)

    @property
    def ending(self) -> Deadline:
        """When the search is over."""
        return Deadline.after(self.seconds)

    def share(self, share: float, *, but: float = 0.0, before: float = 0.0) -> Deadline:
        """When a stage is to end that may take a share of what is left, and leaves some seconds to what follows it.

        Args:
            but: the seconds that it leaves.
            before: seconds that it took in runs that this one goes on with: these are a part of its share.
        """
        return Deadline.after(max(0.0, share * (self.seconds + before) - before - but))

    def over(self, undone: str = "") -> bool:
        """Whether the search is over; notes what it does not come to then."""
        if self.stopped is None and self.seconds <= 0:
            self.stopped = ""  # for good: a later estimate may be lower
        if self.stopped is not None and undone:
            self.undone.append(undone)
        return self.stopped is not None
