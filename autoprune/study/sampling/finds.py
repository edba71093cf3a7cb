"""Finds: the best of the looks, looked at more closely before they are chosen and made.

The best of thousands of looks look better than they are: each asked the same few users, and those that were lucky with
these came out ahead (the winner's curse; Cawley & Talbot 2010, "On Over-fitting in Model Selection and Subsequent
Selection Bias in Performance Evaluation"). So the looks choose a few dozen recipes, and closer looks, which use more
data, choose among these. Looks and closer looks are never mixed: each is compared to the dense model on the same data.
Finds are made a few at a time: a measured candidate tells about all recipes that differ from it only in their codes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from autoprune.deadline import Deadline
from autoprune.fronts.promises import Promises
from autoprune.measure.measurement import Measurement
from autoprune.record.looks import Look
from autoprune.study.sampling.lookout import Lookout

TIMES = 3
"""So many closer looks are taken for each find that is made."""

NEARLY, HASTILY = 0.01, 0.05
"""The share by which a look may miss a requirement and still get a closer look: it may have been unlucky or, if looks
are hasty, may have lacked what would have made it hold."""

NEAREST = 3
"""If no look meets the requirements, so many of the nearest are made, to show what is missing."""


class Finds:
    """Chooses the finds to make.

    Args:
        promises: of all looks.
        closer: takes closer looks; None if these would use no more data.
        kin: a name that looks share if they differ only in their codes.
        hasty: whether looks, apart from closer ones, are taken in haste.

    Attributes:
        closer: see above.
        chosen: keys of the looks that were chosen.
        left: closer looks that the last choice had no time for.
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
        self._kin, self._kin_of_key = kin, dict[str, str]()
        self._slack = HASTILY if hasty else NEARLY
        self.chosen: set[str] = set()
        self.left = 0
        self._nearest = NEAREST

    def seconds(self, count: int) -> float:
        """About how many seconds choosing `count` finds takes."""
        return TIMES * count * self.closer.pace / self.closer.slots if self.closer else 0.0

    def choose(
        self,
        count: int,
        *,
        beside: Collection[str],
        until: Deadline,
        measured: Mapping[str, Measurement] | None = None,
    ) -> list[Look]:
        """Looks that represent their front and were not chosen before.

        Args:
            count: how many, at most.
            beside: keys of candidates that are made in any case.
            until: when no more closer looks are begun; those that the looks alone would choose are chosen without one.
            measured: measurements by key; they correct the predictions of the looks.
        """
        known, promises = {*self.chosen, *beside}, self._corrected(self._promises, measured)
        chosen = self._best(promises, count, known)
        if self.closer is not None:
            # Those that the looks alone would choose come first: if time runs out, they at least cover the whole front.
            passed = {*known, *(look.key for look in self.closer.promises.looks)}
            to_look_at = list(
                {look.key: look for look in [*chosen, *self._hopeful(promises, TIMES * count, passed)]}.values()
            )
            epochs = [look.epochs for look in to_look_at]
            looks = self.closer.take([look.recipe for look in to_look_at], epochs=epochs, until=until)
            self.left = looks.count(None)
            if any(look is not None and not look.failed for look in looks):
                without_one = [look for look, closer in zip(chosen, looks, strict=False) if closer is None]
                promises = self._corrected(self.closer.promises, measured)
                chosen = self._best(promises, count, known)
                chosen += without_one[: count - len(chosen)]
        if not promises.front(wanted=_is_done):
            self._nearest = max(0, self._nearest - len(chosen))
        self.chosen |= {look.key for look in chosen}
        return chosen

    def _best(self, promises: Promises, count: int, known: Collection[str]) -> list[Look]:
        """Looks that represent the front of finished looks, apart from known ones; if none is feasible, the nearest."""
        front = promises.front(wanted=_is_done)
        if not front:
            nearest = [look for look in _nearest(promises, NEAREST) if look.key not in known]
            return nearest[: min(count, self._nearest)]
        known_on_front = [look for look in front if look.key in known]
        return promises.thinned([look for look in front if look.key not in known], count, beside=known_on_front)

    def _corrected(self, promises: Promises, measured: Mapping[str, Measurement] | None) -> Promises:
        return promises.corrected(measured, kin=self._kin_of) if measured else promises

    def _kin_of(self, look: Look) -> str:
        if look.key not in self._kin_of_key:
            self._kin_of_key[look.key] = self._kin(look)
        return self._kin_of_key[look.key]

    def _hopeful(self, promises: Promises, count: int, known: Collection[str]) -> list[Look]:
        """Looks that closer looks may show to be on the front: the front, then the front of the rest, and so on.

        A look just behind the front may only have been unlucky. Known looks on the front are included, so that what
        they represent counts as covered.
        """
        seen = set[str]()

        def is_next(look: Look) -> bool:
            return look.done and look.key not in seen

        looks = [look for look in promises.front(wanted=is_next, slack=self._slack) if look.key in known]
        most = count + len(looks)
        while len(looks) < most and (layer := promises.front(wanted=is_next, slack=self._slack)):
            seen.update(look.key for look in layer)
            looks += promises.thinned([look for look in layer if look.key not in known], most - len(looks))
        return looks or _nearest(promises, TIMES * NEAREST)


def _nearest(promises: Promises, count: int) -> list[Look]:
    return [look for look in promises.nearest() if look.done][:count]


def _is_done(look: Look) -> bool:
    return look.done
