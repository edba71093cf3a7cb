"""The looks of a study, judged as candidates are: held to the requirements, and the best of them found."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from autoprune.fronts.pareto import SLOWEST, hypervolume, nondominated, spread_out
from autoprune.fronts.requirements import COSTS, OBJECTIVES, Requirement, Requirements
from autoprune.fronts.shrinkage import Seen, Shrinkage
from autoprune.measure.measurement import WHOLE, Measurement
from autoprune.measure.reading import Reading, reading_name, readings
from autoprune.record.looks import Look

Readings = dict[str, Reading]


class Promises:
    """What looks promise, against the look at the dense model.

    Values are held to the requirements, whatever confidence these ask for: a look asks too little to be sure, and what
    it chooses is measured. What a look cannot tell (milliseconds, memory, slices and metrics that it did not ask for or
    of which the dense model has nothing) no requirement is held against. Multiplications stand for latency where it is
    an objective. Main metrics are shrunk towards what is foretold by how near answers were to the dense model's.

    Args:
        dense: the look at the dense model.
        baseline: the measurement of the dense model; an absolute floor on quality is the same share of it as of the
            part that a look asks.
        metrics: the main ones, first the one that quality means.
        requirements: of the study.
        objectives: names in `OBJECTIVES`.
        beside: promises of the looks to which these are closer.

    Attributes:
        allowed: the share of each main metric that may be lost, by its floor or else by that of quality.
        turns: how often all that was taken in has come to be read otherwise.
    """

    def __init__(
        self,
        dense: Look,
        *,
        baseline: Measurement,
        metrics: Sequence[str],
        requirements: Requirements,
        objectives: Sequence[str],
        beside: Promises | None = None,
    ) -> None:
        self.dense = dense
        self._shrinkage: Shrinkage = Shrinkage(beside._shrinkage if beside else None)
        self._read = 0
        self.objectives = objectives
        self._metrics, self._before, self._baseline = metrics, dense.measurement(), baseline
        self._off: dict[str, dict[str, float]] = {}  # by key, and metric: how much more than foretold there is
        self._found: dict[tuple[str, int], tuple[Look, Readings, float]] = {}
        told = {name for name, reading in self.readings(dense).items() if reading.value > 0}
        self._items = [
            (item, _by_value(item, baseline, metrics[0]), item.reading in told and item.reading != "latency_ms")
            for item in requirements.items
        ]
        usual = requirements.floor(metrics[0])
        self.allowed = {metric: 1.0 - self._floor_of(metric, usual) for metric in metrics}
        self.add(dense)

    def add(self, *looks: Look) -> None:
        """Takes looks in; of those that failed nothing is known."""
        for look in looks:
            if not look.failed and (look.key, look.epochs) not in self._found:
                self._learn(look)
                self._take(look)

    @property
    def floor(self) -> float:
        """Of quality, relative to the dense model; an absolute one counts as a share as well."""
        return 1.0 - self.allowed[self._metrics[0]]

    @property
    def turns(self) -> int:
        return self._shrinkage.turns

    def corrected(self, measured: Mapping[str, Measurement], *, kin: Callable[[Look], str]) -> Promises:
        """The same, but main metrics of what was measured read as that, and those of its kin as much more or less.

        Kin differ in their codes alone. What a look errs about them is mostly the same for all, as the texts are that
        it asks (`studies/closer_looks`).

        Args:
            measured: by key.
            kin: what a look has in common with its kin.
        """
        looks = [look for look in self.looks if look.done and look.number]
        off = {look.key: self._off_by(look, measured[look.key]) for look in looks if look.key in measured}
        if not off:
            return self
        families: dict[str, list[dict[str, float]]] = defaultdict(list)
        for look in looks:
            if look.key in off:
                families[kin(look)].append(off[look.key])
        made = copy.copy(self)
        made._off = {look.key: off.get(look.key) or _mean(families[kin(look)]) for look in looks}
        made._found = {}
        for look in self.looks:
            made._take(look)
        return made

    def _off_by(self, look: Look, measured: Measurement) -> dict[str, float]:
        """How much more of each main metric was measured than a look foretold, as a share of the dense model's."""
        told, foretold = readings(measured, self._baseline, metrics=self._metrics), self.readings(look)
        more = {
            metric: told[metric].ratio - foretold[metric].ratio
            for metric in self._metrics
            if metric in told and metric in foretold
        }
        return {metric: share for metric, share in more.items() if math.isfinite(share)}

    def _learn(self, look: Look) -> None:
        if look.near and look.number:
            found = readings(look.measurement(), self._before, metrics=self._metrics)
            for metric, seen in self._seen(look, found).items():
                self._shrinkage.add(metric, look.epochs > 0, seen)

    def _seen(self, look: Look, found: Readings) -> dict[str, Seen]:
        """What a look shows to be lost of its nearness and of metrics, where both are known."""
        seen = {
            metric: (1 - near, 1 - found[metric].ratio, look.errors.get(metric, 0.0))
            for metric, near in look.near.items()
            if metric in found
        }
        return {metric: told for metric, told in seen.items() if all(map(math.isfinite, told))}

    def _take(self, look: Look) -> None:
        found = self._readings(look)
        missed = max(self._violations(found).values(), default=0.0)
        self._found[look.key, look.epochs] = look, found, missed

    def _all(self) -> list[tuple[Look, Readings, float]]:
        """What was taken in, as it is read by now."""
        if self._read != self.turns:
            self._read = self.turns
            for look in self.looks:
                self._take(look)
        return list(self._found.values())

    @property
    def looks(self) -> list[Look]:
        """Those that were taken in, in their order."""
        return [look for look, _, _ in self._found.values()]

    def readings(self, look: Look) -> Readings:
        """What a look read, as readings of a measurement are."""
        if self._read != self.turns:
            self._all()
        known = self._found.get((look.key, look.epochs))
        return known[1] if known and known[0] is look else self._readings(look)

    def _readings(self, look: Look) -> Readings:
        found = readings(look.measurement(), self._before, metrics=self._metrics)
        del found["memory_bytes"]
        if look.near and look.number:
            for metric, seen in self._seen(look, found).items():
                self._set(found, metric, 1 - self._shrinkage.shrunk(metric, look.epochs > 0, seen))
        for metric, more in self._off.get(look.key, {}).items() if look.done else ():
            self._set(found, metric, found[metric].ratio + more)
        counted = look.products and self.dense.products  # a model need not say how many there are
        found["latency_ms"] = Reading(look.products, look.products / self.dense.products if counted else 1.0)
        return found

    def _set(self, found: Readings, metric: str, ratio: float) -> None:
        """Has a main metric read as a ratio to the dense model's."""
        value = ratio * self._before.quality[metric][WHOLE]
        found[metric] = dataclasses.replace(found[metric], value=value, ratio=ratio)
        found["quality"] = found[self._metrics[0]]

    def gains(self, look: Look) -> list[float]:
        """By objective, in their order: the ratio of quality, and how many doublings smaller and faster."""
        found = self.readings(look)
        ratios = {name: found[OBJECTIVES[name][0]].ratio for name in self.objectives}
        return [ratio if name == "quality" else -math.log2(ratio) for name, ratio in ratios.items()]

    def lost(self, look: Look, *, than: Look) -> dict[str, float]:
        """What a look has less than another of each main metric, as a share of the dense model's; of what is known."""
        mine, theirs = self.readings(look), self.readings(than)
        less = {metric: theirs[metric].ratio - mine[metric].ratio for metric in self._metrics if metric in mine}
        return {metric: share for metric, share in less.items() if math.isfinite(share)}

    def used(self, look: Look) -> float:
        """How many times what may be lost a look lost, of the main metric of which that is most."""
        lost = self.lost(look, than=self.dense)
        return max((share / self.allowed[metric] for metric, share in lost.items()), default=0.0)

    def violations(self, look: Look) -> dict[str, float]:
        """Of every requirement, in one order; above 0 is missed. What a look cannot tell is told as 0."""
        return self._violations(self.readings(look))

    def far_missed(self, look: Look, *, by: float) -> list[str]:
        """What a look shows to be missed for good: floors on all rows, and the ceiling on size.

        Slices are too faint in a look to give a recipe up for them.

        Args:
            by: the share of a limit that must be missed.
        """
        violations = self.violations(look)
        faint = {item.key for item, _, _ in self._items if item.reading == "worst_slice" or "." in item.reading}
        return [item.text for item, _, _ in self._items if item.key not in faint and violations[item.key] > by]

    def front(
        self,
        *,
        among: Collection[Look] | None = None,
        wanted: Callable[[Look], bool] = lambda look: True,
        slack: float = 0.0,
    ) -> list[Look]:
        """The feasible looks that no other feasible one beats, by their values; the dense model's is left out.

        Args:
            among: the looks in question, which were taken in; None: all.
            wanted: whether a look counts at all.
            slack: a requirement that is missed by no larger share counts as met.
        """
        known = self._all()
        asked = known if among is None else [self._found[look.key, look.epochs] for look in among]
        held = [(look, found) for look, found, missed in asked if missed <= slack and wanted(look)]
        points = [[found[OBJECTIVES[name][0]].ratio for name in self.objectives] for _, found in held]
        best = nondominated(points, maximise=[OBJECTIVES[name][1] for name in self.objectives])
        return [held[at][0] for at in best if held[at][0].number]

    def thinned(self, looks: Sequence[Look], count: int, *, beside: Sequence[Look] = ()) -> list[Look]:
        """At most `count` of them that stand for all, in the order of `autoprune.fronts.pareto.spread_out`.

        Args:
            beside: those that stand for some of them already.
        """
        among = [*beside, *looks]
        given = range(len(beside))
        found = [self.readings(look) for look in among]
        kept = spread_out(found, self.objectives, count + len(beside), floor=self.floor, given=given)
        return [among[at] for at in kept if at not in given]

    def box(self, look: Look, *, left: float = 1.0) -> list[float]:
        """What a look covers by objective: quality above its floor, doublings smaller and faster than `SLOWEST` allows.

        Unlike in `hypervolume` a cost that is as it was leaves something, so that the others tell.

        Args:
            left: of the quality that was lost, what is to count as lost.
        """
        ratio = self.readings(look)["quality"].ratio
        spared = (1 - left) * max(0.0, 1 - ratio)
        gains = zip(self.objectives, self.gains(look), strict=True)
        return [ratio + spared - self.floor if name == "quality" else gain + math.log2(SLOWEST) for name, gain in gains]

    def nearest(self) -> list[Look]:
        """All but the dense model's, those that miss the requirements by least first."""
        others = [(missed, look) for look, _, missed in self._all() if look.number]
        return [look for _, look in sorted(others, key=lambda pair: pair[0])]

    @property
    def hypervolume(self) -> float:
        """How much the front of looks covers; see `autoprune.fronts.pareto.hypervolume`."""
        return self.covered([look for look, _, missed in self._all() if missed <= 0])

    def covered(self, front: Collection[Look]) -> float:
        """How much feasible looks cover by themselves."""
        return hypervolume([self.readings(look) for look in front], self.objectives, floor=self.floor)

    def beaten(self, look: Look, by: Collection[Look], *, hope: float = 0.0) -> bool:
        """Whether one of others costs no more, and is better by more than two standard errors of the difference.

        Costs are those among the objectives. Both looks are paired with the dense model; as if these two pairs had
        nothing in common, which is cautious.

        Args:
            hope: ratio of quality that the look may still gain.
        """
        metric = self._metrics[0]
        costs = [name for name, _ in (OBJECTIVES[name] for name in self.objectives) if name in COSTS]
        mine = self.readings(look)
        for other in by:
            theirs = self.readings(other)
            doubt = 2 * math.hypot(look.errors.get(metric, 0.0), other.errors.get(metric, 0.0))
            as_cheap = all(theirs[name].ratio <= mine[name].ratio for name in costs)
            if as_cheap and theirs["quality"].ratio - mine["quality"].ratio - hope > doubt:
                return True
        return False

    def _floor_of(self, metric: str, usual: float) -> float:
        """The highest floor of a main metric, below 1; what is usual where it has none."""
        names = (metric, "quality") if metric == self._metrics[0] else (metric,)
        floors = [judged for item, judged, _ in self._items if item.reading in names and not judged.ceiling]
        return max((item.limit for item in floors if item.relative and item.limit < 1), default=usual)

    def _violations(self, found: Readings) -> dict[str, float]:
        return {
            item.key: judged.violation(found[item.reading]) if told and item.reading in found else 0.0
            for item, judged, told in self._items
        }


def _mean(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric, of those that say it."""
    told: dict[str, list[float]] = defaultdict(list)
    for one in shares:
        for metric, share in one.items():
            told[metric].append(share)
    return {metric: sum(found) / len(found) for metric, found in told.items()}


def _by_value(item: Requirement, baseline: Measurement, metric: str) -> Requirement:
    """A requirement as looks are held to it: without confidence, and relative to the dense model if it is a floor."""
    judged = dataclasses.replace(item, confidence=None)
    if item.ceiling or item.relative:
        return judged
    values = {
        reading_name(name, part): value for name, parts in baseline.quality.items() for part, value in parts.items()
    }
    before = values.get(metric if item.reading == "quality" else item.reading, 0.0)
    return dataclasses.replace(judged, limit=item.limit / before, relative=True) if before > 0 else judged
