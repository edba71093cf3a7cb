"""What training begins from: cuts, looked at before they are coded.

Training brings back what a cut took, and nothing of what codes take that come after it. A scan looks for cuts and codes
together, for what holds untrained; a cut that must be trained is on its front by chance, and with coarse codes at that.
So cuts are looked for once more, with codes that take little and are the same for all: those of the scan's front, then
neighbours of the best of them. What a look shows to be lost beside its codes is what there is to bring back. Once some
were trained, neighbours of those that came back best join them.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from autoprune.deadline import Deadline
from autoprune.recipes.nodes import Recipe
from autoprune.record.looks import Look
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.neighbours import Neighbours, draw_new
from autoprune.study.sampling.promotion import Promotion
from autoprune.study.sampling.sampler import Values

MOST = 16
"""Looks that training starts from, of those that miss requirements by `NEARLY` at most, as many of those whose ends may
add most …"""

NEARLY = 0.15
"""… and as many of all that may recover, where more than that may."""

UNHARMED, UNUSED = 0.01, 0.25
"""What lost no more than this, or than such a share of what may be lost, is not trained: there is little to regain."""

GENTLE, ALONE = 0.5, 8
"""Of what may be lost of a metric, what gentle codes lose at most; and how many are looked at alone, at most."""

NEAR_ENOUGH = 0.05
"""What was trained and misses a requirement by no more has neighbours that may hold."""

NEIGHBOURS, ROUND = 64, 16
"""Neighbours that are looked at, at most, and how many at a time."""


@dataclass(frozen=True)
class Beginnings:
    """What training begins from.

    Attributes:
        cuts: looks at what is to be trained, largest first.
        presets: places among them of what a good engineer would cut. They may stand behind the front, for training
            mends most where most is gone.
        values: what decides each of the cuts. A look on record may be of a recipe that says the same in another way.
        scanned: what the scan found: its codes are tried on whatever was trained.
        codes: what decides the codes that all cuts have; nothing where each has those that the scan found.
    """

    cuts: Sequence[Look] = ()
    presets: Sequence[int] = ()
    values: Sequence[Values] = ()
    scanned: Sequence[Look] = ()
    codes: Values = field(default_factory=dict)


class Beginning:
    """Finds what training begins from.

    Args:
        choices: what is open.
        lookout: takes the looks.
        presets: keys of what stands beside the scan's front; what lies outside the space is left out.
        recovers: what misses a requirement by no larger share may be trained.
        seed: of everything that is drawn.
        most: neighbours of what the scan found that are looked at, at most, and as many of what was trained.
    """

    def __init__(
        self,
        choices: Choices,
        lookout: Lookout,
        *,
        presets: Collection[str],
        recovers: float,
        seed: int,
        most: int = NEIGHBOURS,
    ) -> None:
        self._choices, self._lookout, self._promises = choices, lookout, lookout.promises
        self._recovers, self._draw = recovers, random.Random(seed)
        self._most = self._left = min(most, NEIGHBOURS)
        self._coding = choices.coding
        self._decided: dict[str, Values | None] = {}
        self._found = [look for look in self._promises.looks if look.number and self._is_cut(look)]
        self._presets = [
            look for look in self._found if look.key in presets and not self._promises.far_missed(look, by=recovers)
        ]
        self._scanned = _largest_first([*self._stand_for(self._found), *self._presets])
        self._codes: Values = {}
        self._domains = [one for one in choices.cuts if one.path not in self._coding]
        self._neighbours = Neighbours(self._domains, seed=self._draw.randrange(2**32))
        self._known: set[str] = set()  # keys of the cuts that were looked at with these codes

    def scanned(self) -> Beginnings:
        """What the scan found, as it is."""
        return self._beginnings(self._scanned, {look.key for look in self._presets})

    def find(self, *, until: Deadline) -> Beginnings:
        """Looks for cuts with gentle codes; what the time does not do for is left out.

        Where nothing follows the training they are those of the scan. So they are where with gentle codes none may
        recover, which a ceiling on size can bring about.
        """
        if not self._coding:
            keys = {look.key for look in self._presets}
            return self._beginnings(self._worth(self._scanned, keys, until), keys)
        self._codes = self._gentle(until)
        looks = self._take([self._coded(look) for look in self._scanned], until)
        presets = {look.key for look, one in zip(looks, self._scanned, strict=True) if look and one in self._presets}
        known = self._with_neighbours(_of_which_something_came(looks), until)
        found = self._beginnings(self._worth(known, presets, until), presets)
        if found.cuts or until.left <= 0:
            return found
        self._codes = {}
        return self.scanned()

    def beside(self, found: Beginnings, count: int, *, until: Deadline) -> Beginnings:
        """The same and a few cuts more: neighbours of what was trained and came back best.

        Args:
            found: what training began from, so far.
            count: cuts that join it, at most.
        """
        back = self._promises.front(wanted=self._came_back, slack=NEAR_ENOUGH)
        if not self._domains or not back or self._left <= 0:
            return found
        self._known |= {look.key for look in found.cuts}
        near = self._near(sorted(back, key=lambda look: look.size_bytes), min(2 * count, self._left))
        self._left -= len(near)
        taken = _of_which_something_came(self._take(near, until))
        looks = [look for look in taken if not self._promises.far_missed(look, by=self._recovers)]
        joined = self._promises.thinned(self._harmed(looks, until), count)
        presets = {found.cuts[at].key for at in found.presets}
        cuts = _largest_first([*found.cuts, *joined])
        places = [at for at, look in enumerate(cuts) if look.key in presets]
        return replace(found, cuts=cuts, presets=places, values=[self._values(look) for look in cuts])

    def _beginnings(self, looks: Sequence[Look], presets: Collection[str]) -> Beginnings:
        promotion = Promotion(self._choices, self._promises, codes=self._codes, recovers=self._recovers)
        hopeful = [look for look in looks if not self._promises.far_missed(look, by=self._recovers)]
        best = [hopeful[at] for at in promotion.best(hopeful, MOST)]
        cuts = _largest_first([*self._stand_for(looks), *best, *(look for look in looks if look.key in presets)])
        places = [at for at, look in enumerate(cuts) if look.key in presets]
        return Beginnings(cuts, places, [self._values(look) for look in cuts], self._scanned, self._codes)

    def _take(self, recipes: Sequence[Recipe], until: Deadline) -> list[Look | None]:
        """Looks at recipes of the space, and keeps what decides them."""
        looks = self._lookout.take(recipes, until=until)
        for look, recipe in zip(looks, recipes, strict=True):
            if look is not None:
                self._decided[look.key] = self._choices.values(recipe)
        return looks

    def _gentle(self, until: Deadline) -> Values:
        """The codes of the smallest look that lost no more than `GENTLE`, whatever else it misses.

        Where all lost more they are those of the one that lost least. Many looks are lucky, and a cut may do better
        than none. So codes are looked at alone, and those of the next smallest follow where they lose more.
        """
        used = {look.key: self._promises.used(look) for look in self._found}
        found = sorted((look for look in self._found if used[look.key] <= GENTLE), key=lambda look: look.size_bytes)
        seen: list[Values] = []
        for look in found:
            codes = self._coding_of(look)
            if codes not in seen and len(seen) < ALONE:
                seen.append(codes)
                (alone,) = self._alone([look], until)
                if alone is None or (not alone.failed and self._promises.used(alone) <= GENTLE):
                    return codes
        return self._coding_of(min(self._found, key=lambda look: used[look.key])) if self._found else {}

    def _alone(self, looks: Sequence[Look], until: Deadline) -> list[Look | None]:
        """Looks at the codes of some looks, without what was cut; they may lie outside the space."""
        recipes = [self._choices.uncut(self._values(look)) for look in looks]
        return self._lookout.take(recipes, until=until, aside=True)

    def _with_neighbours(self, looks: Sequence[Look], until: Deadline) -> list[Look]:
        """These looks, and others at neighbours of the best of them and of those, round by round."""
        found, left, over = list(looks), self._most, False
        self._known |= {look.key for look in looks}
        while left > 0 and self._domains and not over:
            best = self._promises.front(among=[self._promises.dense, *found], slack=self._recovers)
            near = self._near(sorted(best, key=lambda look: look.size_bytes), min(left, ROUND))
            if not near:
                break
            left -= len(near)
            taken = self._take(near, until)
            found += _of_which_something_came(taken)
            over = None in taken
        return found

    def _near(self, front: Sequence[Look], count: int) -> list[Recipe]:
        """Neighbours of a front that are not known, which they are from now on; at most so many."""
        idle = {one.path: self._draw.choice(one.listed() or one.ends()) for one in self._choices.cuts}
        values = [self._values(look) for look in front]
        parents = [{path: one.get(path, other) for path, other in idle.items()} for one in values]

        def drawn() -> Recipe:
            other = self._draw.choice(values)
            base = {path: other[path] for path in self._choices.bases[0]}  # of one dense model, which is trained
            return self._choices.recipe({**self._neighbours.of(parents), **base, **self._codes})

        return draw_new(drawn, count, key=self._lookout.key, known=self._known) if parents else []

    def _worth(self, looks: Sequence[Look], presets: Collection[str], until: Deadline) -> list[Look]:
        """What is worth a training: what was harmed, or all where nothing was.

        Where training is cheap presets are trained in any case. It may give more than a cut took: of users without a
        row it learns how they are found.
        """
        cheap = self._recovers <= NEARLY
        harmed = self._harmed(looks, until) or list(looks)
        return [*harmed, *(look for look in looks if cheap and look.key in presets and look not in harmed)]

    def _harmed(self, looks: Sequence[Look], until: Deadline) -> list[Look]:
        """Those that lost something which training may bring back: beside their codes alone."""
        harmed = []
        for look, alone in zip(looks, self._alone(looks, until), strict=True):
            beside = self._promises.dense if alone is None or alone.failed else alone
            lost, allowed = self._promises.lost(look, than=beside), self._promises.allowed
            if any(share > min(UNHARMED, UNUSED * allowed[metric]) for metric, share in lost.items()):
                harmed.append(look)
        return harmed

    def _stand_for(self, looks: Sequence[Look]) -> list[Look]:
        """Some that stand for all that may recover: not what is feasible alone, for training may mend what is not."""
        among = [self._promises.dense, *looks]
        return [
            look
            for slack in sorted({min(NEARLY, self._recovers), self._recovers})
            for look in self._promises.thinned(self._promises.front(among=among, slack=slack), MOST)
        ]

    def _came_back(self, look: Look) -> bool:
        """Whether it was trained to its end, and has the codes that all have: others differ from it in these alone."""
        if not look.epochs or not look.done or not self._coding:
            return False
        return self._known_values(look) is not None and self._coding_of(look) == self._codes

    def _is_cut(self, look: Look) -> bool:
        """Whether it was not trained, and lies within the space."""
        return not look.epochs and self._known_values(look) is not None

    def _coded(self, look: Look) -> Recipe:
        """Its cut, with the codes that all have."""
        return self._choices.recipe({**self._values(look), **self._codes})

    def _coding_of(self, look: Look) -> Values:
        return {path: value for path, value in self._values(look).items() if path in self._coding}

    def _values(self, look: Look) -> Values:
        return self._known_values(look) or {}

    def _known_values(self, look: Look) -> Values | None:
        if look.key not in self._decided:
            self._decided[look.key] = self._choices.values(look.recipe)
        return self._decided[look.key]


def _of_which_something_came(looks: Iterable[Look | None]) -> list[Look]:
    """Each of them once."""
    return list({look.key: look for look in looks if look is not None and not look.failed}.values())


def _largest_first(looks: Iterable[Look]) -> list[Look]:
    return sorted({look.key: look for look in looks}.values(), key=lambda look: -look.size_bytes)
