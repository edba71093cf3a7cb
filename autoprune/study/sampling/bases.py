"""The other dense models that a space allows: trained where they may do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autoprune.deadline import Deadline
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.sampler import Values

NEAR = 0.03
"""A dense model is trained if what stands in for it misses no requirement by a larger share."""


class Bases:
    """Trains the other dense models of a space.

    Args:
        choices: what is open.
        lookout: takes the looks.
        stand_in: what stands in untrained for a dense model of other settings, as `autoprune.tasks.task.Task` has it.
        note: called with what is passed over, and why.
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
        self._wanted: list[Values] | None = None  # bases that are worth it, once that is known

    def begin(self, *, until: Deadline) -> None:
        """Has those that are worth it trained beside whatever else is done, if there is somebody for that."""
        self._wanted = [base for base in self._choices.bases[1:] if self._is_worth_training(base, until)]
        self._lookout.begin([self._choices.recipe(base) for base in self._wanted], until=until)

    def trained(self, *, until: Deadline) -> list[Values]:
        """Those that are trained by then, each once; asked again, those that were not."""
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
        """Whether there will be more."""
        return bool(self._wanted)

    def _is_worth_training(self, base: Values, until: Deadline) -> bool:
        """Whether a dense model can come near the floors, by what stands in for it."""
        alike = self._stand_in(self._choices.recipe(base).get("base", {}))
        if alike is None:
            return True
        (look,) = self._lookout.take([alike], until=until, aside=True)  # it may lie outside the space
        missed = {} if look is None or look.failed else self._lookout.promises.violations(look)
        return max(missed.values(), default=0.0) <= NEAR
