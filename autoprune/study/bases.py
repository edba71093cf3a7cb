"""The other dense models that a space allows: trained where they may do, and scanned from what the first one gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoprune.deadline import Deadline
from autoprune.study.budget import Budget
from autoprune.study.choices import Choices
from autoprune.study.lookout import Lookout
from autoprune.study.rungs import SLACK
from autoprune.study.sampler import Values
from autoprune.study.scan import Scan

NEAR = 0.03
"""A dense model is trained if what stands in for it misses no requirement by a larger share."""


class Bases:
    """Trains the other dense models of a space, and scans each.

    Args:
        choices: what is open.
        lookout: takes the looks.
        stand_in: what stands in untrained for a dense model of other settings, as `autoprune.tasks.task.Task` has it.
        scan: makes a scan under settings of the dense model.
        budget: is told what the time did not do for.
        note: called with what is passed over, and why.
    """

    def __init__(
        self,
        choices: Choices,
        lookout: Lookout,
        *,
        stand_in: Callable[[Mapping[str, Any]], Mapping[str, Any] | None],
        scan: Callable[[Values], Scan],
        budget: Budget,
        note: Callable[[str], None],
    ) -> None:
        self._choices, self._lookout = choices, lookout
        self._stand_in, self._new_scan = stand_in, scan
        self._budget, self._note = budget, note
        self._wanted: list[Values] | None = None  # bases that are worth it, once that is known

    def begin(self, *, until: Deadline) -> None:
        """Has those that are worth it trained beside whatever else is done, if there is somebody for that."""
        self._wanted = [base for base in self._choices.bases[1:] if self._is_worth_training(base, until)]
        self._lookout.begin([self._choices.recipe(base) for base in self._wanted], until=until)

    def run(self, *, until: Deadline) -> None:
        """Trains all that are worth it, then looks at what was found on the first one on each of them; once."""
        if self._wanted is None:
            self.begin(until=until)
        wanted, self._wanted = self._wanted or [], []
        found = self._lookout.promises.front(slack=SLACK)
        cuts = [values for look in found if (values := self._choices.values(look.recipe)) is not None]
        trained = self._lookout.take([self._choices.recipe(base) for base in wanted], until=until, apart=True)
        for base, look in zip(wanted, trained, strict=True):
            if look is None:
                self._budget.undone.append("not all dense models of the space were trained")
                return
            if look.failed:
                self._note(f"A dense model of the space is passed over: {look.failed}")
            else:
                self._scan(base, cuts, until)

    def _scan(self, base: Values, cuts: Sequence[Values], until: Deadline) -> None:
        scan = self._new_scan(base)
        scan.run([self._choices.recipe({**values, **base}) for values in cuts], until=until)
        if not scan.done:
            self._budget.undone.append("not all dense models of the space were looked at to the end")

    def _is_worth_training(self, base: Values, until: Deadline) -> bool:
        """Whether a dense model can come near the floors, by what stands in for it."""
        alike = self._stand_in(self._choices.recipe(base).get("base", {}))
        if alike is None:
            return True
        (look,) = self._lookout.take([alike], until=until, aside=True)  # it may lie outside the space
        missed = {} if look is None or look.failed else self._lookout.promises.violations(look)
        return max(missed.values(), default=0.0) <= NEAR
