"""What training begins from: cuts, looked at before they are coded.

Training brings back what a cut took, and nothing of what codes take that come after it. A scan looks for cuts and codes
together, for what holds untrained; a cut that must be trained is on its front by chance, and with coarse codes at that.
So cuts are looked for once more, with codes that take little and are the same for all: those of the scan's front, then
neighbours of the best of them. What a look shows to be lost beside its codes is what there is to bring back.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from autoprune.deadline import Deadline
from autoprune.recipes.recipe import digest
from autoprune.recipes.space import Recipe
from autoprune.record.looks import Look
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.neighbours import Neighbours
from autoprune.study.sampling.sampler import Values

MOST = 16
"""Looks that training starts from, of those that miss requirements by `NEARLY` at most …"""

NEARLY = 0.15
"""… and as many of all that may recover, where more than that may."""

UNHARMED, UNUSED = 0.01, 0.25
"""What lost no more than this, or than such a share of what may be lost, is not trained: there is little to regain."""

ROUNDS, ROUND = 4, 16
"""So often, so many neighbours are looked at."""

TRIES = 20
"""Neighbours that are drawn for each that is new."""


@dataclass(frozen=True)
class Beginnings:
    """What training begins from.

    Attributes:
        cuts: looks at what is to be trained, largest first.
        presets: places among them of what a good engineer would cut. They may stand behind the front, for training
            mends most where most is gone.
        scanned: what the scan found: its codes are tried on whatever was trained.
    """

    cuts: Sequence[Look] = ()
    presets: Sequence[int] = ()
    scanned: Sequence[Look] = ()


class Beginning:
    """Finds what training begins from.

    Args:
        choices: what is open.
        lookout: takes the looks.
        presets: keys of what stands beside the scan's front; what lies outside the space is left out.
        recovers: what misses a requirement by no larger share may be trained.
        seed: of everything that is drawn; None: nothing is looked for beyond what the scan found.
    """

    def __init__(
        self, choices: Choices, lookout: Lookout, *, presets: Collection[str], recovers: float, seed: int | None
    ) -> None:
        self._choices, self._lookout, self._promises = choices, lookout, lookout.promises
        self._recovers, self._seed = recovers, seed
        looks = [look for look in self._promises.looks if look.key in presets and self._is_cut(look)]
        self._presets = [look for look in looks if not self._promises.far_missed(look, by=recovers)]
        found = [look for look in self._promises.looks if look.number and self._is_cut(look)]
        self._scanned = _largest_first([*self._stand_for(found), *self._presets])
        self._codes = self._gentle()

    def find(self, *, until: Deadline) -> Beginnings:
        """Looks until the time is over, if that is before it has looked at all."""
        looks = self._lookout.take([self._coded(look) for look in self._scanned], until=until)
        presets = {look.key for look, one in zip(looks, self._scanned, strict=True) if look and one in self._presets}
        known = _of_which_something_came(looks)
        plain = [self._promises.dense]
        if self._codes:
            if self._seed is not None:
                known = self._with_neighbours(known, random.Random(self._seed), until)
            looks = self._lookout.take([self._choices.recipe(self._codes)], until=until)
            plain += _of_which_something_came(looks)
        little = min(UNHARMED, UNUSED * (1.0 - self._promises.floor))
        harmed = [look for look in known if self._promises.lost(look, than=plain[-1]) > little] or known
        cuts = _largest_first([*self._stand_for(harmed), *(look for look in harmed if look.key in presets)])
        return Beginnings(cuts, [at for at, look in enumerate(cuts) if look.key in presets], self._scanned)

    def _with_neighbours(self, looks: Sequence[Look], draw: random.Random, until: Deadline) -> list[Look]:
        """These looks, and others at neighbours of the best of them and of those, round by round."""
        base = self._choices.bases[0]
        domains = [one for one in self._choices.cuts if one.path not in self._codes and one.path not in base]
        neighbours = Neighbours(domains, seed=draw.randrange(2**32))
        found, asked = list(looks), {digest(self._coded(look)) for look in looks}
        for _ in range(ROUNDS if domains else 0):
            best = self._promises.front(among=[self._promises.dense, *found], slack=self._recovers)
            idle = {one.path: draw.choice(one.listed() or one.ends()) for one in domains}
            parents = [{**idle, **self._values(look)} for look in sorted(best, key=lambda look: look.size_bytes)]
            near: dict[str, Recipe] = {}
            for _ in range(TRIES * ROUND if parents else 0):
                recipe = self._choices.recipe({**neighbours.of(parents), **self._codes})
                if digest(recipe) not in asked and len(near) < ROUND:
                    near[digest(recipe)] = recipe
            asked |= near.keys()
            found += _of_which_something_came(self._lookout.take(list(near.values()), until=until))
        return found

    def _stand_for(self, looks: Sequence[Look]) -> list[Look]:
        """Some that stand for all that may recover: not what is feasible alone, for training may mend what is not."""
        among = [self._promises.dense, *looks]
        return [
            look
            for slack in sorted({min(NEARLY, self._recovers), self._recovers})
            for look in self._promises.thinned(self._promises.front(among=among, slack=slack), MOST)
        ]

    def _gentle(self) -> Values:
        """The codes of the smallest look that holds and lost no more than half of what may be lost; else none.

        They are values that decide what follows the training alone.
        """
        half = (1.0 + self._promises.floor) / 2
        holds = [look for look in self._promises.front(wanted=self._is_cut) if self._quality(look) >= half]
        if not holds:
            return {}
        values = self._values(min(holds, key=lambda look: look.size_bytes))
        paths = {domain.path for domain in self._choices.after_training(self._choices.trained(values))}
        return {path: value for path, value in values.items() if path in paths}

    def _is_cut(self, look: Look) -> bool:
        """Whether it was not trained, and lies within the space."""
        return not look.epochs and self._choices.values(look.recipe) is not None

    def _coded(self, look: Look) -> Recipe:
        """Its cut, with the codes that all have."""
        return self._choices.recipe({**self._values(look), **self._codes})

    def _values(self, look: Look) -> Values:
        return self._choices.values(look.recipe) or {}

    def _quality(self, look: Look) -> float:
        return self._promises.readings(look)["quality"].ratio


def _of_which_something_came(looks: Iterable[Look | None]) -> list[Look]:
    """Each of them once."""
    return list({look.key: look for look in looks if look is not None and not look.failed}.values())


def _largest_first(looks: Iterable[Look]) -> list[Look]:
    return sorted({look.key: look for look in looks}.values(), key=lambda look: -look.size_bytes)
