"""The looks of a study, judged as candidates are: held to the requirements, and the best of them found."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence

from autoprune.fronts.pareto import hypervolume, nondominated, spread_out
from autoprune.fronts.requirements import OBJECTIVES, Requirements
from autoprune.measure.reading import Reading, readings
from autoprune.record.looks import Look

Readings = dict[str, Reading]


class Promises:
    """What looks promise, against the look at the dense model.

    What a look cannot tell (milliseconds, memory, slices that it did not ask for) no requirement is held against.
    Multiplications stand for latency where it is an objective.

    Args:
        dense: the look at the dense model.
        metrics: the main ones, first the one that quality means.
        requirements: of the study.
        objectives: names in `OBJECTIVES`.
    """

    def __init__(
        self,
        dense: Look,
        *,
        metrics: Sequence[str],
        requirements: Requirements,
        objectives: Sequence[str],
    ) -> None:
        self.dense = dense
        self.floor = requirements.floor(metrics[0])
        self.objectives = objectives
        self._metrics, self._requirements = metrics, requirements
        self._before = dense.measurement()
        self._found: dict[tuple[str, int], tuple[Look, Readings, bool]] = {}
        self.add(dense)

    def add(self, *looks: Look) -> None:
        """Takes looks in; of those that failed nothing is known."""
        for look in looks:
            if not look.failed and (look.key, look.epochs) not in self._found:
                found = self.readings(look)
                self._found[look.key, look.epochs] = look, found, self._holds(found)

    def readings(self, look: Look) -> Readings:
        """What a look read, as readings of a measurement are."""
        found = readings(look.measurement(), self._before, metrics=self._metrics)
        del found["memory_bytes"]
        counted = look.products and self.dense.products  # a model need not say how many there are
        found["latency_ms"] = Reading(look.products, look.products / self.dense.products if counted else 1.0)
        return found

    def gains(self, look: Look) -> list[float]:
        """By objective, in their order: the ratio of quality, and how many doublings smaller and faster."""
        found = self.readings(look)
        ratios = {name: found[OBJECTIVES[name][0]].ratio for name in self.objectives}
        return [ratio if name == "quality" else -math.log2(ratio) for name, ratio in ratios.items()]

    def violations(self, look: Look) -> dict[str, float]:
        """Of every requirement, in one order; above 0 is missed. What a look cannot tell is told as 0."""
        return self._violations(self.readings(look))

    def front(self, *, wanted: Callable[[Look], bool] = lambda look: True, slack: float = 0.0) -> list[Look]:
        """The feasible looks that no other feasible one beats, by their values; the dense model's is left out.

        Args:
            wanted: whether a look counts at all.
            slack: a requirement that is missed by no larger share counts as met.
        """
        held = [
            (look, found)
            for look, found, holds in self._found.values()
            if (holds or (slack and max(self._violations(found).values(), default=0.0) <= slack)) and wanted(look)
        ]
        points = [[found[OBJECTIVES[name][0]].ratio for name in self.objectives] for _, found in held]
        best = nondominated(points, maximise=[OBJECTIVES[name][1] for name in self.objectives])
        return [held[at][0] for at in best if held[at][0].number]

    def thinned(self, looks: Sequence[Look], count: int, *, beside: Sequence[Look] = ()) -> list[Look]:
        """At most `count` of them that stand for all, best quality first; see `autoprune.fronts.pareto.spread_out`.

        Args:
            beside: those that stand for some of them already.
        """
        among = [*beside, *looks]
        given = range(len(beside))
        found = [self.readings(look) for look in among]
        kept = spread_out(found, self.objectives, count + len(beside), floor=self.floor, given=given)
        return sorted((among[at] for at in kept if at not in given), key=lambda look: -look.value(self._metrics[0]))

    def nearest(self) -> list[Look]:
        """All but the dense model's, those that miss the requirements by least first."""
        others = [(look, found) for look, found, _ in self._found.values() if look.number]
        others.sort(key=lambda pair: max(self._violations(pair[1]).values(), default=0.0))
        return [look for look, _ in others]

    @property
    def hypervolume(self) -> float:
        """How much the front of looks covers; see `autoprune.fronts.pareto.hypervolume`."""
        held = [found for _, found, holds in self._found.values() if holds]
        return hypervolume(held, self.objectives, floor=self.floor)

    def beaten(self, look: Look, by: Collection[Look], *, hope: float = 0.0) -> bool:
        """Whether one of others is no larger, and better by more than two standard errors of the difference.

        Both are paired with the dense model; as if these two pairs had nothing in common, which is cautious.

        Args:
            hope: ratio of quality that the look may still gain.
        """
        metric = self._metrics[0]
        mine = self.readings(look)
        for other in by:
            theirs = self.readings(other)
            doubt = 2 * math.hypot(look.errors.get(metric, 0.0), other.errors.get(metric, 0.0))
            smaller = theirs["size_bytes"].ratio <= mine["size_bytes"].ratio
            if smaller and theirs["quality"].ratio - mine["quality"].ratio - hope > doubt:
                return True
        return False

    def _holds(self, found: Readings) -> bool:
        return all(violation <= 0 for violation in self._violations(found).values())

    def _violations(self, found: Readings) -> dict[str, float]:
        told = {}
        for item in self._requirements.items:
            reading = None if item.reading.startswith("latency_ms") else found.get(item.reading)
            # A look knows no error of slices: there the value must hold, whatever confidence is asked for.
            judged = item if reading and not math.isnan(reading.error) else dataclasses.replace(item, confidence=None)
            told[item.key] = 0.0 if reading is None else judged.violation(reading)
        return told
