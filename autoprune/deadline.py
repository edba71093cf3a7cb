"""When work has to stop: looked at in every phase of a study, every few seconds."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from autoprune.errors import AutopruneError


class OutOfTime(AutopruneError):
    """The time of a run is over; what can go on from where it was is kept.

    Args:
        doing: what was being done, and how far it was.
    """

    def __init__(self, doing: str) -> None:
        super().__init__(doing)
        self.doing = doing


@dataclass(frozen=True)
class Deadline:
    """A moment on this machine's clock; by default one that never comes.

    Attributes:
        at: as `time.monotonic` tells it.
    """

    at: float = math.inf

    @staticmethod
    def after(seconds: float) -> Deadline:
        """So many seconds from now."""
        return Deadline(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds until then; below 0 once it is over."""
        return self.at - time.monotonic()

    def check(self, doing: str) -> None:
        """Stops what is being done if the time is over.

        Raises:
            OutOfTime: it is.
        """
        if self.left <= 0:
            raise OutOfTime(doing)


NEVER = Deadline()


def clock(seconds: float) -> str:
    """A length of time: `0:07`, `12:34`, `3:04:00`; never less than a second."""
    minutes, rest = divmod(max(1, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
