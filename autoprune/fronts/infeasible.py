"""Why nothing is feasible: what was missed, by how much, and what it would take."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from autoprune.fronts.requirements import Requirement, Requirements
from autoprune.record.point import Point

SEARCH_ON = "search on, with larger study.looks and study.trials or in a wider space"
"""The way out where what was tried is not enough."""

NEAREST = 3
"""How many of the nearest misses are named."""


@dataclass(frozen=True, kw_only=True)
class Missed:
    """How one requirement was missed.

    Attributes:
        text: the requirement.
        times: by how many candidates.
        least, median: by what share of the limit, at best and in the middle of those that missed it.
        doubted: of the times, for doubt alone: the value holds, the bound does not.
        doubt: how far the bound is from the value, as a ratio to the baseline, in the median of these; nan where that
            is not known.
        by_value: the flag that asks for the value alone.
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
        """What was missed for doubt alone, and what helps; empty if nothing was."""
        if not self.doubted:
            return ""
        hold = "of them holds by its value" if self.doubted == 1 else "of them hold by their values"
        known = f"the bound lies {self.doubt:.3f}x beyond the value (median), and more validation data narrows that"
        return (
            f"{self.doubted} {hold}: that is doubt, not loss; "
            f"{known if math.isfinite(self.doubt) else 'how large it is was not measured'}. "
            f"{self.by_value} asks for the value alone."
        )


@dataclass(frozen=True, kw_only=True)
class Loosening:
    """A change of one requirement that would make something feasible.

    Attributes:
        text: the requirement as it is.
        flag: what to write instead, such as `--floor quality=0.93x`.
        point: what would be feasible then.
    """

    text: str
    flag: str
    point: Point


@dataclass(frozen=True, kw_only=True)
class Near:
    """A candidate that misses the least.

    Attributes:
        violations: what it misses of each requirement, as a share of the limit; at most 0 where that holds.
        unmeasured: the readings that are required and that it lacks, such as latency that the search did not time.
    """

    point: Point
    violations: dict[str, float]
    unmeasured: list[str]

    @property
    def misses(self) -> list[tuple[str, float | None]]:
        """What keeps it from being feasible, and by what share of the limit; None: not measured."""
        return [(text, by) for text, by in self.violations.items() if by > 0] + [(one, None) for one in self.unmeasured]

    @property
    def text(self) -> str:
        """For people."""
        short = ", ".join(
            f"{name} is not measured" if by is None else f"{name} by {by:.1%}" for name, by in self.misses
        )
        return f"#{self.point.number} {self.point.candidate.summary or 'baseline'}: {short}"


@dataclass(frozen=True, kw_only=True)
class Infeasible:
    """Why nothing is feasible.

    Attributes:
        candidates: how many were measured or rejected, without the baseline if there are others.
        rejected: how many of them were given up early.
        missed: what was missed, most often first.
        unmeasured: the readings that are required and that some lack, with how many.
        measuring: the command that measures them.
        nearest: the candidates that miss the least.
        loosenings: the smallest change of each single requirement that would be enough, the smallest first.
        together: flags that make the nearest candidate feasible, where no single one does.
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
        """For people."""
        lines = [f"No candidate of {self.candidates} meets every requirement."]
        if self.rejected:
            lines[0] += f" {self.rejected} of them {'was' if self.rejected == 1 else 'were'} rejected early."
        for one in self.missed:
            spread = f"by {one.least:.1%} of the limit at best, {one.median:.1%} in the median"
            lines.append(f"  {one.text}: missed by {one.times} of {self.candidates}, {spread}")
            lines += [f"    {one.words}"] if one.words else []
        for name, times in self.unmeasured.items():
            lines += [f"  {name}: not measured for {times} of {self.candidates}; to measure it:", f"  {self.measuring}"]
        lines += ["Nearest misses:", *(f"  {near.text}" for near in self.nearest)]
        if self.loosenings:
            lines.append("One of these alone would make something feasible:")
            lines += [f"  {one.flag}  ({point_summary(one.point)}, instead of {one.text})" for one in self.loosenings]
        elif self.together:
            lines.append("No single change is enough; together these would be:")
            lines.append(f"  {' '.join(self.together)}  ({point_summary(self.nearest[0].point)})")
        lines.append(f"Loosen a requirement, take another profile (--for), or {SEARCH_ON}.")
        return "\n".join(lines)


def point_summary(point: Point) -> str:
    """A candidate in a few words."""
    return f"candidate {point.number}: {point.candidate.summary or 'baseline'}"


def explain(points: Sequence[Point], requirements: Requirements, *, measuring: str) -> Infeasible:
    """What keeps candidates from being feasible, by the search's measurements.

    Args:
        points: all candidates of a study, the baseline first.
        requirements: what must hold.
        measuring: the command that measures what the search did not.
    """
    judged = [point for point in points if point.number] or list(points)
    missed = [one for item in requirements.items if (one := _missed(item, judged))]
    whole = [point for point in judged if not point.candidate.rejected]
    nearest = sorted((_near(point, requirements) for point in whole), key=_miss)
    unmeasured = Counter(name for near in nearest for name in near.unmeasured)
    loosenings = [found for item in requirements.items if (found := _loosen(item, requirements, whole))]
    # Of what lacks a measurement no flags can say that it would be feasible.
    first = [near for near in nearest[:1] if not near.unmeasured]
    together = [(item, near.point) for near in first for item in requirements.items if near.violations[item.text] > 0]
    return Infeasible(
        candidates=len(judged),
        rejected=sum(bool(point.candidate.rejected) for point in judged),
        missed=sorted(missed, key=lambda one: -one.times),
        unmeasured=dict(unmeasured),
        measuring=measuring,
        nearest=nearest[:NEAREST],
        loosenings=[found for _, found in sorted(loosenings, key=lambda pair: pair[0])],
        together=[_flag(item, point) for item, point in together],
    )


def _missed(item: Requirement, points: Sequence[Point]) -> Missed | None:
    found = [point.found[item.reading] for point in points if item.reading in point.found]
    by = sorted(violation for reading in found if (violation := item.violation(reading)) > 0)
    if not by:
        return None
    doubts = [abs(reading.ratio - item.judged(reading)) for reading in found if item.doubted(reading)]
    known = sorted(doubt for doubt in doubts if math.isfinite(doubt))
    return Missed(
        text=item.text,
        times=len(by),
        least=by[0],
        median=by[len(by) // 2],
        doubted=len(doubts),
        doubt=known[len(known) // 2] if known else math.nan,
        by_value=f"--{'max' if item.ceiling else 'floor'} {item.reading}={item.limit:.10g}x",
    )


def _near(point: Point, requirements: Requirements) -> Near:
    violations, unmeasured = requirements.violations(point.found), requirements.unmeasured(point.found)
    return Near(point=point, violations=violations, unmeasured=unmeasured)


def _miss(near: Near) -> tuple[float, float]:
    beyond = [max(0.0, by) for by in near.violations.values()]
    return max(beyond, default=0.0), sum(beyond)


def _loosen(item: Requirement, requirements: Requirements, whole: Sequence[Point]) -> tuple[float, Loosening] | None:
    others = Requirements(items=tuple(other for other in requirements.items if other != item))
    able = [point for point in whole if item.reading in point.found and others.hold(point.found)]
    if not able:
        return None
    best = min(able, key=lambda point: item.violation(point.found[item.reading]))
    by = item.violation(best.found[item.reading])
    return (by, Loosening(text=item.text, flag=_flag(item, best), point=best)) if by > 0 else None


def _flag(item: Requirement, point: Point) -> str:
    """What to write for a limit that a point just meets."""
    value = item.judged(point.found[item.reading])
    if math.isnan(value) or value <= 0:
        return f"{item.reading} left out"
    step = 10.0 ** (math.floor(math.log10(value)) - 2)  # three digits, rounded to the generous side
    nearest = (math.ceil if item.ceiling else math.floor)(value / step) * step
    sure = f":{item.confidence:.10g}" if item.confidence else ""
    for limit in (nearest, nearest + step if item.ceiling else nearest - step):  # a rounded decimal can end short of it
        written = f"{limit:.6g}"
        if dataclasses.replace(item, limit=float(written)).violation(point.found[item.reading]) <= 0:
            break
    return f"--{'max' if item.ceiling else 'floor'} {item.reading}={written}{'x' if item.relative else ''}{sure}"
