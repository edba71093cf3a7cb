"""Deadlines, which every phase of a study checks every few seconds."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from autoprune.errors import AutopruneError


class OutOfTime(AutopruneError):
    """The time of a run is over; work that can be resumed is kept.

    Args:
        doing: what was being done, and how far it had got.
    """

    def __init__(self, doing: str) -> None:
        super().__init__(doing)
        self.doing = doing


@dataclass(frozen=True)
class Deadline:
    """A moment on this machine's clock; by default it never comes.

    Attributes:
        at: in terms of `time.monotonic`.
    """

    at: float = math.inf

    @staticmethod
    def after(seconds: float) -> Deadline:
        """The deadline so many seconds from now."""
        return Deadline(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds until the deadline; negative once it has passed."""
        return self.at - time.monotonic()

    def check(self, doing: str) -> None:
        """Stops work if the time is over.

        Raises:
            OutOfTime: the time is over.
        """
        if self.left <= 0:
            raise OutOfTime(doing)


NEVER = Deadline()


def clock(seconds: float) -> str:
    """A duration as `0:07`, `12:34` or `3:04:00`; at least one second."""
    minutes, rest = divmod(max(1, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
