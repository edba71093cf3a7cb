"""What is made of all that was looked at: the best of the looks, looked at once more before they are chosen.

The best of thousands of looks look better than they are, for each asked the same few users, and what was lucky with
these came out ahead (the winner's curse; Cawley & Talbot 2010, "On Over-fitting in Model Selection and Subsequent
Selection Bias in Performance Evaluation"). So the looks choose a few dozen, and closer looks, which ask more, choose
among these. The two are read apart, each against the dense model as asked the same. Finds are made a few at a time:
what was measured of one tells of all that differ from it in their codes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from autoprune.deadline import Deadline
from autoprune.fronts.promises import Promises
from autoprune.measure.measurement import Measurement
from autoprune.record.looks import Look
from autoprune.study.sampling.lookout import Lookout

TIMES = 3
"""Times as many are looked at closer as are made."""

NEARLY, HASTILY = 0.01, 0.05
"""The share of a requirement by which a look may miss it to be looked at closer: it may have been unlucky, or, where
looks are at what is made in haste, have lacked what would have held it."""

NEAREST = 3
"""Looks that are made in all where none holds, so that it can be said what is missing."""


class Finds:
    """Chooses what is made.

    Args:
        promises: of all looks.
        closer: takes closer looks; None where these would ask no more.
        kin: what looks have in common that differ in their codes alone.
        hasty: whether looks, but for closer ones, are at what is made in haste.

    Attributes:
        closer: as above.
        chosen: keys of the looks that were chosen.
        left: closer looks that there was no time for, when this was last asked.
    """

    def __init__(
        self,
        promises: Promises,
        closer: Lookout | None,
        *,
        kin: Callable[[Look], str] = lambda look: look.key,
        hasty: bool = False,
    ) -> None:
        self._promises, self.closer = promises, closer
        self._kin, self._kept = kin, dict[str, str]()
        self._slack = HASTILY if hasty else NEARLY
        self.chosen: set[str] = set()
        self.left = 0
        self._nearest = NEAREST

    def seconds(self, count: int) -> float:
        """That it takes to choose so many, about."""
        return TIMES * count * self.closer.pace / self.closer.slots if self.closer else 0.0

    def choose(
        self,
        count: int,
        *,
        beside: Collection[str],
        until: Deadline,
        measured: Mapping[str, Measurement] | None = None,
    ) -> list[Look]:
        """Looks that stand for their front, and were not chosen before.

        Args:
            count: how many, at most.
            beside: keys of what is made in any case.
            until: when no more closer looks are begun; those that were taken choose, or if none was, the looks.
            measured: what was measured, by key, which corrects what looks foretell.
        """
        known, promises = {*self.chosen, *beside}, self._corrected(self._promises, measured)
        chosen = self._best(promises, count, known)
        if self.closer is not None:
            # Those that would be made without it come first: if the time is over they are at least spread over all.
            seen = {*known, *(look.key for look in self.closer.promises.looks)}
            found = list({look.key: look for look in [*chosen, *self._hopeful(promises, TIMES * count, seen)]}.values())
            epochs = [look.epochs for look in found]
            looks = self.closer.take([look.recipe for look in found], epochs=epochs, until=until)
            self.left = looks.count(None)
            if any(look is not None and not look.failed for look in looks):
                promises = self._corrected(self.closer.promises, measured)
                chosen = self._best(promises, count, known)
        if not promises.front(wanted=_is_done):
            self._nearest -= len(chosen)
        self.chosen |= {look.key for look in chosen}
        return chosen

    def _best(self, promises: Promises, count: int, known: Collection[str]) -> list[Look]:
        """What stands for the front of finished looks, beside what is known of it; where none holds, the nearest."""
        found = promises.front(wanted=_is_done)
        if not found:
            nearest = [look for look in _nearest(promises, NEAREST) if look.key not in known]
            return nearest[: min(count, self._nearest)]
        there = [look for look in found if look.key in known]
        return promises.thinned([look for look in found if look.key not in known], count, beside=there)

    def _corrected(self, promises: Promises, measured: Mapping[str, Measurement] | None) -> Promises:
        return promises.corrected(measured, kin=self._kin_of) if measured else promises

    def _kin_of(self, look: Look) -> str:
        if look.key not in self._kept:
            self._kept[look.key] = self._kin(look)
        return self._kept[look.key]

    def _hopeful(self, promises: Promises, count: int, known: Collection[str]) -> list[Look]:
        """What a closer look may find on the front: what stands there, then what stands there without that, and so on.

        What fell behind by little may only have been unlucky. Known ones on the front come beside these, so that it is
        seen what they stand for.
        """
        passed = set[str]()

        def is_next(look: Look) -> bool:
            return look.done and look.key not in passed

        found = [look for look in promises.front(wanted=is_next, slack=self._slack) if look.key in known]
        most = count + len(found)
        while len(found) < most and (layer := promises.front(wanted=is_next, slack=self._slack)):
            passed.update(look.key for look in layer)
            found += promises.thinned([look for look in layer if look.key not in known], most - len(found))
        return found or _nearest(promises, TIMES * NEAREST)


def _nearest(promises: Promises, count: int) -> list[Look]:
    return [look for look in promises.nearest() if look.done][:count]


def _is_done(look: Look) -> bool:
    return look.done
