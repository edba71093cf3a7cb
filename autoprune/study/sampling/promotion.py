"""Chooses which recipes to train, and to train further: those expected to add most hypervolume to the front."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from autoprune.fronts.pareto import adding_most
from autoprune.fronts.promises import Promises
from autoprune.record.looks import Look
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.sampler import Values

UNTRAINED, BEGUN = 1 / 3, 1 / 2
"""The share of its loss, untrained or at the first decision, that a recipe is expected to keep at its end. Cautious:
five cuts of MiniLM kept 0 to 28 % of the untrained loss, and 0 to 59 % of that at the first decision
(`studies/minilm`) …"""

AT_BEST = 0.0
"""… and at best: once the expected results add nothing more, recipes are chosen that may still surprise."""


class Promotion:
    """Decides which recipes training begins with, and which of a cohort are trained further.

    Args:
        choices: the open values of the space.
        promises: of all looks.
        codes: the values of the codes that whole cohorts share; empty if each recipe has its own.
        recovers: a recipe may be trained if it misses no requirement by a larger share.
    """

    def __init__(self, choices: Choices, promises: Promises, *, codes: Values, recovers: float) -> None:
        self._choices, self._promises, self._codes, self._recovers = choices, promises, codes, recovers
        self._is_alike = dict[str, bool]()
        self._under_way = dict[str, Look]()  # by key: promoted, but not yet trained to the end

    def has_hope(self, look: Look, start: Look | None) -> bool:
        """Whether a recipe may still catch up with the best known ones by further training.

        Args:
            look: after some epochs.
            start: the same recipe, untrained.
        """
        best = self._promises.front(slack=self._recovers, wanted=self._coded_alike)
        return not self._promises.beaten(look, best, hope=_hope(self._promises, start, look))

    def promote(self, hopeful: Mapping[int, Look], count: int, *, known: Collection[Look] = ()) -> list[int]:
        """Positions of the recipes to train further, best first; they are under way until they end.

        Args:
            hopeful: looks after the first rung, by position in the cohort.
            count: how many to promote at most.
            known: looks of the same rung at recipes that are trained further in any case.
        """
        places = list(hopeful)
        chosen = [places[at] for at in self.best([hopeful[at] for at in places], count, known=known)]
        self._under_way |= {hopeful[at].key: hopeful[at] for at in chosen}
        return chosen

    def best(self, looks: Sequence[Look], count: int, *, known: Collection[Look] = ()) -> list[int]:
        """Positions of the looks whose expected results add most to the front, in that order.

        Looks that are expected to miss a floor at their end come last, those that miss least first.

        Args:
            looks: all untrained, or all after the first rung.
            count: how many at most.
            known: looks of the same rung at recipes that are trained in any case.
        """
        promises, chosen = self._promises, list[Look]()
        front = promises.front(wanted=lambda look: look.done and self._coded_alike(look))
        on_front = [promises.box(look) for look in (promises.dense, *front)]
        promoted = [*self._under_way.values(), *known]
        likely = BEGUN if any(look.epochs for look in looks) else UNTRAINED
        likely_feasible = [look for look in looks if likely * promises.used(look) <= 1]
        for left in (likely, AT_BEST):
            waiting = [look for look in likely_feasible if look not in chosen]
            ends = [promises.box(look, left=left) for look in waiting]
            beside = [*on_front, *(promises.box(look, left=left) for look in (*promoted, *chosen))]
            chosen += [waiting[at] for at in adding_most(ends, count - len(chosen), beside=beside)]
        turns = {look.key: turn for turn, look in enumerate(chosen)}

        def in_turn(at: int) -> tuple[int, float]:
            return turns.get(looks[at].key, len(turns)), promises.used(looks[at])

        return sorted(range(len(looks)), key=in_turn)[:count]

    def end(self, looks: Sequence[Look | None]) -> None:
        """Notes that recipes have ended: they are no longer under way."""
        for look in looks:
            if look is not None:
                self._under_way.pop(look.key, None)

    def _coded_alike(self, look: Look) -> bool:
        """Whether a look has the codes of the cohorts; coarser codes make it smaller and tell nothing about its cut."""
        if look.key not in self._is_alike:
            codes = self._codes.items()
            values = self._choices.values(look.recipe) if codes else {}
            self._is_alike[look.key] = values is not None and all(values.get(path) == value for path, value in codes)
        return self._is_alike[look.key]


def _hope(promises: Promises, start: Look | None, look: Look) -> float:
    """The gain in quality if every remaining epoch gained as much as the past ones did.

    This is generous, since learning curves flatten.
    """
    if start is None or start.failed or not look.epochs:
        return 0.0
    gained = promises.readings(look)["quality"].ratio - promises.readings(start)["quality"].ratio
    return max(0.0, gained) * (look.of_epochs - look.epochs) / look.epochs
