"""The front: the feasible candidates that no other feasible candidate beats, what fell from it, and what to pick."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from autoprune.errors import AutopruneError, unknown
from autoprune.fronts.fall import Fall, all_fell, explain_fall
from autoprune.fronts.infeasible import SEARCH_ON, Infeasible, explain
from autoprune.fronts.letters import apart, letters
from autoprune.fronts.limits import UNCHANGED, Limits
from autoprune.fronts.obstacles import explain_obstacles
from autoprune.fronts.optimism import optimism
from autoprune.fronts.pareto import front_of, hypervolume, knee, spread_out
from autoprune.fronts.pool import Pool, by_quality
from autoprune.fronts.profiles import shipped_profiles
from autoprune.fronts.promises import Promises
from autoprune.fronts.requirements import OBJECTIVES
from autoprune.record.archive import TRIAL
from autoprune.record.looks import Looks
from autoprune.record.point import Point, all_names, columns
from autoprune.record.record import Record

if TYPE_CHECKING:  # importing pandas takes long, and showing a front does not need it
    import pandas as pd

NOTHING_TRIED = "Only the baseline was measured so far: search on, with presets, looks or trials."


class Front:
    """A Pareto front; iterating gives its points, best quality first.

    The search proposes and the verification decides. A verified candidate is on the front if its verified values still
    meet the requirements, and no other candidate whose values do, the baseline included, beats it. A point of the
    search's front that is not verified yet stays on the front until it is.

    Args:
        record: the study.
        limits: requirements that replace those of the study.

    Attributes:
        requirements: what must hold.
        candidates: those that can be written in the format of the limits; in autoprune's own format, all.
        points: the front.

    Raises:
        AutopruneError: the limits cannot be read, or name a reading that is not measured.
    """

    def __init__(self, record: Record, limits: Limits = UNCHANGED) -> None:
        self.record = record
        self.limits = limits
        self.requirements = limits.requirements(record)
        self.candidates = [point for point in record.points if not point.obstacles(limits.format)]
        for name in record.objectives:
            if name not in OBJECTIVES:
                raise unknown(f"{record.folder / 'study.yaml'}: objective", name, OBJECTIVES)
        needed = [OBJECTIVES[name][0] for name in record.objectives]
        self._measured = [
            point
            for point in self.candidates
            if not point.candidate.rejected and all(name in point.found for name in needed)
        ]
        self._pool = Pool(self._measured, self.requirements, record.objectives)
        unverified = [point for point in self.searched if not point.verified]
        self.points = sorted([*self._best, *unverified], key=by_quality)

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    @property
    def format(self) -> str:
        """The format that candidates must be writable in."""
        return self.limits.format

    @property
    def feasible(self) -> list[Point]:
        """The candidates that meet the requirements, by the search's measurements."""
        return self._pool.feasible

    @property
    def searched(self) -> list[Point]:
        """The search's front: the feasible candidates that no other beats, by the search's measurements."""
        return self._pool.searched

    @property
    def verified(self) -> bool:
        """Whether every point of the search's front was verified."""
        return self._pool.verified

    @cached_property
    def _best(self) -> list[Point]:
        """The candidates that still meet the requirements after verification and that no other beats."""
        passed = self._pool.passed
        return [passed[at] for at in front_of([point.verified for point in passed], self.record.objectives)]

    @cached_property
    def falls(self) -> list[Fall]:
        """The points of `searched` that fell; never the baseline, to which all others are compared."""
        stay = {0, *(point.number for point in self._best)}
        return [
            explain_fall(point, self._best, self.requirements, self.record.objectives)
            for point in self.searched
            if point.verified and point.number not in stay
        ]

    @property
    def columns(self) -> list[str]:
        """The additional columns of a table: other main metrics, other objectives, and every required reading.

        In the order of the study's readings. So no requirement is about a value that the table does not show.
        """
        names = self.record.names
        first_workload = next((name for name in names if name.startswith("latency_ms.")), "")
        always = {"quality", self.record.metric, "worst_slice", "size_bytes", "latency_ms", first_workload}
        objectives = (OBJECTIVES[name][0] for name in self.record.objectives)
        wanted = {*self.record.metrics, *objectives, *(item.reading for item in self.requirements.items)} - always
        return [name for name in names if name in wanted]

    def pick(self, *, prefer: str | None = None, verified: bool = True) -> Point:
        """The point that is best in one objective; among equal points, the one with the best quality.

        A candidate that misses a requirement after verification is never picked. If the whole front of the search was
        verified, only verified candidates are.

        Args:
            prefer: one of `OBJECTIVES`; by default what the requirements prefer.
            verified: whether verified values count.

        Raises:
            AutopruneError: no candidate is feasible (the message names the nearest), or `prefer` is unknown.
        """
        prefer = prefer or self.requirements.prefer
        if prefer not in OBJECTIVES:
            raise unknown("objective", prefer, OBJECTIVES)
        best = self._pool.pick(prefer, verified=verified)
        if best is None and OBJECTIVES[prefer][0] not in self.record.names:
            raise AutopruneError(
                f"study {self.record.name!r} did not measure {OBJECTIVES[prefer][0]}; prefer another objective."
            )
        if best is None:
            raise AutopruneError(self.explain_empty())
        return best

    def picks(self, *, verified: bool = True) -> dict[str, Point | None]:
        """What each shipped profile would pick; None if no candidate is feasible under it.

        Args:
            verified: as in `pick`.
        """
        return {
            name: pool.pick(pool.requirements.prefer, verified=verified) for name, pool in self._profile_pools.items()
        }

    @cached_property
    def _profile_pools(self) -> dict[str, Pool]:
        objectives = self.record.objectives
        return {
            name: Pool(self._measured, requirements.of_metrics(self.record.metrics), objectives)
            for name, requirements in shipped_profiles().items()
        }

    @property
    def finalists(self) -> list[Point]:
        """The candidates to verify: the baseline, the search's front, the picks of the profiles, and all presets.

        A candidate that was verified under other limits is among them if that put it on the front.
        """
        picked = [point for point in self.picks(verified=False).values() if point]
        presets = [point for point in self.candidates if point.candidate.name != TRIAL]
        wanted = [self.record.baseline, *self.searched, *picked, *presets, *self._best]
        return list({point.number: point for point in wanted}.values())

    @property
    def floor(self) -> float:
        """The lowest ratio of quality that counts: the floor of the requirements, or `LOWEST_FLOOR`."""
        return self.requirements.floor(self.record.metric)

    @property
    def hypervolume(self) -> float:
        """How much the front covers; see `autoprune.fronts.pareto.hypervolume`.

        By verified values once all of the search's front is verified, by the search's values until then: values on
        test data are not mixed with those on validation data, which are too good because the search chose by them.
        """
        if not self.verified:
            return self.searched_hypervolume
        return hypervolume([point.known for point in self._comparable], self.record.objectives, floor=self.floor)

    @property
    def searched_hypervolume(self) -> float:
        """How much the search's front covers, by the search's measurements; it never falls as a search goes on."""
        return hypervolume([point.found for point in self.searched], self.record.objectives, floor=self.floor)

    @cached_property
    def knee(self) -> Point | None:
        """Where the front bends most; see `autoprune.fronts.pareto.knee`."""
        at = knee([point.known for point in self._comparable], self.record.objectives, floor=self.floor)
        return None if at is None else self._comparable[at]

    @cached_property
    def _comparable(self) -> list[Point]:
        """The points with a value for every objective; a point that another machine verified has no latency here."""
        needed = [OBJECTIVES[name][0] for name in self.record.objectives]
        return [point for point in self.points if all(name in point.known for name in needed)]

    def thinned(self, count: int) -> list[Point]:
        """At most `count` points that represent the whole front; see `autoprune.fronts.pareto.spread_out`."""
        kept = spread_out([point.known for point in self._comparable], self.record.objectives, count, floor=self.floor)
        return [self._comparable[at] for at in sorted(kept)]

    def told_apart(self, one: Point, other: Point) -> bool:
        """Whether the quality of two verified points differs by more than chance, by a paired bootstrap."""
        return bool(apart([one, other])[0, 1])

    @cached_property
    def letters(self) -> dict[int, str]:
        """The letters of verified points and the baseline, by number: points that share one cannot be told apart."""
        shown = {point.number: point for point in [self.record.baseline, *self.points] if point.draws}
        return letters(sorted(shown.values(), key=by_quality))

    @cached_property
    def optimism(self) -> dict[str, float]:
        """How much too good the front looks because test data chose it, by reading; see `autoprune.fronts.optimism`.

        The readings are the metric that `quality` means, and every reading with a floor. Empty before verification.
        """
        points = [point for point in self.searched if point.number and point.draws]
        return optimism(points, self.record.objectives, self.requirements, metric=self.record.metric)

    @cached_property
    def promises(self) -> Promises | None:
        """The study's looks, judged by the same requirements; None if there are no looks."""
        return self._promises(self.record.looks, beside=None)

    @cached_property
    def closer(self) -> Promises | None:
        """The study's closer looks, judged in the same way and never together with others; None if there are none."""
        return self._promises(self.record.closer_looks, beside=self.promises)

    def _promises(self, looks: Looks, *, beside: Promises | None) -> Promises | None:
        if looks.dense is None:
            return None
        promises = Promises(
            looks.dense,
            baseline=self.record.baseline.candidate.latest(),
            metrics=self.record.metrics,
            requirements=self.requirements,
            objectives=self.record.objectives,
            beside=beside,
        )
        promises.add(*looks.found.values())
        return promises

    def infeasible(self) -> Infeasible:
        """Why no candidate is feasible, or so few are."""
        return explain(self.candidates, self.requirements, measuring=self.record.verb("verify", "--all"))

    def explain_empty(self) -> str:
        """Why no candidate is feasible, or why all fell, in words."""
        if not self.candidates:
            return self.format_note
        return self._explain_falls() if self.falls else self.infeasible().text

    def _explain_falls(self) -> str:
        lines = [all_fell(self.falls)]
        lines += [f"  #{fall.point.number} {fall.point.candidate.summary}: {fall.reason}" for fall in self.falls]
        return "\n".join([*lines, f"Loosen a requirement, use another profile (--for), or {SEARCH_ON}."])

    def explain_dense(self) -> str:
        """Why the pick is the dense model: no other candidate is feasible, all fell, or none is better."""
        prefer = self.requirements.prefer
        pickable = [point for point in self._pool.pickable(verified=True) if point.number]
        if unmeasured := [point for point in pickable if OBJECTIVES[prefer][0] not in point.found]:
            return (
                f"Other candidates are feasible, but {OBJECTIVES[prefer][0]} was not measured for {len(unmeasured)} of "
                f"{len(pickable)}; to measure it:\n  {self.record.verb('verify', '--all')}"
            )
        if pickable:
            other = "latency" if prefer == "size" else "size"
            return f"Other candidates are feasible, but none is better in {prefer}; try --prefer {other}."
        if len(self.candidates) == 1:
            return "" if self.format_note else NOTHING_TRIED
        return self._explain_falls() if self.falls else self.infeasible().text

    @property
    def format_note(self) -> str:
        """How many candidates can't be written in the format, why, and which search avoids that; empty if all can."""
        if len(self.candidates) == len(self.record.points):
            return ""
        points = [point for point in self.record.points if point.number] or self.record.points
        obstacles = [point.obstacles(self.format) for point in points]
        return explain_obstacles(obstacles, self.format, self.record.definition["space"])

    def to_frame(self) -> pd.DataFrame:
        """One row per point, indexed by candidate number; ratios to the baseline end in `_ratio`.

        For verified points, `test_…` is quality on test data and `verified_…` the latency that was timed again. Their
        `_low` and `_high` are the interval of the ratio that a second measurement would give, `_bound` is the bound of
        the true ratio.
        """
        import pandas as pd

        rows = [
            {
                "number": point.number,
                "name": point.candidate.name,
                "recipe": point.candidate.summary,
                **columns(point, point.found),
                "artifact": str(point.folder),
            }
            for point in self.points
        ]
        return pd.DataFrame(rows, columns=all_names(rows) if rows else ["number", "name", "recipe"]).set_index("number")
