"""The other dense models that a space allows: those that may meet the requirements are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autoprune.deadline import Deadline
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.sampler import Values

NEAR = 0.03
"""A dense model is trained if its stand-in misses no requirement by a larger share."""


class Bases:
    """Trains the other dense models of a space.

    Args:
        choices: the open values of the space.
        lookout: takes the looks.
        stand_in: an untrained recipe that resembles a dense model of other settings, see `autoprune.tasks.task.Task`.
        note: called with which dense model is passed over, and why.
    """

    def __init__(
        self,
        choices: Choices,
        lookout: Lookout,
        *,
        stand_in: Callable[[Mapping[str, Any]], Mapping[str, Any] | None],
        note: Callable[[str], None],
    ) -> None:
        self._choices, self._lookout = choices, lookout
        self._stand_in, self._note = stand_in, note
        self._wanted: list[Values] | None = None  # bases still to be trained, once they are chosen

    def begin(self, *, until: Deadline) -> None:
        """Starts training those that are worth it in the background, if there are free workers."""
        self._wanted = [base for base in self._choices.bases[1:] if self._is_worth_training(base, until)]
        self._lookout.begin([self._choices.recipe(base) for base in self._wanted], until=until)

    def trained(self, *, until: Deadline) -> list[Values]:
        """Waits until a deadline and returns the bases that have been trained since the last call."""
        if self._wanted is None:
            self.begin(until=until)
        wanted = self._wanted or []
        looks = self._lookout.take([self._choices.recipe(base) for base in wanted], until=until, apart=True)
        for look in looks:
            if look is not None and look.failed:
                self._note(f"A dense model of the space is passed over: {look.failed}")
        self._wanted = [base for base, look in zip(wanted, looks, strict=True) if look is None]
        return [base for base, look in zip(wanted, looks, strict=True) if look is not None and not look.failed]

    @property
    def coming(self) -> bool:
        """Whether more bases are still to be trained."""
        return bool(self._wanted)

    def _is_worth_training(self, base: Values, until: Deadline) -> bool:
        """Whether a dense model can come near the floors, judging by its stand-in."""
        stand_in = self._stand_in(self._choices.recipe(base).get("base", {}))
        if stand_in is None:
            return True
        (look,) = self._lookout.take([stand_in], until=until, aside=True)  # aside, as it may lie outside the space
        missed = {} if look is None or look.failed else self._lookout.promises.violations(look)
        return max(missed.values(), default=0.0) <= NEAR
