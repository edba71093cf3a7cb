"""When a search has found what there is to find."""

from __future__ import annotations

from autoprune.fronts.promises import Promises

LEAST = 0.01
"""A search goes on while what it covers grows by a larger share than that."""

EFFORT = 1 / 2
"""Looks are at an end once the last part of their batches has found no more: what a look costs does not matter, what
came of the effort does."""


class Growth:
    """How the hypervolume of looks grows, batch by batch.

    Attributes:
        volumes: after each batch, since looks were last read otherwise.
    """

    def __init__(self) -> None:
        self.volumes: list[float] = []
        self._read = 0

    def add(self, promises: Promises) -> None:
        """Takes down the hypervolume after one more batch."""
        if promises.turns != self._read:  # volumes of before say nothing of those to come
            self._read, self.volumes = promises.turns, []
        self.volumes.append(promises.hypervolume)

    def stands_still(self, over: int) -> bool:
        """Whether it has not grown over so many batches: by no larger share than `LEAST`."""
        return len(self.volumes) > over and self.volumes[-1] <= (1 + LEAST) * self.volumes[-1 - over]

    def is_over(self, fewest: int) -> bool:
        """Whether the last `EFFORT` of the batches found no more, and there were enough of them."""
        batches = len(self.volumes)
        return batches >= fewest and self.stands_still(round(EFFORT * batches))
