"""Why no candidate is feasible: what was missed, by how much, and which change would help."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from autoprune.fronts.requirements import Requirement, Requirements
from autoprune.record.point import Point

SEARCH_ON = "search on, with larger study.looks and study.trials or in a wider space"
"""The way out if nothing that was tried is good enough."""

NEAREST = 3
"""How many of the nearest misses are listed."""


@dataclass(frozen=True, kw_only=True)
class Missed:
    """How one requirement was missed.

    Attributes:
        text: the requirement.
        times: how many candidates missed it.
        least, median: the smallest and the median miss among these, as a share of the limit.
        doubted: how many of these missed it only by the bound, while the value holds.
        doubt: the median distance between bound and value of the doubted, as a ratio to the baseline; nan if unknown.
        by_value: the flag that requires the value instead of the bound.
    """

    text: str
    times: int
    least: float
    median: float
    doubted: int = 0
    doubt: float = math.nan
    by_value: str = ""

    @property
    def words(self) -> str:
        """How many missed it only by the bound, and what helps; empty if none did."""
        if not self.doubted:
            return ""
        hold = "of them meets it by its value" if self.doubted == 1 else "of them meet it by their values"
        size = f"the bound is {self.doubt:.3f}x beyond the value (median); more validation data narrows that"
        return (
            f"{self.doubted} {hold}, but not by the bound, so this is doubt, not loss: "
            f"{size if math.isfinite(self.doubt) else 'the size of the doubt was not measured'}. "
            f"{self.by_value} requires the value alone."
        )


@dataclass(frozen=True, kw_only=True)
class Loosening:
    """A change of one requirement that would make a candidate feasible.

    Attributes:
        text: the requirement as it is.
        flag: the looser limit, such as `--floor quality=0.93x`.
        point: the candidate that would become feasible.
    """

    text: str
    flag: str
    point: Point


@dataclass(frozen=True, kw_only=True)
class Near:
    """A candidate that comes near to the requirements.

    Attributes:
        point: the candidate.
        violations: how far it misses each requirement, as a share of the limit; at most 0 if it meets it.
        unmeasured: the required readings that it lacks, such as latency that the search did not time.
    """

    point: Point
    violations: dict[str, float]
    unmeasured: list[str]

    @property
    def misses(self) -> list[tuple[str, float | None]]:
        """What it misses, and by what share of the limit; None if it was not measured."""
        missed = [(text, by) for text, by in self.violations.items() if by > 0]
        return [*missed, *((reading, None) for reading in self.unmeasured)]

    @property
    def text(self) -> str:
        """The candidate and its misses, in words."""
        misses = ", ".join(
            f"{name} is not measured" if by is None else f"{name} by {by:.1%}" for name, by in self.misses
        )
        return f"#{self.point.number} {self.point.candidate.summary or 'baseline'}: {misses}"


@dataclass(frozen=True, kw_only=True)
class Infeasible:
    """Why no candidate is feasible.

    Attributes:
        candidates: how many were measured or rejected, without the baseline if there are others.
        rejected: how many of them were rejected early.
        missed: the missed requirements, most often missed first.
        unmeasured: the required readings that some candidates lack, and how many lack each.
        measuring: the command that measures those readings.
        nearest: the candidates that miss the least.
        loosenings: the smallest change of each single requirement that would be enough, smallest first.
        together: flags that together make the nearest candidate feasible.
    """

    candidates: int
    rejected: int
    missed: list[Missed]
    unmeasured: dict[str, int]
    measuring: str
    nearest: list[Near]
    loosenings: list[Loosening]
    together: list[str]

    @property
    def text(self) -> str:
        """The explanation, in words."""
        lines = [f"No candidate of {self.candidates} meets every requirement."]
        if self.rejected:
            lines[0] += f" {self.rejected} of them {'was' if self.rejected == 1 else 'were'} rejected early."
        for missed in self.missed:
            spread = f"by {missed.least:.1%} of the limit at best, {missed.median:.1%} in the median"
            lines.append(f"  {missed.text}: missed by {missed.times} of {self.candidates}, {spread}")
            lines += [f"    {missed.words}"] if missed.words else []
        for name, times in self.unmeasured.items():
            lines += [f"  {name}: not measured for {times} of {self.candidates}; to measure it:", f"  {self.measuring}"]
        lines += ["Nearest misses:", *(f"  {near.text}" for near in self.nearest)]
        if self.loosenings:
            lines.append("One of these alone would make something feasible:")
            lines += [f"  {way.flag}  ({point_summary(way.point)}, instead of {way.text})" for way in self.loosenings]
        elif self.together:
            lines.append("No single change is enough; together these would be:")
            lines.append(f"  {' '.join(self.together)}  ({point_summary(self.nearest[0].point)})")
        lines.append(f"Loosen a requirement, use another profile (--for), or {SEARCH_ON}.")
        return "\n".join(lines)


def point_summary(point: Point) -> str:
    """A candidate in a few words."""
    return f"candidate {point.number}: {point.candidate.summary or 'baseline'}"


def explain(points: Sequence[Point], requirements: Requirements, *, measuring: str) -> Infeasible:
    """Why candidates are not feasible, by the search's measurements.

    Args:
        points: all candidates of a study, the baseline first.
        requirements: what must hold.
        measuring: the command that measures what the search did not measure.
    """
    judged = [point for point in points if point.number] or list(points)
    missed = [miss for item in requirements.items if (miss := _missed(item, judged))]
    measured = [point for point in judged if not point.candidate.rejected]
    nearest = sorted((_near(point, requirements) for point in measured), key=_distance)
    unmeasured = Counter(name for near in nearest for name in near.unmeasured)
    loosenings = [way for item in requirements.items if (way := _loosen(item, requirements, measured))]
    # If a candidate lacks a measurement, no flags can promise that it would be feasible.
    first = [near for near in nearest[:1] if not near.unmeasured]
    together = [(item, near.point) for near in first for item in requirements.items if near.violations[item.text] > 0]
    return Infeasible(
        candidates=len(judged),
        rejected=sum(bool(point.candidate.rejected) for point in judged),
        missed=sorted(missed, key=lambda miss: -miss.times),
        unmeasured=dict(unmeasured),
        measuring=measuring,
        nearest=nearest[:NEAREST],
        loosenings=[loosening for _, loosening in sorted(loosenings, key=lambda pair: pair[0])],
        together=[_flag(item, point) for item, point in together],
    )


def _missed(item: Requirement, points: Sequence[Point]) -> Missed | None:
    readings = [point.found[item.reading] for point in points if item.reading in point.found]
    misses = sorted(violation for reading in readings if (violation := item.violation(reading)) > 0)
    if not misses:
        return None
    doubts = [abs(reading.ratio - item.judged(reading)) for reading in readings if item.doubted(reading)]
    finite = sorted(doubt for doubt in doubts if math.isfinite(doubt))
    return Missed(
        text=item.text,
        times=len(misses),
        least=misses[0],
        median=misses[len(misses) // 2],
        doubted=len(doubts),
        doubt=finite[len(finite) // 2] if finite else math.nan,
        by_value=dataclasses.replace(item, confidence=None).flag,
    )


def _near(point: Point, requirements: Requirements) -> Near:
    violations, unmeasured = requirements.violations(point.found), requirements.unmeasured(point.found)
    return Near(point=point, violations=violations, unmeasured=unmeasured)


def _distance(near: Near) -> tuple[float, float]:
    """How far a candidate is from feasible: its largest miss, then the sum of all."""
    misses = [max(0.0, by) for by in near.violations.values()]
    return max(misses, default=0.0), sum(misses)


def _loosen(item: Requirement, requirements: Requirements, points: Sequence[Point]) -> tuple[float, Loosening] | None:
    """How little a requirement must be loosened, as a share of its limit, if it alone is; None if that is no help."""
    others = Requirements(items=tuple(other for other in requirements.items if other != item))
    meet_others = [point for point in points if item.reading in point.found and others.hold(point.found)]
    if not meet_others:
        return None
    best = min(meet_others, key=lambda point: item.violation(point.found[item.reading]))
    by = item.violation(best.found[item.reading])
    return (by, Loosening(text=item.text, flag=_flag(item, best), point=best)) if by > 0 else None


def _flag(item: Requirement, point: Point) -> str:
    """The flag of a limit that a point just meets."""
    value = item.judged(point.found[item.reading])
    if math.isnan(value) or value <= 0:
        return f"{item.reading} left out"
    step = 10.0 ** (math.floor(math.log10(value)) - 2)  # three digits, rounded to the generous side
    nearest = (math.ceil if item.ceiling else math.floor)(value / step) * step
    for limit in (nearest, nearest + step if item.ceiling else nearest - step):  # a rounded decimal can fall just short
        looser = dataclasses.replace(item, limit=float(f"{limit:.6g}"))
        if looser.violation(point.found[item.reading]) <= 0:
            break
    return looser.flag
