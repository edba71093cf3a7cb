"""Who drives a search: one process alone, or several that share its work and its folder.

Drivers of one study ask for the same, since what is asked for follows from what is on record. Each piece of work goes
to one of them; the others read from the record what came of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from autoprune.deadline import NEVER, Deadline

MEASURING = "measuring"
"""The work of whoever times what was made, and of whoever verifies it: one of these at a time."""


class Team(ABC):
    """The drivers of a study, as one of them sees it. Pieces of work have names."""

    @property
    @abstractmethod
    def sole(self) -> bool:
        """Whether nobody else drives the study now."""

    @abstractmethod
    def claim(self, works: Sequence[str], *, at_once: int) -> list[str]:
        """Those of some pieces of work that are now this driver's, in their order; others will not do them.

        Args:
            at_once: how many it takes at most, where others could do the rest.
        """

    @abstractmethod
    def release(self, works: Sequence[str]) -> None:
        """Gives up what was claimed: it is on record, or somebody else may do it."""

    @abstractmethod
    def turn(self) -> AbstractContextManager[object]:
        """Within it no other driver writes into the study's folder."""

    @abstractmethod
    def wait(self) -> None:
        """Lets some time pass in which others may get on."""

    @contextmanager
    def alone(self, work: str, *, until: Deadline = NEVER) -> Iterator[bool]:
        """Does a piece of work while nobody else does, waited for; gives False where the time was over before."""
        mine = self.claim([work], at_once=1)
        while not mine and until.left > 0:
            self.wait()
            mine = self.claim([work], at_once=1)
        try:
            yield bool(mine)
        finally:
            self.release(mine)


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
