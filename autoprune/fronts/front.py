"""The front: the feasible candidates that no other feasible one beats, what fell from it, and what to pick."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from autoprune.artifacts.formats import OWN, check_format, explain_obstacles
from autoprune.errors import AutopruneError, unknown
from autoprune.fronts.infeasible import Infeasible, explain
from autoprune.fronts.letters import apart, letters
from autoprune.fronts.pareto import beats, coordinates, front_of, hypervolume, knee, nondominated, spread_out
from autoprune.fronts.profiles import load_profile, profile_names
from autoprune.fronts.requirements import OBJECTIVES, Requirement, Requirements
from autoprune.record.archive import TRIAL
from autoprune.record.point import Point, all_names, columns

if TYPE_CHECKING:  # to look at a front nobody should wait for pandas; a record makes fronts
    import pandas as pd

    from autoprune.record.record import Record

LOWEST_FLOOR = 0.9
"""The ratio of quality below which nothing counts for the hypervolume, where no floor says otherwise."""


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

    The search proposes and the verification decides: of what is feasible and was verified, that is on the front which
    still meets the requirements and which no other that does beats, the baseline included. A point of the search's
    front that was not verified stays until it is.

    Args:
        record: the study.
        requirements: what must hold.
        flags: the words of the command line that ask for them, such as `--max size_bytes=0.5x`; none for the study's.
        format: the name of what candidates must be writable in; see `autoprune.artifacts.formats`.

    Attributes:
        candidates: those that can be written in the format; all of the study's in its own.
        feasible: every candidate that meets the requirements by the search's measurements.
        searched: those of them that no other beats, by the same measurements.
        falls: what the verification took from `searched`; never the baseline, which all are read against.
        points: the front.
    """

    def __init__(
        self, record: Record, requirements: Requirements, flags: tuple[str, ...] = (), *, format: str = OWN
    ) -> None:
        self.record = record
        self.format = check_format(format)
        self.candidates = [point for point in record.points if not point.obstacles(format)]
        self.requirements = requirements
        self.flags = flags
        needed = [OBJECTIVES[name][0] for name in record.objectives]
        judged = [
            point
            for point in self.candidates
            if not point.candidate.rejected and all(name in point.found for name in needed)
        ]
        self.feasible = [point for point in judged if requirements.hold(point.found)]
        kept = front_of([point.found for point in self.feasible], record.objectives)
        self.searched = sorted((self.feasible[at] for at in kept), key=_by_quality)
        held = [point for point in self.feasible if point.verified and requirements.hold(point.verified)]
        best = [held[at] for at in front_of([point.verified for point in held], record.objectives)]
        stay = {0, *(point.number for point in best)}
        self.falls = [self._fall(point, best) for point in self.searched if point.verified and point.number not in stay]
        late = [point for point in self.searched if not point.verified]
        self.points = sorted([*best, *late], key=_by_quality)

    def _fall(self, point: Point, best: Sequence[Point]) -> Fall:
        missed = {text: by for text, by in self.requirements.violations(point.verified).items() if by > 0}
        if missed or not self.requirements.hold(point.verified):
            return Fall(point=point, missed=missed)
        objectives = self.record.objectives
        ours = coordinates(point.verified, objectives)
        better = [
            one
            for one in best
            if beats(one.verified, point.verified, objectives) or coordinates(one.verified, objectives) == ours
        ]
        return Fall(point=point, missed={}, beaten_by=better[0])

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
        presets = [point for point in self.candidates if point.candidate.name != TRIAL]
        chosen = {point.number: point for point in [self.record.baseline, *self.searched, *picked, *presets]}
        return list(chosen.values())

    @property
    def floor(self) -> float:
        """The lowest ratio of quality that counts: the requirements' floor, or `LOWEST_FLOOR`."""
        floors = [
            item.limit
            for item in self.requirements.items
            if self._on_quality(item) and item.relative and item.limit < 1
        ]
        return max(floors, default=LOWEST_FLOOR)

    @property
    def hypervolume(self) -> float:
        """How much the front covers; see `autoprune.fronts.pareto.hypervolume`."""
        return hypervolume([point.known for point in self._whole], self.record.objectives, floor=self.floor)

    @property
    def knee(self) -> Point | None:
        """Where the front bends most; see `autoprune.fronts.pareto.knee`."""
        at = knee([point.known for point in self._whole], self.record.objectives, floor=self.floor)
        return None if at is None else self._whole[at]

    @cached_property
    def _whole(self) -> list[Point]:
        """The points that can be compared in every objective: one that another machine verified has no latency here."""
        needed = [OBJECTIVES[name][0] for name in self.record.objectives]
        return [point for point in self.points if all(name in point.known for name in needed)]

    def thinned(self, count: int) -> list[Point]:
        """At most `count` points that stand for the whole front; see `autoprune.fronts.pareto.spread_out`."""
        kept = spread_out([point.known for point in self._whole], self.record.objectives, count, floor=self.floor)
        return [self._whole[at] for at in kept]

    def pick(self, *, prefer: str | None = None, verified: bool = True) -> Point:
        """The point that is best in one objective; of equal ones the best in quality.

        What was verified and did not hold is never picked, and nothing that was not verified where the whole front was.

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

        pool = self._pool(reading, verified=verified)
        if not pool:
            raise AutopruneError(self.explain_empty())
        return min(pool, key=badness)

    def _pool(self, reading: str, *, verified: bool) -> list[Point]:
        # Not from the front alone: an objective that the study did not search for can still be preferred.
        pool = [point for point in self.feasible if reading in point.found]
        if verified:
            pool = [point for point in pool if not point.verified or self.requirements.hold(point.verified)]
        if verified and self.verified:
            pool = [point for point in pool if point.verified]
        return pool

    def picks(self, *, verified: bool = True) -> dict[str, Point | None]:
        """What each shipped profile would pick; None where nothing is feasible under it.

        Args:
            verified: as in `pick`.
        """
        found: dict[str, Point | None] = {}
        for name in profile_names():
            front = Front(self.record, self.record.requirements(load_profile(name)), format=self.format)
            reading = OBJECTIVES[front.requirements.prefer][0]
            found[name] = front.pick(verified=verified) if front._pool(reading, verified=verified) else None
        return found

    def told_apart(self, one: Point, other: Point) -> bool:
        """Whether the quality of two verified points differs by more than chance; by their paired bootstrap."""
        return bool(apart([one, other])[0, 1])

    @cached_property
    def letters(self) -> dict[int, str]:
        """Letters by number: of verified points those share one that cannot be told apart; the baseline among them."""
        shown = {point.number: point for point in [self.record.baseline, *self.points] if point.draws}
        return letters(sorted(shown.values(), key=_by_quality))

    @cached_property
    def optimism(self) -> float | None:
        """How much choosing on test data flatters the test values of what is on the front, as a ratio, in the mean.

        Test data decided what fell, and so says a little too much good of the rest. In every bootstrap sample the
        search's front is chosen from anew, by the floors on quality and by who beats whom; the mean of (value in the
        sample - value) over what is chosen is the bias (Efron & Tibshirani 1993, chapter 17). None where nothing was
        verified.
        """
        points = [point for point in self.searched if point.number and point.draws]
        if not points:
            return None
        limits = [item.limit for item in self.requirements.items if self._on_quality(item) and item.relative]
        drawn = np.array([point.draws for point in points])
        values = np.array([point.verified["quality"].ratio for point in points])
        costs = [[point.verified[OBJECTIVES[name][0]].ratio for point in points] for name in self.record.objectives[1:]]
        surplus: list[float] = []
        for sample in drawn.T:
            held = np.flatnonzero(np.isfinite(sample) & (sample >= max(limits, default=0.0)))
            chosen = nondominated(
                np.column_stack([sample[held], *(np.array(cost)[held] for cost in costs)]).tolist(),
                maximise=[True, *(False for _ in costs)],
            )
            surplus += (sample[held] - values[held])[chosen].tolist()
        return float(np.mean(surplus)) if surplus else None

    def _on_quality(self, item: Requirement) -> bool:
        return item.reading in ("quality", self.record.metric)

    def infeasible(self) -> Infeasible:
        """Why nothing, or so little, is feasible."""
        return explain(self.candidates, self.requirements)

    def explain_empty(self) -> str:
        """Why nothing is feasible, or nothing held, as a text for people."""
        if not self.candidates:
            return self.format_words
        if not self.falls:
            return self.infeasible().text
        lines = [f"nothing held when it was verified: all {len(self.falls)} of the search's front fell."]
        lines += [f"  {fall.point.number} {fall.point.candidate.words}: {fall.words}" for fall in self.falls]
        return "\n".join([*lines, "Loosen a requirement, take another profile (--for), or search on with more trials."])

    @property
    def format_words(self) -> str:
        """How many candidates can't be written in the format, why, and what search finds others; empty if all can."""
        if len(self.candidates) == len(self.record.points):
            return ""
        points = [point for point in self.record.points if point.number] or self.record.points
        found = [point.obstacles(self.format) for point in points]
        return explain_obstacles(found, self.format, self.record.definition["space"])

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
        return pd.DataFrame(rows, columns=all_names(rows) if rows else ["number", "name", "recipe"]).set_index("number")


def _by_quality(point: Point) -> float:
    return -point.known["quality"].ratio
