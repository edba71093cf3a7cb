"""Points of the search's front that fell when they were verified, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoprune.fronts.pareto import beats, comparison
from autoprune.fronts.requirements import Miss, Requirements
from autoprune.record.point import Point


@dataclass(frozen=True, kw_only=True)
class Fall:
    """A point that was on the search's front, but misses a requirement or is beaten after verification.

    Attributes:
        point: the point that fell.
        misses: the requirements that its verified values miss.
        beaten_by: a verified point of the front that beats or equals it; None if it fell because of a requirement.
    """

    point: Point
    misses: tuple[Miss, ...] = ()
    beaten_by: Point | None = None

    @property
    def missed(self) -> dict[str, float]:
        """How far it misses each requirement, as a share of the limit."""
        return {miss.item.text: miss.by for miss in self.misses}

    @property
    def doubted(self) -> tuple[str, ...]:
        """The requirements that only its bound misses; its value meets them."""
        return tuple(miss.item.text for miss in self.misses if miss.doubted)

    @property
    def undecided(self) -> tuple[str, ...]:
        """The requirements that it misses by less than the uncertainty of its value."""
        return tuple(miss.item.text for miss in self.misses if miss.undecided)

    @property
    def reason(self) -> str:
        """Why it fell, in words."""
        if self.misses or not self.beaten_by:
            return f"misses {', '.join(miss.text for miss in self.misses)}"
        return f"is beaten by #{self.beaten_by.number}"


def all_fell(falls: Sequence[Fall]) -> str:
    """Says that the whole front of the search fell."""
    count = len(falls)
    fallen = "the only point" if count == 1 else f"all {count} points"
    return f"No candidate passed verification: {fallen} of the search's front fell."


def explain_fall(point: Point, front: Sequence[Point], requirements: Requirements, objectives: Sequence[str]) -> Fall:
    """Why a verified point of the search's front is not on the verified front.

    Args:
        point: the point that fell.
        front: the verified front.
        requirements: what must hold.
        objectives: the objectives in which points beat each other.
    """
    misses = tuple(requirements.misses(point.verified))
    if misses or not requirements.hold(point.verified):
        return Fall(point=point, misses=misses)
    own = comparison(point.verified, objectives)
    not_worse = [
        other
        for other in front
        if beats(other.verified, point.verified, objectives) or comparison(other.verified, objectives) == own
    ]
    return Fall(point=point, beaten_by=not_worse[0])
