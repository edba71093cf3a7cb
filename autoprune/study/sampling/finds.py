"""What is made of all that was looked at: the best of the looks, looked at once more before they are chosen.

The best of thousands of looks look better than they are, for each asked the same few users, and what was lucky with
these came out ahead (the winner's curse; Cawley & Talbot 2010, "On Over-fitting in Model Selection and Subsequent
Selection Bias in Performance Evaluation"). So the looks choose a few dozen, and closer looks, which ask more, choose
among these. The two are read apart, each against the dense model as asked the same.
"""

from __future__ import annotations

from collections.abc import Collection

from autoprune.deadline import Deadline
from autoprune.fronts.promises import Promises
from autoprune.record.looks import Look
from autoprune.study.sampling.lookout import Lookout

TIMES = 3
"""Times as many of the looks' front are looked at closer as are made."""

NEAREST = 3
"""Looks that are made where none holds, so that it can be said what is missing."""


class Finds:
    """Chooses what is made.

    Args:
        promises: of all looks.
        closer: takes closer looks; None where these would ask no more.

    Attributes:
        closer: as above.
        chosen: keys of the looks that were chosen.
    """

    def __init__(self, promises: Promises, closer: Lookout | None) -> None:
        self._promises, self.closer = promises, closer
        self.chosen: set[str] = set()

    def choose(self, count: int, *, beside: Collection[str], until: Deadline) -> list[Look]:
        """Looks that stand for their front, and were not chosen before.

        Args:
            count: how many, at most.
            beside: keys of what is made in any case.
            until: when no more closer looks are begun; those that were taken choose.
        """
        known = {*self.chosen, *beside}
        _, chosen = _best(self._promises, count, known)
        if self.closer is not None:
            there, more = _best(self._promises, count, known, times=TIMES)
            # Those that would be made without it come first: if the time is over they are at least spread over all.
            keys = {look.key for look in chosen}
            more = sorted(more, key=lambda look: look.key not in keys)
            found = [*there, *more]
            epochs = [look.epochs for look in found]
            looks = self.closer.take([look.recipe for look in found], epochs=epochs, until=until)
            if any(looks):
                _, chosen = _best(self.closer.promises, count, known)
        self.chosen |= {look.key for look in chosen}
        return chosen


def _best(promises: Promises, count: int, known: Collection[str], *, times: int = 1) -> tuple[list[Look], list[Look]]:
    """What stands on the front of finished looks: those that are known, and of the others those that stand for it."""
    found = promises.front(wanted=lambda look: look.done)
    if not found:
        return [], [look for look in promises.nearest() if look.done][: times * NEAREST]
    there = [look for look in found if look.key in known]
    others = [look for look in found if look.key not in known]
    return there, promises.thinned(others, times * count, beside=there)
