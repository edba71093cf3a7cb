"""Decides when a search no longer finds anything new."""

from __future__ import annotations

from autoprune.fronts.promises import Promises

LEAST = 0.01
"""A search continues while its hypervolume grows by a larger share than this."""

EFFORT = 1 / 2
"""Looks end once this share of their batches, the last ones, has found nothing more: the effort counts, not the cost of
a look."""


class Growth:
    """How the hypervolume of looks grows, batch by batch.

    Attributes:
        volumes: the hypervolume after each batch, since the last change in how looks are read.
    """

    def __init__(self) -> None:
        self.volumes: list[float] = []
        self._turns = 0

    def add(self, promises: Promises) -> None:
        """Records the hypervolume after one more batch."""
        if promises.turns != self._turns:  # earlier volumes are not comparable with later ones
            self._turns, self.volumes = promises.turns, []
        self.volumes.append(promises.hypervolume)

    def stands_still(self, over: int) -> bool:
        """Whether it has grown by no more than `LEAST` over so many batches."""
        return len(self.volumes) > over and self.volumes[-1] <= (1 + LEAST) * self.volumes[-1 - over]

    def is_over(self, fewest: int) -> bool:
        """Whether there were enough batches, and the last `EFFORT` of them found nothing more."""
        batches = len(self.volumes)
        return batches >= fewest and self.stands_still(round(EFFORT * batches))
