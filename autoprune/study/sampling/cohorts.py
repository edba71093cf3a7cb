"""What is trained together: cuts to begin from, and how long and how each is trained; cohort by cohort."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from autoprune.deadline import Deadline
from autoprune.recipes.domain import Domain
from autoprune.recipes.nodes import Recipe
from autoprune.record.looks import Look
from autoprune.study.sampling.beginnings import NEAR_ENOUGH, Beginning, Beginnings
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.promotion import Promotion
from autoprune.study.sampling.sampler import Outcome, Sampler, Values

COHORT = 8
"""Recipes that race one another; more of a large cluster, see `autoprune.study.sampling.lookout.Lookout.together`."""

BESIDE = 0.5
"""Of a cohort, cuts beside what came back best of those before it."""

CUT = Domain(path="cut", kind="int")
"""Which of the cuts, largest first: neighbours are alike."""


class Cohorts:
    """Asks for recipes that are to be trained, and learns from what came of them.

    A sampler says where among the cuts, and how they are trained; where there are no cuts, all that is open. What is
    proposed comes before what it draws: presets and the cuts whose ends may add most to the front, later neighbours of
    what came back best, which join the cuts.

    Args:
        choices: what is open.
        lookout: knows what looks promise.
        beginning: finds what it begins from; None: everything is asked for.
        found: what it begins from.
        promotion: says which cuts may add most.
        kind: of the sampler. One that does not learn is told nothing, and cuts stay as they are.
        seed: of everything that is drawn.
        proposes: whether something is proposed before it draws.
        thorough: whether training may bring much back: then what is proposed may miss by much, and is trained for as
            long as can be.
    """

    def __init__(
        self,
        choices: Choices,
        lookout: Lookout,
        beginning: Beginning | None,
        found: Beginnings,
        *,
        promotion: Promotion,
        kind: str,
        seed: int,
        proposes: bool,
        thorough: bool,
    ) -> None:
        self._choices, self._lookout, self._beginning, self._found = choices, lookout, beginning, found
        self._kind, self._seed, self._thorough = kind, seed, thorough
        self._proposed: deque[tuple[str, Values]] = deque()  # keys of cuts, and how they are trained
        self._open: list[Values] = []
        self._told: list[tuple[str, Values, Outcome | None]] = []
        self._sampler = self._anew()
        if proposes:
            near = [look for look in found.cuts if thorough or not self._is_far(look)] or found.cuts
            best = [near[at] for at in promotion.best(near, COHORT, known=[found.cuts[at] for at in found.presets])]
            self._propose({look.key: look for look in [*(found.cuts[at] for at in found.presets), *best]}.values())

    def ask(self, count: int, *, until: Deadline) -> list[Recipe]:
        """So many recipes; before, cuts are looked for beside the best of what it was told.

        Args:
            until: when no more is looked at.
        """
        if self._told and self._beginning is not None and self._found.cuts:
            self._widen(self._beginning.beside(self._found, round(BESIDE * count), until=until))
        for _ in range(min(count, len(self._proposed))):
            key, training = self._proposed.popleft()
            self._sampler.propose({**self._at(key), **training})
        asked = self._sampler.ask(count)
        if self._sampler.learns:
            self._open += asked
        return [self._choices.recipe(self._decided(values)) for values in asked]

    def tell(self, looks: Sequence[Look | None]) -> None:
        """Tells what came of all that was asked for, in that order."""
        outcomes = [self._lookout.outcome(look) for look in looks]
        self._sampler.tell(outcomes)
        if not self._sampler.learns:
            return
        cuts = self._found.cuts
        for values, outcome in zip(self._open, outcomes, strict=True):
            key = cuts[values[CUT.path]].key if cuts else ""
            self._told.append((key, {path: one for path, one in values.items() if path != CUT.path}, outcome))
        self._open = []

    def _widen(self, found: Beginnings) -> None:
        """Takes in cuts that have joined those there were, and proposes them before all others."""
        known = {look.key for look in self._found.cuts}
        self._found = found
        if new := [look for look in found.cuts if look.key not in known]:
            self._propose(new, first=True)
            self._sampler = self._anew()

    def _anew(self) -> Sampler:
        """A sampler of the cuts that there are, which knows what came of those before it."""
        sampler = Sampler(
            self._domains,
            objectives=len(self._lookout.promises.objectives),
            kind=self._kind,
            seed=self._seed + len(self._told),
        )
        for key, training, _ in self._told:
            sampler.propose({**self._at(key), **training})
        sampler.ask(len(self._told))
        sampler.tell([outcome for _, _, outcome in self._told])
        return sampler

    def _propose(self, cuts: Iterable[Look], *, first: bool = False) -> None:
        training = {domain.path: self._usual(domain) for domain in self._choices.training}
        proposed = [(look.key, training) for look in cuts]
        self._proposed = deque([*proposed, *self._proposed] if first else [*self._proposed, *proposed])

    def _is_far(self, look: Look) -> bool:
        """Whether it misses by so much that it is no more than drawn."""
        return bool(self._lookout.promises.far_missed(look, by=NEAR_ENOUGH))

    @property
    def _domains(self) -> list[Domain]:
        cuts = self._found.cuts
        if not cuts:
            return list(self._choices.space.domains.values())
        return [dataclasses.replace(CUT, high=len(cuts) - 1), *self._choices.training]

    def _usual(self, domain: Domain) -> Any:
        """What of training is tried first."""
        values = domain.listed() or domain.ends()
        is_length = domain.path.rpartition(".")[2] == "epochs"
        return max(values) if self._thorough and is_length else values[len(values) // 2]

    def _at(self, key: str) -> Values:
        """Where among the cuts it is, if there are any."""
        keys = [look.key for look in self._found.cuts]
        return {CUT.path: keys.index(key)} if keys else {}

    def _decided(self, values: Values) -> Values:
        """All that is decided by what was asked for."""
        if not self._found.cuts:
            return values
        training = {path: one for path, one in values.items() if path != CUT.path}
        return {**self._found.values[values[CUT.path]], **training}
