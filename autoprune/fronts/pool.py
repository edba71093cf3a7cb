"""The candidates to choose from under some requirements, and the best of them in one objective."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from autoprune.fronts.pareto import front_of
from autoprune.fronts.requirements import OBJECTIVES, Requirements
from autoprune.record.point import Point


class Pool:
    """The candidates that meet some requirements, by the search's measurements.

    Args:
        candidates: those that can be chosen at all: fully measured, in every objective.
        requirements: what must hold.
        objectives: what the search trades off.

    Attributes:
        feasible: the candidates that meet the requirements, in the given order.
    """

    def __init__(self, candidates: Sequence[Point], requirements: Requirements, objectives: Sequence[str]) -> None:
        self.requirements = requirements
        self.objectives = objectives
        self.feasible = [point for point in candidates if requirements.hold(point.found)]

    @cached_property
    def searched(self) -> list[Point]:
        """The search's front: the feasible candidates that no other beats, by its measurements; best quality first."""
        kept = front_of([point.found for point in self.feasible], self.objectives)
        return sorted((self.feasible[at] for at in kept), key=by_quality)

    @cached_property
    def passed(self) -> list[Point]:
        """The feasible candidates that were verified and still meet the requirements by their verified values."""
        return [point for point in self.feasible if point.verified and self.requirements.hold(point.verified)]

    @property
    def verified(self) -> bool:
        """Whether every point of the search's front was verified."""
        return bool(self.searched) and all(point.verified for point in self.searched)

    def pickable(self, *, verified: bool) -> list[Point]:
        """The candidates that can be picked.

        Args:
            verified: whether verified values count. Then a candidate that misses a requirement after verification
                cannot be picked, nor can an unverified one if the whole front of the search was verified.
        """
        if not verified:
            return self.feasible
        if self.verified:
            return self.passed
        return [*self.passed, *(point for point in self.feasible if not point.verified)]

    def pick(self, prefer: str, *, verified: bool) -> Point | None:
        """The pickable candidate that is best in one objective, and among equals in quality; None if there is none.

        It need not be on the front, because an objective that the study did not optimise can be preferred, too.

        Args:
            prefer: the objective.
            verified: as in `pickable`.
        """
        reading, larger = OBJECTIVES[prefer]

        def best_first(point: Point) -> tuple[float, float, int]:
            read = point.known if verified and reading in point.known else point.found
            value, quality = read[reading].ratio, read["quality"].ratio
            return (-value if larger else value, -quality, point.number)

        measured = (point for point in self.pickable(verified=verified) if reading in point.found)
        return min(measured, key=best_first, default=None)


def by_quality(point: Point) -> float:
    """A sort key that puts the best quality first."""
    return -point.known["quality"].ratio
