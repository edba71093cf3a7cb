"""The front: the feasible candidates that no other feasible one beats, what fell from it, and what to pick."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from autoprune.archive import TRIAL
from autoprune.errors import AutopruneError, unknown
from autoprune.pareto import beats, front_of, hypervolume, knee, spread_out
from autoprune.profiles import load_profile, profile_names
from autoprune.record.infeasible import Infeasible, explain
from autoprune.record.point import Point, columns
from autoprune.requirements import OBJECTIVES, Requirements

if TYPE_CHECKING:  # to look at a front nobody should wait for pandas; a record makes fronts
    import pandas as pd

    from autoprune.record.record import Record

LOWEST_FLOOR = 0.9
"""The ratio of quality below which nothing counts for the hypervolume, where no floor says otherwise."""

APART = 1.96
"""Standard errors of a paired difference beyond which two candidates are told apart: 95 %."""


@dataclass(frozen=True, kw_only=True)
class Fall:
    """A point of the search's front that did not hold when it was verified.

    Attributes:
        point: the one that fell.
        missed: the requirements that it no longer meets, and by what share of the limit.
        beaten_by: a verified point of the front that is as good in everything and better in something; None if it
            fell by its requirements.
    """

    point: Point
    missed: dict[str, float]
    beaten_by: Point | None = None

    @property
    def words(self) -> str:
        """Why, for people."""
        missed = [f"{text} by {by:.1%} of the limit" for text, by in self.missed.items()]
        return (
            f"misses {', '.join(missed)}" if missed or not self.beaten_by else f"is beaten by {self.beaten_by.number}"
        )


class Front:
    """A Pareto front; iterating gives its points, best quality first.

    The search proposes and the verification decides: a point of the search's front that was verified stays if it
    still meets the requirements, and no other that does beats it. One that was not verified stays until it is.

    Args:
        record: the study.
        requirements: what must hold.

    Attributes:
        feasible: every candidate that meets the requirements by the search's measurements.
        searched: those of them that no other beats, by the same measurements.
        falls: what the verification took from `searched`; never the baseline, which all are read against.
        points: what it left.
    """

    def __init__(self, record: Record, requirements: Requirements) -> None:
        self.record = record
        self.requirements = requirements
        needed = [OBJECTIVES[name][0] for name in record.objectives]
        judged = [
            point
            for point in record.points
            if not point.candidate.rejected and all(name in point.found for name in needed)
        ]
        self.feasible = [point for point in judged if requirements.hold(point.found)]
        kept = front_of([point.found for point in self.feasible], record.objectives)
        self.searched = sorted((self.feasible[at] for at in kept), key=_by_quality)
        self.falls = self._fallen([point for point in self.searched if point.verified and point.number])
        fallen = {fall.point.number for fall in self.falls}
        self.points = sorted((point for point in self.searched if point.number not in fallen), key=_by_quality)

    def _fallen(self, verified: Sequence[Point]) -> list[Fall]:
        falls: dict[int, Fall] = {}
        for point in verified:
            missed = {text: by for text, by in self.requirements.violations(point.verified).items() if by > 0}
            if missed:
                falls[point.number] = Fall(point=point, missed=missed)
        held = [point for point in verified if point.number not in falls]
        stay = {held[at].number for at in front_of([point.verified for point in held], self.record.objectives)}
        for point in held:
            if point.number not in stay:
                better = [one for one in held if one.number in stay and self._beats_or_equals(one, point)]
                falls[point.number] = Fall(point=point, missed={}, beaten_by=better[0])
        return [falls[point.number] for point in verified if point.number in falls]

    def _beats_or_equals(self, one: Point, other: Point) -> bool:
        return not beats(other.verified, one.verified, self.record.objectives) and (
            beats(one.verified, other.verified, self.record.objectives)
            or all(
                one.verified[OBJECTIVES[name][0]] == other.verified[OBJECTIVES[name][0]]
                for name in self.record.objectives
            )
        )

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    @property
    def verified(self) -> bool:
        """Whether every point of the front was verified."""
        return bool(self.searched) and all(point.verified for point in self.searched)

    @property
    def finalists(self) -> list[Point]:
        """What is verified: the baseline, the search's front, what a profile would pick, and the other presets."""
        picked = [point for point in self.picks(verified=False).values() if point]
        presets = [point for point in self.record.points if point.candidate.name != TRIAL]
        chosen = {point.number: point for point in [self.record.baseline, *self.searched, *picked, *presets]}
        return list(chosen.values())

    @property
    def floor(self) -> float:
        """The lowest ratio of quality that counts: the requirements' floor, or `LOWEST_FLOOR`."""
        floors = [
            item.limit
            for item in self.requirements.items
            if item.reading in ("quality", self.record.metric) and item.relative and item.limit < 1
        ]
        return max(floors, default=LOWEST_FLOOR)

    @property
    def hypervolume(self) -> float:
        """How much the front covers; see `autoprune.pareto.hypervolume`."""
        return hypervolume([point.known for point in self._whole], self.record.objectives, floor=self.floor)

    @property
    def knee(self) -> Point | None:
        """Where the front bends most; see `autoprune.pareto.knee`."""
        at = knee([point.known for point in self._whole], self.record.objectives, floor=self.floor)
        return None if at is None else self._whole[at]

    @cached_property
    def _whole(self) -> list[Point]:
        """The points that can be compared in every objective: one that another machine verified has no latency here."""
        needed = [OBJECTIVES[name][0] for name in self.record.objectives]
        return [point for point in self.points if all(name in point.known for name in needed)]

    def thinned(self, count: int) -> list[Point]:
        """At most `count` points that stand for the whole front; see `autoprune.pareto.spread_out`."""
        kept = spread_out([point.known for point in self._whole], self.record.objectives, count, floor=self.floor)
        return [self._whole[at] for at in kept]

    def pick(self, *, prefer: str | None = None, verified: bool = True) -> Point:
        """The point that is best in one objective; of equal ones the best in quality.

        Of those that were verified and held, if there are any; of all that are feasible otherwise.

        Args:
            prefer: `quality`, `size` or `latency`; by default what the requirements prefer.
            verified: whether what the verification found counts.

        Raises:
            AutopruneError: no candidate is feasible (the message names the nearest), or `prefer` is unknown.
        """
        prefer = prefer or self.requirements.prefer
        if prefer not in OBJECTIVES:
            raise unknown("objective", prefer, OBJECTIVES)
        reading, larger = OBJECTIVES[prefer]

        def badness(point: Point) -> tuple[float, float]:
            found = point.known if verified and reading in point.known else point.found
            return (-found[reading].ratio if larger else found[reading].ratio, -found["quality"].ratio)

        # Not from the front alone: an objective that the study did not search for can still be preferred.
        pool = [point for point in self.feasible if reading in point.found]
        if verified:
            held = [point for point in pool if point.verified and reading in point.verified and self._held(point)]
            fallen = {fall.point.number for fall in self.falls}
            pool = held or [point for point in pool if point.number not in fallen]
        if not pool:
            raise AutopruneError(self.explain_empty())
        return min(pool, key=badness)

    def _held(self, point: Point) -> bool:
        return self.requirements.hold(point.verified)

    def picks(self, *, verified: bool = True) -> dict[str, Point | None]:
        """What each shipped profile would pick; None where nothing is feasible under it.

        Args:
            verified: as in `pick`.
        """
        found: dict[str, Point | None] = {}
        for name in profile_names():
            front = Front(self.record, self.record.requirements(load_profile(name)))
            found[name] = front.pick(verified=verified) if front.feasible and (not verified or len(front)) else None
        return found

    def told_apart(self, one: Point, other: Point) -> bool:
        """Whether the quality of two verified points differs by more than chance; by their paired bootstrap."""
        if not (one.draws and other.draws):
            return True
        difference = np.subtract(one.draws, other.draws)
        distance = abs(one.verified["quality"].ratio - other.verified["quality"].ratio)
        return bool(distance > APART * difference.std(ddof=1))

    @cached_property
    def letters(self) -> dict[int, str]:
        """Letters by number: verified points that share one cannot be told apart in quality.

        The baseline is among them. (A compact letter display, Piepho 2004, of neighbours in the order of quality.)
        """
        ordered = sorted(
            {point.number: point for point in [self.record.baseline, *self.points]}.values(), key=_by_quality
        )
        ordered = [point for point in ordered if point.draws]
        found: dict[int, str] = {point.number: "" for point in ordered}
        apart = _apart(ordered)
        last, letter = -1, 0
        for first in range(len(ordered)):
            end = first
            while end + 1 < len(ordered) and not apart[first : end + 1, end + 1].any():
                end += 1
            if end > last:  # a run that no earlier one contains
                for point in ordered[first : end + 1]:
                    found[point.number] += _letter(letter)
                last, letter = end, letter + 1
        return found

    @cached_property
    def optimism(self) -> float | None:
        """How much dropping what fell flatters the test values of what stayed, as a ratio of quality, in the mean.

        Test data decided what was dropped, and so says a little too much good of the rest. In every bootstrap sample
        the floors on quality select anew; the mean of (value in the sample - value) over what they select is the
        bias (Efron & Tibshirani 1993, chapter 17). None where no floor on quality was applied to verified points.
        """
        floors = [
            item.limit
            for item in self.requirements.items
            if item.reading in ("quality", self.record.metric)
            and item.relative
            and not item.ceiling
            and item.confidence is None
        ]
        points = [point for point in self.searched if point.number and point.draws]
        if not floors or not points:
            return None
        drawn = np.array([point.draws for point in points])
        values = np.array([[point.verified["quality"].ratio] for point in points])
        selected = drawn >= max(floors)
        return float((drawn - values)[selected].mean()) if selected.any() else None

    def infeasible(self) -> Infeasible:
        """Why nothing, or so little, is feasible."""
        return explain(self.record.points, self.requirements)

    def explain_empty(self) -> str:
        """Why nothing is feasible, or nothing held, as a text for people."""
        if not self.falls:
            return self.infeasible().text
        lines = [f"nothing held when it was verified: all {len(self.falls)} of the search's front fell."]
        lines += [f"  {fall.point.number} {fall.point.candidate.words}: {fall.words}" for fall in self.falls]
        return "\n".join([*lines, "Loosen a requirement, take another profile (--for), or search on with more trials."])

    def to_frame(self) -> pd.DataFrame:
        """One row a point, indexed by candidate number; ratios to the baseline end in `_ratio`.

        Where points were verified, `test_…` is quality on test data and `verified_…` what was timed again, each with
        the interval of a re-measurement's ratio in `_low` and `_high`.
        """
        import pandas as pd

        rows = []
        for point in self.points:
            row: dict[str, Any] = {
                "number": point.number,
                "name": point.candidate.name,
                "recipe": point.candidate.words,
            }
            rows.append({**row, **columns(point, point.found), "artifact": str(point.folder)})
        return pd.DataFrame(rows, columns=None if rows else ["number", "name", "recipe"]).set_index("number")


def _apart(points: Sequence[Point]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """`told_apart` of all pairs at once: the variance of a difference from variances and covariance."""
    values = np.array([point.verified["quality"].ratio for point in points])
    shared = np.atleast_2d(np.cov(np.array([point.draws for point in points]))) if points else np.zeros((0, 0))
    own = np.diag(shared)
    spread = np.sqrt(np.maximum(0.0, own[:, None] + own[None, :] - 2 * shared))
    apart: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = np.abs(values[:, None] - values) > APART * spread
    return apart


def _by_quality(point: Point) -> float:
    return -point.known["quality"].ratio


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else _letter(number // 26 - 1) + chr(ord("a") + number % 26)
