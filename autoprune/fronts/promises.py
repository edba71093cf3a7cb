"""The looks of a study, judged like candidates: which meet the requirements, and which are on the front of looks."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from autoprune.fronts.pareto import SLOWEST, gains, hypervolume, nondominated, spread_out
from autoprune.fronts.requirements import COSTS, OBJECTIVES, Requirement, Requirements
from autoprune.fronts.shrinkage import Seen, Shrinkage
from autoprune.measure.measurement import WHOLE, Measurement
from autoprune.measure.reading import FEWEST_UNITS, Reading, binding_slices, reading_name, readings
from autoprune.record.looks import Look

Readings = dict[str, Reading]


FAR = 3.0
"""A gain of minus this is far from any front, and a failed look misses by so many times the allowed loss."""


class Promises:
    """Looks, compared with the look at the dense model.

    Requirements apply to values, whatever confidence they ask for: a look uses too little data to be sure, and the
    candidates that it chooses are measured. A requirement on what a look does not show counts as met: milliseconds,
    memory, slices and metrics that it did not evaluate, or on which the dense model scores 0. If latency is an
    objective, the number of multiplications replaces it. Main metrics are shrunk towards what nearness to the dense
    model predicts.

    Args:
        dense: the look at the dense model.
        baseline: the measurement of the dense model. An absolute floor on quality becomes a share of its quality.
        metrics: the main metrics; the first is the one that `quality` means.
        requirements: of the study.
        objectives: names in `OBJECTIVES`.
        beside: for closer looks, the promises of the other looks.

    Attributes:
        allowed: the share of each main metric that may be lost, by its own floor or else by that of quality.
        turns: how often all looks had to be read anew, because predictions changed.
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
        self._read_at_turn = 0
        self.objectives = objectives
        self._metrics, self._dense_measured, self._baseline = metrics, dense.measurement(), baseline
        self._binding = _binding(dense, baseline)
        self._corrections: dict[str, dict[str, float]] = {}  # by key and metric: measured ratio - predicted ratio
        self._judged: dict[tuple[str, int], tuple[Look, Readings, float]] = {}  # the float is the largest miss
        shown = {name for name, reading in self.readings(dense).items() if reading.value > 0}
        self._items = [  # each with the form that is applied to looks, and whether a look shows its reading
            (item, _by_value(item, baseline, metrics[0]), item.reading in shown and item.reading != "latency_ms")
            for item in requirements.items
        ]
        default_floor = requirements.floor(metrics[0])
        self.allowed = {metric: 1.0 - self._floor_of(metric, default_floor) for metric in metrics}
        self.add(dense)

    def add(self, *looks: Look) -> None:
        """Adds looks; failed ones are ignored."""
        for look in looks:
            if not look.failed and (look.key, look.epochs) not in self._judged:
                self._learn(look)
                self._judge(look)

    @property
    def floor(self) -> float:
        """The floor on quality, relative to the dense model; an absolute floor is converted to a ratio."""
        return 1.0 - self.allowed[self._metrics[0]]

    @property
    def turns(self) -> int:
        return self._shrinkage.turns

    def corrected(self, measured: Mapping[str, Measurement], *, kin: Callable[[Look], str]) -> Promises:
        """A copy in which measured main metrics replace predicted ones, and the error of these corrects their kin.

        Kin are looks that differ only in their codes. A look errs about all of them by nearly the same, because it uses
        the same texts (`studies/closer_looks`).

        Args:
            measured: measurements by the key of a look.
            kin: names the group of kin that a look belongs to.
        """
        looks = [look for look in self.looks if look.done and look.number]
        errors = {look.key: self._error_of(look, measured[look.key]) for look in looks if look.key in measured}
        if not errors:
            return self
        by_kin: dict[str, list[dict[str, float]]] = defaultdict(list)
        for look in looks:
            if look.key in errors:
                by_kin[kin(look)].append(errors[look.key])
        corrected = copy.copy(self)
        corrected._corrections = {look.key: errors.get(look.key) or _mean(by_kin[kin(look)]) for look in looks}
        corrected._judged = {}
        for look in self.looks:
            corrected._judge(look)
        return corrected

    def _error_of(self, look: Look, measured: Measurement) -> dict[str, float]:
        """By how much a look was too pessimistic about each main metric, as a share of the dense model's value."""
        actual, predicted = readings(measured, self._baseline, metrics=self._metrics), self.readings(look)
        errors = {
            metric: actual[metric].ratio - predicted[metric].ratio
            for metric in self._metrics
            if metric in actual and metric in predicted
        }
        return {metric: share for metric, share in errors.items() if math.isfinite(share)}

    def _learn(self, look: Look) -> None:
        """Lets the shrinkage learn from a look."""
        if look.near and look.number:
            unshrunk = self._unshrunk(look)
            for metric, seen in self._seen(look, unshrunk).items():
                self._shrinkage.add(metric, look.epochs > 0, seen)

    def _seen(self, look: Look, unshrunk: Readings) -> dict[str, Seen]:
        """The loss of nearness and of the metric that a look shows, for each metric where both are finite."""
        losses = {
            metric: (1 - near, 1 - unshrunk[metric].ratio, look.errors.get(metric, 0.0))
            for metric, near in look.near.items()
            if metric in unshrunk
        }
        return {metric: seen for metric, seen in losses.items() if all(map(math.isfinite, seen))}

    def _judge(self, look: Look) -> None:
        """Reads a look by what was learnt so far, and keeps the result."""
        own = self._readings(look)
        missed = max(self._violations(own).values(), default=0.0)
        self._judged[look.key, look.epochs] = look, own, missed

    def _all(self) -> list[tuple[Look, Readings, float]]:
        """All looks, read by what was learnt so far."""
        if self._read_at_turn != self.turns:
            self._read_at_turn = self.turns
            for look in self.looks:
                self._judge(look)
        return list(self._judged.values())

    @property
    def looks(self) -> list[Look]:
        """All looks that were added, in order."""
        return [look for look, _, _ in self._judged.values()]

    def readings(self, look: Look) -> Readings:
        """The readings of a look, in the form of a measurement's."""
        if self._read_at_turn != self.turns:
            self._all()
        judged = self._judged.get((look.key, look.epochs))
        return judged[1] if judged and judged[0] is look else self._readings(look)

    def _unshrunk(self, look: Look) -> Readings:
        return readings(look.measurement(), self._dense_measured, metrics=self._metrics, binding=self._binding)

    def _readings(self, look: Look) -> Readings:
        own = self._unshrunk(look)
        del own["memory_bytes"]
        if look.near and look.number:
            for metric, seen in self._seen(look, own).items():
                self._set(own, metric, 1 - self._shrinkage.shrunk(metric, look.epochs > 0, seen))
        for metric, error in self._corrections.get(look.key, {}).items() if look.done else ():
            self._set(own, metric, own[metric].ratio + error)
        counted = look.products and self.dense.products  # a model need not count its multiplications
        own["latency_ms"] = Reading(look.products, look.products / self.dense.products if counted else 1.0)
        return own

    def _set(self, own: Readings, metric: str, ratio: float) -> None:
        """Replaces the reading of a main metric by a ratio to the dense model's value."""
        value = ratio * self._dense_measured.quality[metric][WHOLE]
        own[metric] = dataclasses.replace(own[metric], value=value, ratio=ratio)
        own["quality"] = own[self._metrics[0]]

    def gains(self, look: Look) -> list[float]:
        """For each objective in order: the ratio of quality, or log2 of how many times smaller or faster."""
        own = self.readings(look)
        ratios = {name: own[OBJECTIVES[name][0]].ratio for name in self.objectives}
        return [ratio if name == "quality" else -math.log2(ratio) for name, ratio in ratios.items()]

    def standing(self, look: Look) -> list[float]:
        """Its gains, see `autoprune.fronts.pareto.gains`, and the largest miss of a requirement; above 0 is missed.

        Gains are cut off at -`FAR`, and beyond the allowed loss a miss counts by its logarithm, so that what is far
        from the front does not decide how finely it is seen. Only requirements count that a look shows. A failed look
        stands as far away as any.
        """
        allowed = 1 - self.floor
        if look.failed:
            return [-FAR] * len(self.objectives) + [FAR * allowed]
        own = self.readings(look)
        misses = [
            applied.violation(own[item.reading])
            for item, applied, shown in self._items
            if shown and item.reading in own and own[item.reading].binds
        ]
        missed = max(-FAR * allowed, max(misses, default=-math.inf))
        if missed > allowed:
            missed = allowed * (1 + math.log(missed / allowed))
        return [*(max(-FAR, gain) for gain in gains(own, self.objectives, floor=self.floor)), missed]

    def lost(self, look: Look, *, than: Look) -> dict[str, float]:
        """How much lower each main metric is than in another look, as a share of the dense model's; if it is finite."""
        own, others = self.readings(look), self.readings(than)
        lower = {metric: others[metric].ratio - own[metric].ratio for metric in self._metrics if metric in own}
        return {metric: share for metric, share in lower.items() if math.isfinite(share)}

    def used(self, look: Look) -> float:
        """How much of the allowed loss a look used: 1 is all of it. Of several main metrics, the one that used most."""
        lost = self.lost(look, than=self.dense)
        return max((share / self.allowed[metric] for metric, share in lost.items()), default=0.0)

    def violations(self, look: Look) -> dict[str, float]:
        """How far a look misses each requirement, in a fixed order; above 0 is missed. 0 if the look can't show it."""
        return self._violations(self.readings(look))

    def far_missed(self, look: Look, *, by: float) -> list[str]:
        """The requirements that a look misses too far to recover: floors on the whole data, and the ceiling on size.

        Slices are too noisy in a look to reject a recipe for them.

        Args:
            look: to judge.
            by: the share of a limit by which it must be missed.
        """
        violations = self.violations(look)
        noisy = {item.key for item, _, _ in self._items if item.reading == "worst_slice" or "." in item.reading}
        return [item.text for item, _, _ in self._items if item.key not in noisy and violations[item.key] > by]

    def front(
        self,
        *,
        among: Collection[Look] | None = None,
        wanted: Callable[[Look], bool] = lambda look: True,
        slack: float = 0.0,
    ) -> list[Look]:
        """The feasible looks that no other feasible look beats, by their values; without the dense model's.

        Args:
            among: the looks to choose from, which were added before; None: all.
            wanted: whether a look may be chosen.
            slack: a requirement that is missed by at most this share counts as met.
        """
        all_judged = self._all()
        judged = all_judged if among is None else [self._judged[look.key, look.epochs] for look in among]
        feasible = [(look, own) for look, own, missed in judged if missed <= slack and wanted(look)]
        points = [[own[OBJECTIVES[name][0]].ratio for name in self.objectives] for _, own in feasible]
        best = nondominated(points, maximise=[OBJECTIVES[name][1] for name in self.objectives])
        return [feasible[at][0] for at in best if feasible[at][0].number]

    def thinned(self, looks: Sequence[Look], count: int, *, beside: Sequence[Look] = ()) -> list[Look]:
        """At most `count` looks that represent all, in the order of `autoprune.fronts.pareto.spread_out`.

        Args:
            looks: to choose from.
            count: the most to choose.
            beside: looks that were chosen before.
        """
        among = [*beside, *looks]
        given = range(len(beside))
        points = [self.readings(look) for look in among]
        kept = spread_out(points, self.objectives, count + len(beside), floor=self.floor, given=given)
        return [among[at] for at in kept if at not in given]

    def box(self, look: Look, *, left: float = 1.0) -> list[float]:
        """What a look covers in each objective: quality above its floor, log2 of times smaller or faster.

        The latter count from `SLOWEST` x the dense model. So, unlike in `hypervolume`, an objective without any gain
        does not hide gains in the others.

        Args:
            look: whose box it is.
            left: the share of the lost quality that counts as lost.
        """
        ratio = self.readings(look)["quality"].ratio
        spared = (1 - left) * max(0.0, 1 - ratio)
        gains = zip(self.objectives, self.gains(look), strict=True)
        return [ratio + spared - self.floor if name == "quality" else gain + math.log2(SLOWEST) for name, gain in gains]

    def nearest(self) -> list[Look]:
        """All looks except the dense model's, those that miss the requirements least first."""
        others = [(missed, look) for look, _, missed in self._all() if look.number]
        return [look for _, look in sorted(others, key=lambda pair: pair[0])]

    @property
    def hypervolume(self) -> float:
        """How much the front of looks covers; see `autoprune.fronts.pareto.hypervolume`."""
        return self.covered([look for look, _, missed in self._all() if missed <= 0])

    def covered(self, front: Collection[Look]) -> float:
        """How much some feasible looks cover."""
        return hypervolume([self.readings(look) for look in front], self.objectives, floor=self.floor)

    def beaten(self, look: Look, by: Collection[Look], *, hope: float = 0.0) -> bool:
        """Whether another look costs no more and is better by more than two standard errors of the difference.

        The costs are those among the objectives. The two errors, each of a paired comparison with the dense model, are
        treated as independent, which is cautious.

        Args:
            look: that may be beaten.
            by: the other looks.
            hope: the ratio of quality that the look may still gain.
        """
        metric = self._metrics[0]
        costs = [name for name, _ in (OBJECTIVES[name] for name in self.objectives) if name in COSTS]
        own = self.readings(look)
        for other in by:
            others = self.readings(other)
            doubt = 2 * math.hypot(look.errors.get(metric, 0.0), other.errors.get(metric, 0.0))
            as_cheap = all(others[name].ratio <= own[name].ratio for name in costs)
            if as_cheap and others["quality"].ratio - own["quality"].ratio - hope > doubt:
                return True
        return False

    def _floor_of(self, metric: str, default: float) -> float:
        """The highest relative floor on a main metric that is below 1; `default` if it has none."""
        names = (metric, "quality") if metric == self._metrics[0] else (metric,)
        floors = [applied for item, applied, _ in self._items if item.reading in names and not applied.ceiling]
        return max((item.limit for item in floors if item.relative and item.limit < 1), default=default)

    def _violations(self, own: Readings) -> dict[str, float]:
        return {
            item.key: applied.violation(own[item.reading]) if shown and item.reading in own else 0.0
            for item, applied, shown in self._items
        }


def _mean(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric, over the mappings that have it."""
    by_metric: dict[str, list[float]] = defaultdict(list)
    for mapping in shares:
        for metric, share in mapping.items():
            by_metric[metric].append(share)
    return {metric: sum(values) / len(values) for metric, values in by_metric.items()}


def _binding(dense: Look, baseline: Measurement) -> dict[str, list[str]]:
    """The slices that bind in a measurement, by metric, as far as a look has enough units of them.

    A look does not decide it: a slice that is nearly too faint may come out on either side of that limit.
    """
    return {
        metric: [
            name
            for name in binding_slices(baseline, metric)
            if dense.counts.get(metric, {}).get(name, 0) >= FEWEST_UNITS and dense.quality[metric].get(name, 0.0) > 0
        ]
        for metric in dense.quality
        if metric in baseline.quality
    }


def _by_value(item: Requirement, baseline: Measurement, metric: str) -> Requirement:
    """A requirement as it applies to looks: without confidence; an absolute floor becomes relative to the baseline."""
    unsure = dataclasses.replace(item, confidence=None)
    if item.ceiling or item.relative:
        return unsure
    values = {
        reading_name(name, part): value for name, parts in baseline.quality.items() for part, value in parts.items()
    }
    before = values.get(metric if item.reading == "quality" else item.reading, 0.0)
    return dataclasses.replace(unsure, limit=item.limit / before, relative=True) if before > 0 else unsure
