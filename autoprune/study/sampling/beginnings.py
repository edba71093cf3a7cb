"""What training begins from: cuts, looked at with gentle codes.

Training regains what a cut has lost, but not what the codes after it lose. A scan looks for cuts and codes that hold
untrained; a cut that needs training is on its front only by chance, and with coarse codes. So cuts are searched once
more, all with the same codes, which lose little: first the cuts of the scan's front, then neighbours of the best. What
a cut loses beyond its codes alone is what training can regain. After some have been trained, neighbours of those that
recovered best are added.
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
"""Training starts from so many looks that miss requirements by at most `NEARLY`, from so many whose trained results may
add most …"""

NEARLY = 0.15
"""… and from so many of all looks that may recover, if a larger miss may recover."""

UNHARMED, UNUSED = 0.01, 0.25
"""A cut that lost no more than this, or than this share of the allowed loss, is not trained: it can gain little."""

GENTLE, ALONE = 0.5, 8
"""The share of a metric's allowed loss that gentle codes may use; and how many codes are looked at alone, at most."""

NEAR_ENOUGH = 0.05
"""A trained recipe that misses a requirement by no more may have neighbours that meet it."""

NEIGHBOURS, ROUND = 64, 16
"""At most so many neighbours are looked at, and so many at a time."""


@dataclass(frozen=True)
class Beginnings:
    """What training begins from.

    Attributes:
        cuts: looks at what may be trained, largest first.
        presets: positions in `cuts` of the presets. They may lie behind the front, since training regains most where
            most was lost.
        values: the values that lead to each cut. A look on record may be of an equivalent recipe.
        scanned: the scan's looks; their codes are tried on whatever was trained.
        codes: the values of the codes that all cuts share; empty if each cut has the codes that the scan found.
    """

    cuts: Sequence[Look] = ()
    presets: Sequence[int] = ()
    values: Sequence[Values] = ()
    scanned: Sequence[Look] = ()
    codes: Values = field(default_factory=dict)


class Beginning:
    """Finds what training begins from.

    Args:
        choices: the open values of the space.
        lookout: takes the looks.
        presets: keys of presets to include besides the scan's front; those outside the space are ignored.
        recovers: a recipe may be trained if it misses no requirement by a larger share.
        seed: of all random draws.
        most: at most so many neighbours of the scan's cuts are looked at, and as many of trained ones.
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
        self._values_of_key: dict[str, Values | None] = {}
        self._untrained = [look for look in self._promises.looks if look.number and self._is_cut(look)]
        self._presets = [
            look for look in self._untrained if look.key in presets and not self._promises.far_missed(look, by=recovers)
        ]
        self._scanned = _largest_first([*self._representatives(self._untrained), *self._presets])
        self._codes: Values = {}
        self._domains = [one for one in choices.cuts if one.path not in self._coding]
        self._neighbours = Neighbours(self._domains, seed=self._draw.randrange(2**32))
        self._known: set[str] = set()  # keys of the cuts that were looked at with the shared codes

    def scanned(self) -> Beginnings:
        """The scan's cuts with the codes that the scan found."""
        return self._beginnings(self._scanned, {look.key for look in self._presets})

    def find(self, *, until: Deadline) -> Beginnings:
        """Looks for cuts with gentle codes, as far as the time allows.

        If no codes follow the training, the scan's cuts are used. They are also used if no cut may recover with gentle
        codes, which a ceiling on size can cause.
        """
        if not self._coding:
            keys = {look.key for look in self._presets}
            return self._beginnings(self._worth(self._scanned, keys, until), keys)
        self._codes = self._gentle(until)
        looks = self._take([self._coded(look) for look in self._scanned], until)
        presets = {look.key for look, one in zip(looks, self._scanned, strict=True) if look and one in self._presets}
        cuts = self._with_neighbours(_successful(looks), until)
        beginnings = self._beginnings(self._worth(cuts, presets, until), presets)
        if beginnings.cuts or until.left <= 0:
            return beginnings
        self._codes = {}
        return self.scanned()

    def extended(self, found: Beginnings, count: int, *, until: Deadline) -> Beginnings:
        """Adds a few cuts: neighbours of the trained recipes that recovered best.

        Args:
            found: what training began from, so far.
            count: at most so many cuts are added.
        """
        recovered = self._promises.front(wanted=self._has_recovered, slack=NEAR_ENOUGH)
        if not self._domains or not recovered or self._left <= 0:
            return found
        self._known |= {look.key for look in found.cuts}
        near = self._near(sorted(recovered, key=lambda look: look.size_bytes), min(2 * count, self._left))
        self._left -= len(near)
        successful = _successful(self._take(near, until))
        looks = [look for look in successful if not self._promises.far_missed(look, by=self._recovers)]
        joined = self._promises.thinned(self._harmed(looks, until), count)
        presets = {found.cuts[at].key for at in found.presets}
        cuts = _largest_first([*found.cuts, *joined])
        places = [at for at, look in enumerate(cuts) if look.key in presets]
        return replace(found, cuts=cuts, presets=places, values=[self._values(look) for look in cuts])

    def _beginnings(self, looks: Sequence[Look], presets: Collection[str]) -> Beginnings:
        promotion = Promotion(self._choices, self._promises, codes=self._codes, recovers=self._recovers)
        hopeful = [look for look in looks if not self._promises.far_missed(look, by=self._recovers)]
        best = [hopeful[at] for at in promotion.best(hopeful, MOST)]
        cuts = _largest_first([*self._representatives(looks), *best, *(look for look in looks if look.key in presets)])
        places = [at for at, look in enumerate(cuts) if look.key in presets]
        return Beginnings(cuts, places, [self._values(look) for look in cuts], self._scanned, self._codes)

    def _take(self, recipes: Sequence[Recipe], until: Deadline) -> list[Look | None]:
        """Looks at recipes of the space and remembers their values."""
        looks = self._lookout.take(recipes, until=until)
        for look, recipe in zip(looks, recipes, strict=True):
            if look is not None:
                self._values_of_key[look.key] = self._choices.values(recipe)
        return looks

    def _gentle(self, until: Deadline) -> Values:
        """The codes of the smallest look that lost no more than `GENTLE`, whatever else it misses.

        If all lost more, the codes of the look that lost least. A look may be lucky, and a cut may even improve the
        score. So the codes are also looked at alone; if they lose more than `GENTLE`, the next smallest look is tried.
        """
        used = {look.key: self._promises.used(look) for look in self._untrained}
        gentle_looks = sorted(
            (look for look in self._untrained if used[look.key] <= GENTLE), key=lambda look: look.size_bytes
        )
        tried: list[Values] = []
        for look in gentle_looks:
            codes = self._coding_of(look)
            if codes not in tried and len(tried) < ALONE:
                tried.append(codes)
                (alone,) = self._alone([look], until)
                if alone is None or (not alone.failed and self._promises.used(alone) <= GENTLE):
                    return codes
        return self._coding_of(min(self._untrained, key=lambda look: used[look.key])) if self._untrained else {}

    def _alone(self, looks: Sequence[Look], until: Deadline) -> list[Look | None]:
        """Looks at the codes of some looks without their cuts; these recipes may lie outside the space."""
        recipes = [self._choices.uncut(self._values(look)) for look in looks]
        return self._lookout.take(recipes, until=until, aside=True)

    def _with_neighbours(self, looks: Sequence[Look], until: Deadline) -> list[Look]:
        """The looks, and looks at neighbours of the best found so far, round by round."""
        all_looks, left, over = list(looks), self._most, False
        self._known |= {look.key for look in looks}
        while left > 0 and self._domains and not over:
            best = self._promises.front(among=[self._promises.dense, *all_looks], slack=self._recovers)
            near = self._near(sorted(best, key=lambda look: look.size_bytes), min(left, ROUND))
            if not near:
                break
            left -= len(near)
            new = self._take(near, until)
            all_looks += _successful(new)
            over = None in new
        return all_looks

    def _near(self, front: Sequence[Look], count: int) -> list[Recipe]:
        """Up to `count` new neighbours of a front, which are marked as known."""
        idle = {one.path: self._draw.choice(one.listed() or one.ends()) for one in self._choices.cuts}
        values = [self._values(look) for look in front]
        parents = [{path: one.get(path, other) for path, other in idle.items()} for one in values]

        def drawn() -> Recipe:
            other = self._draw.choice(values)
            base = {
                path: other[path] for path in self._choices.bases[0]
            }  # all of one parent, whose dense model is trained
            return self._choices.recipe({**self._neighbours.of(parents), **base, **self._codes})

        return draw_new(drawn, count, key=self._lookout.key, known=self._known) if parents else []

    def _worth(self, looks: Sequence[Look], presets: Collection[str], until: Deadline) -> list[Look]:
        """The looks that are worth training: those that were harmed, or all if none was.

        Where training is cheap, presets are always trained. Training may gain more than the cut has lost: it can learn
        how to represent users without a row.
        """
        cheap = self._recovers <= NEARLY
        harmed = self._harmed(looks, until) or list(looks)
        return [*harmed, *(look for look in looks if cheap and look.key in presets and look not in harmed)]

    def _harmed(self, looks: Sequence[Look], until: Deadline) -> list[Look]:
        """The looks that lost more than their codes alone lose, which training may regain."""
        harmed = []
        for look, alone in zip(looks, self._alone(looks, until), strict=True):
            reference = self._promises.dense if alone is None or alone.failed else alone
            lost, allowed = self._promises.lost(look, than=reference), self._promises.allowed
            if any(share > min(UNHARMED, UNUSED * allowed[metric]) for metric, share in lost.items()):
                harmed.append(look)
        return harmed

    def _representatives(self, looks: Sequence[Look]) -> list[Look]:
        """Looks that represent all that may recover, including infeasible ones, which training may repair."""
        among = [self._promises.dense, *looks]
        return [
            look
            for slack in sorted({min(NEARLY, self._recovers), self._recovers})
            for look in self._promises.thinned(self._promises.front(among=among, slack=slack), MOST)
        ]

    def _has_recovered(self, look: Look) -> bool:
        """Whether a look is fully trained and has the shared codes; others may differ from it only in their codes."""
        if not look.epochs or not look.done or not self._coding:
            return False
        return self._known_values(look) is not None and self._coding_of(look) == self._codes

    def _is_cut(self, look: Look) -> bool:
        """Whether a look is untrained and its recipe lies within the space."""
        return not look.epochs and self._known_values(look) is not None

    def _coded(self, look: Look) -> Recipe:
        """A look's cut with the shared codes."""
        return self._choices.recipe({**self._values(look), **self._codes})

    def _coding_of(self, look: Look) -> Values:
        return {path: value for path, value in self._values(look).items() if path in self._coding}

    def _values(self, look: Look) -> Values:
        return self._known_values(look) or {}

    def _known_values(self, look: Look) -> Values | None:
        if look.key not in self._values_of_key:
            self._values_of_key[look.key] = self._choices.values(look.recipe)
        return self._values_of_key[look.key]


def _successful(looks: Iterable[Look | None]) -> list[Look]:
    """The looks that did not fail, each once."""
    return list({look.key: look for look in looks if look is not None and not look.failed}.values())


def _largest_first(looks: Iterable[Look]) -> list[Look]:
    return sorted({look.key: look for look in looks}.values(), key=lambda look: -look.size_bytes)
