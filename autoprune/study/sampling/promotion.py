"""Who is trained, and trained on: those whose ends are expected to add most hypervolume to the front there is."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from autoprune.fronts.pareto import adding_most
from autoprune.fronts.promises import Promises
from autoprune.record.looks import Look
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.sampler import Values

UNTRAINED, BEGUN = 1 / 3, 1 / 2
"""Of the quality that a recipe has lost untrained, or at the first decision, what it is taken to have lost at its end:
with caution: five cuts of MiniLM ended with 0 to 28 % of the one, 0 to 59 % of the other (`studies/minilm`) …"""

AT_BEST = 0.0
"""… and at best: once likely ends add nothing more, those are chosen that may still surprise."""


class Promotion:
    """Decides who is begun with, and who of a cohort is trained on.

    Args:
        choices: what is open.
        promises: of all looks.
        codes: what decides the codes that whole cohorts have; nothing where each recipe has its own.
        recovers: what misses a requirement by no larger share may be trained.
    """

    def __init__(self, choices: Choices, promises: Promises, *, codes: Values, recovers: float) -> None:
        self._choices, self._promises, self._codes, self._recovers = choices, promises, codes, recovers
        self._alike = dict[str, bool]()
        self._under_way = dict[str, Look]()  # by key: promoted, and not trained to its end

    def has_hope(self, look: Look, start: Look | None) -> bool:
        """Whether nothing known is better for good, for all that training may still bring.

        Args:
            look: after some epochs.
            start: the same recipe, untrained.
        """
        best = self._promises.front(slack=self._recovers, wanted=self._coded_alike)
        return not self._promises.beaten(look, best, hope=_hope(self._promises, start, look))

    def promote(self, hopeful: Mapping[int, Look], count: int, *, known: Collection[Look] = ()) -> list[int]:
        """So many places of hopeful recipes, best first; they are under way until they end.

        Args:
            hopeful: after their first rung, by place in the cohort.
            count: at most.
            known: looks of the same rung at recipes that are trained on in any case.
        """
        places = list(hopeful)
        chosen = [places[at] for at in self.best([hopeful[at] for at in places], count, known=known)]
        self._under_way |= {hopeful[at].key: hopeful[at] for at in chosen}
        return chosen

    def best(self, looks: Sequence[Look], count: int, *, known: Collection[Look] = ()) -> list[int]:
        """Positions of so many looks, of one rung, in the order in which their ends add to the front.

        What is expected to miss a floor at its end comes last, that which misses least before others.

        Args:
            looks: untrained ones, or such after the first rung.
            count: at most.
            known: looks of the same rung at recipes that are trained in any case.
        """
        promises, chosen = self._promises, list[Look]()
        front = promises.front(wanted=lambda look: look.done and self._coded_alike(look))
        there = [promises.box(look) for look in (promises.dense, *front)]
        promoted = [*self._under_way.values(), *known]
        likely = BEGUN if any(look.epochs for look in looks) else UNTRAINED
        near = [look for look in looks if likely * promises.used(look) <= 1]
        for left in (likely, AT_BEST):
            waiting = [look for look in near if look not in chosen]
            ends = [promises.box(look, left=left) for look in waiting]
            beside = [*there, *(promises.box(look, left=left) for look in (*promoted, *chosen))]
            chosen += [waiting[at] for at in adding_most(ends, count - len(chosen), beside=beside)]
        turns = {look.key: turn for turn, look in enumerate(chosen)}

        def in_turn(at: int) -> tuple[int, float]:
            return turns.get(looks[at].key, len(turns)), promises.used(looks[at])

        return sorted(range(len(looks)), key=in_turn)[:count]

    def end(self, looks: Sequence[Look | None]) -> None:
        """What came of recipes is known from now on."""
        for look in looks:
            if look is not None:
                self._under_way.pop(look.key, None)

    def _coded_alike(self, look: Look) -> bool:
        """Whether it has the codes of what is raced: what has coarser ones is smaller, and says nothing of a cut."""
        if look.key not in self._alike:
            codes = self._codes.items()
            values = self._choices.values(look.recipe) if codes else {}
            self._alike[look.key] = values is not None and all(values.get(path) == value for path, value in codes)
        return self._alike[look.key]


def _hope(promises: Promises, start: Look | None, look: Look) -> float:
    """What quality may still gain if every epoch that is left gains as much as those that were trained.

    That is more than learning curves do, which flatten.
    """
    if start is None or start.failed or not look.epochs:
        return 0.0
    gained = promises.readings(look)["quality"].ratio - promises.readings(start)["quality"].ratio
    return max(0.0, gained) * (look.of_epochs - look.epochs) / look.epochs
