"""What there is to choose from under requirements: the feasible candidates, and the best of them in one objective."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from autoprune.fronts.pareto import front_of
from autoprune.fronts.requirements import OBJECTIVES, Requirements
from autoprune.record.point import Point


class Pool:
    """The candidates that meet requirements by the search's measurements.

    Args:
        candidates: those that can be chosen at all: measured whole, in every objective.
        requirements: what must hold.
        objectives: what the search trades off.

    Attributes:
        feasible: those that meet the requirements, in the order of the candidates.
    """

    def __init__(self, candidates: Sequence[Point], requirements: Requirements, objectives: Sequence[str]) -> None:
        self.requirements = requirements
        self.objectives = objectives
        self.feasible = [point for point in candidates if requirements.hold(point.found)]

    @cached_property
    def searched(self) -> list[Point]:
        """Those of the feasible that no other beats, by the search's measurements; best quality first."""
        kept = front_of([point.found for point in self.feasible], self.objectives)
        return sorted((self.feasible[at] for at in kept), key=by_quality)

    @cached_property
    def held(self) -> list[Point]:
        """Those of the feasible that were verified, and meet the requirements by what the verification found too."""
        return [point for point in self.feasible if point.verified and self.requirements.hold(point.verified)]

    @property
    def verified(self) -> bool:
        """Whether every point of the search's front was verified."""
        return bool(self.searched) and all(point.verified for point in self.searched)

    def able(self, *, verified: bool) -> list[Point]:
        """What can be picked.

        Args:
            verified: whether what the verification found counts. Then nothing is that was verified and did not hold,
                and nothing that was not verified where the whole of the search's front was.
        """
        if not verified:
            return self.feasible
        return self.held if self.verified else [*self.held, *(point for point in self.feasible if not point.verified)]

    def pick(self, prefer: str, *, verified: bool) -> Point | None:
        """The candidate that is best in one objective, of equal ones the best in quality; None where there is none.

        It need not be on the front: an objective that the study did not search for can be preferred, too.

        Args:
            prefer: the objective.
            verified: as in `able`, of which it is one.
        """
        reading, larger = OBJECTIVES[prefer]

        def badness(point: Point) -> tuple[float, float, int]:
            found = point.known if verified and reading in point.known else point.found
            value, quality = found[reading].ratio, found["quality"].ratio
            return (-value if larger else value, -quality, point.number)

        return min(
            (point for point in self.able(verified=verified) if reading in point.found), key=badness, default=None
        )


def by_quality(point: Point) -> float:
    """Sorts the best quality first."""
    return -point.known["quality"].ratio
