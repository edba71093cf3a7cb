"""Cohorts of recipes that are trained together: which cuts to begin from, and how long and how to train each."""

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
"""Recipes that race one another; more on a large cluster, see `autoprune.study.sampling.lookout.Lookout.together`."""

BESIDE = 0.5
"""The share of a cohort that are neighbours of the best recovered cuts of earlier cohorts."""

CUT = Domain(path="cut", kind="int")
"""The index of a cut, largest first, so that neighbouring indices are similar cuts."""


class Cohorts:
    """Asks for recipes to train, and learns from their results.

    A sampler chooses the cuts and how they are trained or, if there are no cuts, all open values. Proposals come before
    its draws: first the presets and the cuts whose trained results may add most to the front, later neighbours of the
    best recovered recipes, which are added to the cuts.

    Args:
        choices: the open values of the space.
        lookout: knows what looks promise.
        beginning: finds more cuts; None: the sampler chooses all open values.
        found: what training begins from.
        promotion: says which cuts may add most.
        kind: of the sampler. One that does not learn gets no results, and the cuts stay the same.
        seed: of all random draws.
        proposes: whether recipes are proposed before the sampler draws.
        thorough: whether training may regain much: then proposals may miss by much, and are trained for as long as
            possible.
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
        self._proposed: deque[tuple[str, Values]] = deque()  # keys of cuts, and their training values
        self._open: list[Values] = []
        self._results: list[tuple[str, Values, Outcome | None]] = []
        self._sampler = self._new_sampler()
        if proposes:
            near = [look for look in found.cuts if thorough or not self._is_far(look)] or found.cuts
            best = [near[at] for at in promotion.best(near, COHORT, known=[found.cuts[at] for at in found.presets])]
            self._propose({look.key: look for look in [*(found.cuts[at] for at in found.presets), *best]}.values())

    def ask(self, count: int, *, until: Deadline) -> list[Recipe]:
        """Recipes to train next; may first look for neighbours of the best trained cuts.

        Args:
            count: how many.
            until: when no more looks are taken.
        """
        if self._results and self._beginning is not None and self._found.cuts:
            self._widen(self._beginning.extended(self._found, round(BESIDE * count), until=until))
        for _ in range(min(count, len(self._proposed))):
            key, training = self._proposed.popleft()
            self._sampler.propose({**self._index_of(key), **training})
        drawn = self._sampler.ask(count)
        if self._sampler.learns:
            self._open += drawn
        return [self._choices.recipe(self._all_values(values)) for values in drawn]

    def tell(self, looks: Sequence[Look | None]) -> None:
        """Passes on the results of all recipes that were asked for, in their order."""
        outcomes = [self._lookout.outcome(look) for look in looks]
        self._sampler.tell(outcomes)
        if not self._sampler.learns:
            return
        cuts = self._found.cuts
        for values, outcome in zip(self._open, outcomes, strict=True):
            key = cuts[values[CUT.path]].key if cuts else ""
            self._results.append((key, {path: one for path, one in values.items() if path != CUT.path}, outcome))
        self._open = []

    def _widen(self, found: Beginnings) -> None:
        """Takes over the new cuts and proposes them before all others."""
        known = {look.key for look in self._found.cuts}
        self._found = found
        if new := [look for look in found.cuts if look.key not in known]:
            self._propose(new, first=True)
            self._sampler = self._new_sampler()

    def _new_sampler(self) -> Sampler:
        """A sampler for the current cuts, which is told all earlier results."""
        sampler = Sampler(
            self._domains,
            objectives=len(self._lookout.promises.objectives),
            kind=self._kind,
            seed=self._seed + len(self._results),
        )
        for key, training, _ in self._results:
            sampler.propose({**self._index_of(key), **training})
        sampler.ask(len(self._results))
        sampler.tell([outcome for _, _, outcome in self._results])
        return sampler

    def _propose(self, cuts: Iterable[Look], *, first: bool = False) -> None:
        training = {domain.path: self._first_value(domain) for domain in self._choices.training}
        proposed = [(look.key, training) for look in cuts]
        self._proposed = deque([*proposed, *self._proposed] if first else [*self._proposed, *proposed])

    def _is_far(self, look: Look) -> bool:
        """Whether a cut misses requirements by so much that it is not proposed."""
        return bool(self._lookout.promises.far_missed(look, by=NEAR_ENOUGH))

    @property
    def _domains(self) -> list[Domain]:
        cuts = self._found.cuts
        if not cuts:
            return list(self._choices.space.domains.values())
        return [dataclasses.replace(CUT, high=len(cuts) - 1), *self._choices.training]

    def _first_value(self, domain: Domain) -> Any:
        """The training value to propose first."""
        values = domain.listed() or domain.ends()
        is_length = domain.path.rpartition(".")[2] == "epochs"
        return max(values) if self._thorough and is_length else values[len(values) // 2]

    def _index_of(self, key: str) -> Values:
        """The index of a cut, if there are cuts."""
        keys = [look.key for look in self._found.cuts]
        return {CUT.path: keys.index(key)} if keys else {}

    def _all_values(self, values: Values) -> Values:
        """All values of a recipe that the sampler asked for."""
        if not self._found.cuts:
            return values
        training = {path: one for path, one in values.items() if path != CUT.path}
        return {**self._found.values[values[CUT.path]], **training}
