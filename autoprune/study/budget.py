"""The time of a search: how much is left, how much each stage may take, and what there was no time for."""

from __future__ import annotations

import math
from collections.abc import Callable

from autoprune.deadline import Deadline

RESERVED = 0.25
"""The largest share of study.minutes that the search reserves for verification."""


class Budget:
    """The time of a search.

    Args:
        deadline: when the run is to end, verification included.
        minutes: the time limit of the run; None: no limit.
        verification: returns the seconds that verifying the current front is expected to take.

    Attributes:
        stopped: what was being done when the time ran out, empty if nothing was; None while there is time.
        undone: what the search skipped or stopped early for lack of time, each in a few words.
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
        """Seconds until the search ends; the time for verification is already deducted."""
        left = self._deadline.left
        if self._minutes is None or math.isinf(left):
            return left
        return left - min(self._verification(), RESERVED * 60 * self._minutes)

    @property
    def ending(self) -> Deadline:
        """When the search ends."""
        return Deadline.after(self.seconds)

    def share(self, share: float, *, but: float = 0.0, before: float = 0.0) -> Deadline:
        """The deadline of a stage that may take a share of the time left.

        Args:
            share: of the time left.
            but: seconds of it to leave for the following stages.
            before: seconds that the stage took in earlier runs of this search; they count towards its share.
        """
        return Deadline.after(max(0.0, share * (self.seconds + before) - before - but))

    def over(self, undone: str = "") -> bool:
        """Whether the search is out of time; if it is, notes what is left undone."""
        if self.stopped is None and self.seconds <= 0:
            self.stopped = ""  # final, although a later estimate of the verification may be lower
        if self.stopped is not None and undone:
            self.undone.append(undone)
        return self.stopped is not None
