"""Shrinks the values of looks towards what nearness predicts: otherwise the best of many noisy looks is the luckiest.

A look at an encoder uses few labelled texts, so its metrics err by some percent. How near its answers are to the dense
model's is known far better. So the loss of a metric is modelled as proportional to the loss of nearness, with a spread
from recipe to recipe. The smaller a look's error is compared with that spread, the more its own value counts (Fay &
Herriot 1979, "Estimates of Income for Small Places: An Application of James-Stein Procedures to Census Data").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEARNED = (32, 64, 128, 256)
"""The numbers of looks after which a line is fitted again. Later looks would change it too little."""

CLOSER = (12, 24, 48)
"""The same for closer looks, which are fewer and err less."""

LEAST = 0.25
"""The smallest spread of a line, as a share of its slope: however well some looks fit, others may not."""

USUAL = (1.0, 1.0)
"""The expected slope and its standard error: a metric loses about as much as nearness does."""

ALIKE = 0.5
"""How far the slope of trained looks may be from that of untrained ones: a standard deviation, as a share of the latter
or of the expected slope, whichever is larger."""

SMALLEST = 1e-4
"""Smaller losses of nearness count as this."""

Seen = tuple[float, float, float]
"""What a look shows for one metric: the loss of nearness, the loss of the metric, and the latter's standard error."""

TURNS = 50
"""Iterations that fit slope and spread, each with the other held fixed."""


@dataclass(frozen=True)
class Line:
    """The loss of a metric, given the loss of nearness: `slope` ± `spread` times as much.

    Attributes:
        slope, spread: as above.
        error: standard error of the slope. All looks use the same texts and err together, so more looks do not reduce
            that part of it; they do average out what differs from recipe to recipe.
    """

    slope: float
    spread: float
    error: float = 0.0

    @staticmethod
    def through(
        near: Sequence[float], lost: Sequence[float], errors: Sequence[float], *, like: tuple[float, float] = USUAL
    ) -> Line:
        """The line that fits looks best, weighted by their errors.

        Args:
            near: the loss of nearness of each look.
            lost: the loss of the metric.
            errors: the standard errors of `lost`.
            like: the expected slope and its standard error, which are averaged with the fitted ones.
        """
        x, y, variance = np.maximum(near, SMALLEST), np.asarray(lost), np.square(errors)
        slope, spread, error = 0.0, 1.0, 0.0
        for _ in range(TURNS):
            weights = x / (variance + (spread * x) ** 2 + 1e-12)
            slope, common = (float((weights * each).sum() / (weights * x).sum()) for each in (y, np.sqrt(variance)))
            by_recipe = spread * float(np.square(weights * x).sum() ** 0.5 / (weights * x).sum())
            slope, error = _weighted_mean((slope, math.hypot(common, by_recipe)), like)
            slope = max(0.0, slope)
            spread = max(0.0, float((np.square(y - slope * x) - variance).sum() / np.square(x).sum())) ** 0.5
            spread = max(spread, LEAST * slope, LEAST * LEAST)
        return Line(slope, spread, error)

    def shrunk(self, near: float, lost: float, error: float) -> float:
        """The loss of the metric, between what a look shows and what the line predicts."""
        x = max(near, SMALLEST)
        trust = (self.spread * x) ** 2 / ((self.spread * x) ** 2 + error**2)
        return trust * lost + (1 - trust) * self.slope * x


def _weighted_mean(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The mean of two (value, standard error), weighted by precision, and its standard error."""
    precisions = [1 / (error**2 + 1e-12) for _, error in (one, other)]
    mean = sum(value * precision for (value, _), precision in zip((one, other), precisions, strict=True))
    return mean / sum(precisions), sum(precisions) ** -0.5


class Shrinkage:
    """Learns lines as looks arrive: for each metric one of untrained and one of trained looks.

    Trained looks use the line of untrained ones until they have their own, which is drawn towards it. Otherwise a few
    lucky queries could suggest that training loses nothing, however far its answers are from the dense model's.

    Args:
        beside: for closer looks, the shrinkage of the other looks; its lines are used until there are own ones, at
            least of untrained looks. Closer looks need their own, because their task is harder: they search more
            documents that can be mistaken for the right one.
    """

    def __init__(self, beside: Shrinkage | None = None) -> None:
        self._beside, self._fit_at, self._fits = beside, CLOSER if beside else LEARNED, 0
        self._seen: dict[tuple[str, bool], list[Seen]] = {}
        self._lines: dict[tuple[str, bool], Line] = {}

    def add(self, metric: str, trained: bool, seen: Seen) -> None:
        """Adds what a look shows for a metric."""
        looks = self._seen.setdefault((metric, trained), [])
        if len(looks) < self._fit_at[-1]:
            looks.append(seen)
            if len(looks) in self._fit_at:
                other = self._lines.get((metric, False)) if trained else None
                like = (other.slope, math.hypot(other.error, ALIKE * max(other.slope, USUAL[0]))) if other else USUAL
                self._lines[metric, trained] = Line.through(*zip(*looks, strict=True), like=like)
                self._fits += 1

    def shrunk(self, metric: str, trained: bool, seen: Seen) -> float:
        """The loss of a metric, shrunk towards the prediction; as the look shows it if there is no line yet."""
        line, (near, lost, error) = self._line(metric, trained), seen
        return line.shrunk(near, lost, error) if line else lost

    @property
    def turns(self) -> int:
        """How often a line was fitted."""
        return self._fits + (self._beside.turns if self._beside else 0)

    def _line(self, metric: str, trained: bool) -> Line | None:
        line = self._lines.get((metric, trained)) or self._lines.get((metric, False))
        return self._beside._line(metric, trained) if line is None and self._beside else line
