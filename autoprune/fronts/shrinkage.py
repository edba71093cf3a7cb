"""Values of looks, shrunk towards what their nearness foretells: the best of many noisy looks would be the luckiest.

A look at an encoder asks a few labelled texts, and errs by some percent; how near its answers are to the dense model's
it tells far better. So what is lost of a metric is taken for a line of what is lost of that, with a spread from recipe
to recipe, and each look's own value counts the more, the less it errs beside that spread (Fay & Herriot 1979,
"Estimates of Income for Small Places: An Application of James-Stein Procedures to Census Data").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEARNED = (32, 64, 128, 256)
"""Looks after which lines are drawn, and drawn anew: often enough that the first are no chance, and then no more."""

CLOSER = (12, 24, 48)
"""The same of closer looks: they are few, and err less."""

LEAST = 0.25
"""The spread of a line, at least, as a part of its slope: however well some looks fit, others may not."""

USUAL = (1.0, 1.0)
"""The slope that is expected, and its standard error: a metric loses about what nearness does."""

ALIKE = 0.5
"""How far the slope of what was trained may be from that of what was not: a standard deviation, as a part of that or of
the slope that is expected, whichever is more."""

SMALLEST = 1e-4
"""The loss of nearness that is taken for any."""

Seen = tuple[float, float, float]
"""What a look lost of its nearness and of a metric, and the standard error of the latter."""

TURNS = 50
"""Of slope and spread, each found with the other."""


@dataclass(frozen=True)
class Line:
    """What is lost of a metric where some nearness is: `slope` times as much, give or take `spread` times.

    Attributes:
        slope, spread: as above.
        error: standard error of the slope. All looks ask the same texts and err together, so that more of them do not
            help against that; what differs from recipe to recipe they do average.
    """

    slope: float
    spread: float
    error: float = 0.0

    @staticmethod
    def through(
        near: Sequence[float], lost: Sequence[float], errors: Sequence[float], *, like: tuple[float, float] = USUAL
    ) -> Line:
        """The line that fits best, each look weighed by how much it errs.

        Args:
            near: what each look lost of its nearness.
            lost: what it lost of the metric.
            errors: standard errors of that.
            like: what the slope is expected to be, and the standard error of that; the two are weighed.
        """
        x, y, variance = np.maximum(near, SMALLEST), np.asarray(lost), np.square(errors)
        slope, spread, error = 0.0, 1.0, 0.0
        for _ in range(TURNS):
            weights = x / (variance + (spread * x) ** 2 + 1e-12)
            slope, common = (float((weights * one).sum() / (weights * x).sum()) for one in (y, np.sqrt(variance)))
            by_recipe = spread * float(np.square(weights * x).sum() ** 0.5 / (weights * x).sum())
            slope, error = _weighed((slope, math.hypot(common, by_recipe)), like)
            slope = max(0.0, slope)
            spread = max(0.0, float((np.square(y - slope * x) - variance).sum() / np.square(x).sum())) ** 0.5
            spread = max(spread, LEAST * slope, LEAST * LEAST)
        return Line(slope, spread, error)

    def shrunk(self, near: float, lost: float, error: float) -> float:
        """What is taken to be lost, of what a look shows and the line foretells."""
        x = max(near, SMALLEST)
        trust = (self.spread * x) ** 2 / ((self.spread * x) ** 2 + error**2)
        return trust * lost + (1 - trust) * self.slope * x


def _weighed(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The mean of two values, each weighed by its standard error; and the standard error of that."""
    precisions = [1 / (error**2 + 1e-12) for _, error in (one, other)]
    mean = sum(value * precision for (value, _), precision in zip((one, other), precisions, strict=True))
    return mean / sum(precisions), sum(precisions) ** -0.5


class Shrinkage:
    """Learns lines as looks come: one for each metric, of looks that were trained and of those that were not.

    What was trained is read by the line of what was not until it has its own, which is drawn towards that: a few lucky
    queries would tell that training lost nothing, whatever its answers are near to.

    Args:
        beside: of the looks to which those in question are closer: its lines hold until there are others, be it of
            closer looks that were not trained. What closer looks ask is harder, as it holds more to be mistaken for
            what is right.
    """

    def __init__(self, beside: Shrinkage | None = None) -> None:
        self._beside, self._learned, self._drawn = beside, CLOSER if beside else LEARNED, 0
        self._seen: dict[tuple[str, bool], list[Seen]] = {}
        self._lines: dict[tuple[str, bool], Line] = {}

    def add(self, metric: str, trained: bool, seen: Seen) -> None:
        """Takes in a look."""
        known = self._seen.setdefault((metric, trained), [])
        if len(known) < self._learned[-1]:
            known.append(seen)
            if len(known) in self._learned:
                other = self._lines.get((metric, False)) if trained else None
                like = (other.slope, math.hypot(other.error, ALIKE * max(other.slope, USUAL[0]))) if other else USUAL
                self._lines[metric, trained] = Line.through(*zip(*known, strict=True), like=like)
                self._drawn += 1

    def shrunk(self, metric: str, trained: bool, seen: Seen) -> float:
        """What is taken to be lost of a metric; as the look shows it where there is no line yet."""
        line, (near, lost, error) = self._line(metric, trained), seen
        return line.shrunk(near, lost, error) if line else lost

    @property
    def turns(self) -> int:
        """How often lines were drawn."""
        return self._drawn + (self._beside.turns if self._beside else 0)

    def _line(self, metric: str, trained: bool) -> Line | None:
        found = self._lines.get((metric, trained)) or self._lines.get((metric, False))
        return self._beside._line(metric, trained) if found is None and self._beside else found
