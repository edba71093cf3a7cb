"""What the verification took from the search's front, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoprune.fronts.pareto import beats, comparison
from autoprune.fronts.requirements import Requirements
from autoprune.record.point import Point

DOUBT = " (for doubt alone: its value holds)"
"""Stands behind a requirement that is missed by its bound only."""

UNDECIDED = " (too near to tell: other test data may find it met)"
"""Stands behind a requirement that is missed by less than its value is known."""


@dataclass(frozen=True, kw_only=True)
class Fall:
    """A point of the search's front that did not hold when it was verified.

    Attributes:
        point: the one that fell.
        missed: the requirements that it no longer meets, and by what share of the limit.
        doubted: those of them that it misses for doubt alone: its value still meets them.
        undecided: those of them that it misses by less than its value is known.
        beaten_by: a verified point of the front that is as good in everything and better in something; None if it
            fell by its requirements.
    """

    point: Point
    missed: dict[str, float]
    doubted: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    beaten_by: Point | None = None

    @property
    def reason(self) -> str:
        """Why, for people."""
        missed = [
            f"{text} by {by:.1%} of the limit{DOUBT * (text in self.doubted)}{UNDECIDED * (text in self.undecided)}"
            for text, by in self.missed.items()
        ]
        if missed or not self.beaten_by:
            return f"misses {', '.join(missed)}"
        return f"is beaten by #{self.beaten_by.number}"


def all_fell(falls: Sequence[Fall]) -> str:
    """That nothing of the search's front was left."""
    count = len(falls)
    what = "the one point of the search's front fell" if count == 1 else f"all {count} of the search's front fell"
    return f"Nothing held when it was verified: {what}."


def explain_fall(point: Point, front: Sequence[Point], requirements: Requirements, objectives: Sequence[str]) -> Fall:
    """Why a verified point of the search's front is not among those that verification left.

    Args:
        point: the one that fell.
        front: what verification left.
        requirements: what must hold.
        objectives: by which points beat each other.
    """
    missed = {text: by for text, by in requirements.violations(point.verified).items() if by > 0}
    if missed or not requirements.hold(point.verified):
        asked = {item: point.verified[item.reading] for item in requirements.items if item.text in missed}
        return Fall(
            point=point,
            missed=missed,
            doubted=tuple(item.text for item, reading in asked.items() if item.doubted(reading)),
            undecided=tuple(item.text for item, reading in asked.items() if item.undecided(reading)),
        )
    ours = comparison(point.verified, objectives)
    better = [
        one
        for one in front
        if beats(one.verified, point.verified, objectives) or comparison(one.verified, objectives) == ours
    ]
    return Fall(point=point, missed={}, beaten_by=better[0])
