"""The drivers of a search: one process alone, or several that share its work and its folder.

All drivers of a study request the same work, since requests follow from the record. Each piece of work goes to one of
them; the others read its result from the record.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from autoprune.deadline import NEVER, Deadline

MEASURING = "measuring"
"""The piece of work that covers timing candidates and verifying them, so that only one driver does either at a time."""


class Team(ABC):
    """The drivers of a study, from the view of one of them. Pieces of work are identified by names."""

    @property
    @abstractmethod
    def sole(self) -> bool:
        """Whether nobody else drives the study at the moment."""

    @abstractmethod
    def claim(self, works: Sequence[str], *, at_once: int) -> list[str]:
        """Claims pieces of work, so that other drivers will not do them; returns the claimed ones in their order.

        Args:
            works: names of the pieces.
            at_once: how many to claim at most, if others could do the rest.
        """

    @abstractmethod
    def release(self, works: Sequence[str]) -> None:
        """Releases claims: the work is on record, or other drivers may do it."""

    @abstractmethod
    def turn(self) -> AbstractContextManager[object]:
        """A context in which no other driver writes to the study's folder."""

    @abstractmethod
    def wait(self) -> None:
        """Waits a moment for the others to make progress."""

    @contextmanager
    def alone(self, work: str, *, until: Deadline = NEVER) -> Iterator[bool]:
        """Waits for the claim on a piece of work and holds it meanwhile; yields False if the time was over before."""
        claimed = self.claim([work], at_once=1)
        while not claimed and until.left > 0:
            self.wait()
            claimed = self.claim([work], at_once=1)
        try:
            yield bool(claimed)
        finally:
            self.release(claimed)


class Alone(Team):
    """One process drives the study, and holds its folder, see `autoprune.record.folder.driving`."""

    sole = True

    def claim(self, works: Sequence[str], *, at_once: int) -> list[str]:
        del at_once
        return list(works)

    def release(self, works: Sequence[str]) -> None:
        pass

    def turn(self) -> AbstractContextManager[object]:
        return nullcontext()

    def wait(self) -> None:
        raise AssertionError("there is nobody to wait for")


ALONE = Alone()
