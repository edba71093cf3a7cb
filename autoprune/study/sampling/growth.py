"""When a search has found what there is to find."""

from __future__ import annotations

LEAST = 0.01
"""A search goes on while what it covers grows by a larger share than that."""


class Growth:
    """How the hypervolume of looks grows, batch by batch.

    Attributes:
        volumes: after each batch.
    """

    def __init__(self) -> None:
        self.volumes: list[float] = []

    def add(self, volume: float) -> None:
        """Takes down the hypervolume after one more batch."""
        self.volumes.append(volume)

    def stands_still(self, over: int) -> bool:
        """Whether it has not grown over so many batches: by no larger share than `LEAST`."""
        return len(self.volumes) > over and self.volumes[-1] <= (1 + LEAST) * self.volumes[-1 - over]
