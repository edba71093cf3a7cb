"""The front: the feasible candidates that no other feasible one beats, what fell from it, and what to pick."""

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

if TYPE_CHECKING:  # to look at a front nobody should wait for pandas
    import pandas as pd

NOTHING_TRIED = "Only the baseline was measured so far: search on, with presets, looks or trials."


class Front:
    """A Pareto front; iterating gives its points, best quality first.

    The search proposes and the verification decides: of what is feasible and was verified, that is on the front which
    still meets the requirements and which no other that does beats, the baseline included. A point of the search's
    front that was not verified stays until it is.

    Args:
        record: the study.
        limits: what is asked for in place of its own requirements.

    Attributes:
        requirements: what must hold.
        candidates: those that can be written in the format of the limits; all of the study's in its own.
        points: the front.

    Raises:
        AutopruneError: the limits cannot be read, or name what is not measured.
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
        late = [point for point in self.searched if not point.verified]
        self.points = sorted([*self._best, *late], key=by_quality)

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    @property
    def format(self) -> str:
        """What candidates must be writable in."""
        return self.limits.format

    @property
    def feasible(self) -> list[Point]:
        """Every candidate that meets the requirements by the search's measurements."""
        return self._pool.feasible

    @property
    def searched(self) -> list[Point]:
        """Those of the feasible that no other beats, by the same measurements."""
        return self._pool.searched

    @property
    def verified(self) -> bool:
        """Whether every point of the search's front was verified."""
        return self._pool.verified

    @cached_property
    def _best(self) -> list[Point]:
        """Of what was verified and held, that which no other beats."""
        held = self._pool.held
        return [held[at] for at in front_of([point.verified for point in held], self.record.objectives)]

    @cached_property
    def falls(self) -> list[Fall]:
        """What the verification took from `searched`; never the baseline, which all are read against."""
        stay = {0, *(point.number for point in self._best)}
        return [
            explain_fall(point, self._best, self.requirements, self.record.objectives)
            for point in self.searched
            if point.verified and point.number not in stay
        ]

    @property
    def columns(self) -> list[str]:
        """What a table shows beside the usual: other main metrics, what else is traded off, and what is required.

        In the order of the study's readings, so that no floor is about something that nobody sees.
        """
        names = self.record.names
        first = next((name for name in names if name.startswith("latency_ms.")), "")
        always = {"quality", self.record.metric, "worst_slice", "size_bytes", "latency_ms", first}
        traded = (OBJECTIVES[name][0] for name in self.record.objectives)
        wanted = {*self.record.metrics, *traded, *(item.reading for item in self.requirements.items)} - always
        return [name for name in names if name in wanted]

    def pick(self, *, prefer: str | None = None, verified: bool = True) -> Point:
        """The point that is best in one objective; of equal ones the best in quality.

        What was verified and did not hold is never picked, and nothing that was not verified where the whole front was.

        Args:
            prefer: one of `OBJECTIVES`; by default what the requirements prefer.
            verified: whether what the verification found counts.

        Raises:
            AutopruneError: no candidate is feasible (the message names the nearest), or `prefer` is unknown.
        """
        prefer = prefer or self.requirements.prefer
        if prefer not in OBJECTIVES:
            raise unknown("objective", prefer, OBJECTIVES)
        found = self._pool.pick(prefer, verified=verified)
        if found is None and OBJECTIVES[prefer][0] not in self.record.names:
            raise AutopruneError(
                f"study {self.record.name!r} measured nothing called {OBJECTIVES[prefer][0]}; prefer another objective."
            )
        if found is None:
            raise AutopruneError(self.explain_empty())
        return found

    def picks(self, *, verified: bool = True) -> dict[str, Point | None]:
        """What each shipped profile would pick; None where nothing is feasible under it.

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
        """What is verified: the baseline, the search's front, what a profile would pick, and the other presets.

        Of what was verified for other limits that is among them which has come to stand on the front.
        """
        picked = [point for point in self.picks(verified=False).values() if point]
        presets = [point for point in self.candidates if point.candidate.name != TRIAL]
        wanted = [self.record.baseline, *self.searched, *picked, *presets, *self._best]
        return list({point.number: point for point in wanted}.values())

    @property
    def floor(self) -> float:
        """The lowest ratio of quality that counts: the requirements' floor, or `LOWEST_FLOOR`."""
        return self.requirements.floor(self.record.metric)

    @property
    def hypervolume(self) -> float:
        """How much the front covers; see `autoprune.fronts.pareto.hypervolume`."""
        return hypervolume([point.known for point in self._whole], self.record.objectives, floor=self.floor)

    @cached_property
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
        return [self._whole[at] for at in sorted(kept)]

    def told_apart(self, one: Point, other: Point) -> bool:
        """Whether the quality of two verified points differs by more than chance; by their paired bootstrap."""
        return bool(apart([one, other])[0, 1])

    @cached_property
    def letters(self) -> dict[int, str]:
        """Letters by number: of verified points those share one that cannot be told apart; the baseline among them."""
        shown = {point.number: point for point in [self.record.baseline, *self.points] if point.draws}
        return letters(sorted(shown.values(), key=by_quality))

    @cached_property
    def optimism(self) -> float | None:
        """How much choosing on test data flatters the front; see `autoprune.fronts.optimism`. None: not verified."""
        points = [point for point in self.searched if point.number and point.draws]
        return optimism(
            points, self.record.objectives, floor=max(self.requirements.floors(self.record.metric), default=0.0)
        )

    @cached_property
    def promises(self) -> Promises | None:
        """What the study's looks promise under the same requirements; None where none was taken."""
        return self._promises(self.record.looks, beside=None)

    @cached_property
    def closer(self) -> Promises | None:
        """The same of its closer looks, which are never held against others; None where none was taken."""
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
        """Why nothing, or so little, is feasible."""
        return explain(self.candidates, self.requirements, measuring=self.record.verb("verify", "--all"))

    def explain_empty(self) -> str:
        """Why nothing is feasible, or nothing held, as a text for people."""
        if not self.candidates:
            return self.format_note
        return self._explain_falls() if self.falls else self.infeasible().text

    def _explain_falls(self) -> str:
        lines = [all_fell(self.falls)]
        lines += [f"  #{fall.point.number} {fall.point.candidate.summary}: {fall.reason}" for fall in self.falls]
        return "\n".join([*lines, f"Loosen a requirement, take another profile (--for), or {SEARCH_ON}."])

    def explain_dense(self) -> str:
        """Why the pick is the dense model: nothing else fits, or held, or it is best in what is preferred."""
        prefer = self.requirements.prefer
        able = [point for point in self._pool.able(verified=True) if point.number]
        if lacking := [point for point in able if OBJECTIVES[prefer][0] not in point.found]:
            return (
                f"Others fit, too, but of {len(lacking)} of {len(able)} {OBJECTIVES[prefer][0]} was not measured; what "
                f"measures it:\n  {self.record.verb('verify', '--all')}"
            )
        if able:
            other = "latency" if prefer == "size" else "size"
            return f"Others fit, too, but none is better in {prefer}; --prefer {other} looks for another thing."
        if len(self.candidates) == 1:
            return "" if self.format_note else NOTHING_TRIED
        return self._explain_falls() if self.falls else self.infeasible().text

    @property
    def format_note(self) -> str:
        """How many candidates can't be written in the format, why, and what search finds others; empty if all can."""
        if len(self.candidates) == len(self.record.points):
            return ""
        points = [point for point in self.record.points if point.number] or self.record.points
        found = [point.obstacles(self.format) for point in points]
        return explain_obstacles(found, self.format, self.record.definition["space"])

    def to_frame(self) -> pd.DataFrame:
        """One row a point, indexed by candidate number; ratios to the baseline end in `_ratio`.

        Where points were verified, `test_…` is quality on test data and `verified_…` what was timed again, each with
        the interval of a re-measurement's ratio in `_low` and `_high`, and the bound of the true one in `_bound`.
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
