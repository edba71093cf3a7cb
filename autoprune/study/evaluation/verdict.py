"""What can be said of a candidate before all of its answers are known."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autoprune.errors import AutopruneError
from autoprune.fronts.requirements import Requirements
from autoprune.measure.judge import Judged
from autoprune.measure.measurement import WHOLE, Measurement
from autoprune.measure.reading import readings
from autoprune.study.request import Rival

HOPELESS = 0.1
"""A candidate that misses a floor by a larger share is given up: floors can still be loosened by as much without
training anything."""

SURELY = 2.0
"""Standard errors by which a rival must be ahead."""


class Verdict:
    """Early verdicts under the requirements of a study.

    Args:
        requirements: of the study.
        metrics: the main ones, first the one that quality means.
    """

    def __init__(self, requirements: Requirements, *, metrics: Sequence[str]) -> None:
        self._metrics = metrics
        self._floors = tuple(item for item in requirements.items if not item.ceiling)

    def rejected(
        self,
        judged: Judged,
        baseline: Measurement,
        *,
        size_bytes: int,
        vector_bytes: int | None = None,
        rivals: Sequence[Rival] = (),
    ) -> str:
        """Why a candidate is given up, by its values on all rows alone; empty if it is not.

        Args:
            judged: what is known of it.
            baseline: what it is read against.
            size_bytes: of its artifact.
            vector_bytes: that are stored of each text, where users store any.
            rivals: feasible candidates.
        """
        able = [
            rival
            for rival in rivals
            if rival.size_bytes <= size_bytes and (rival.vector_bytes or 0) <= (vector_bytes or 0)
        ]
        return self._missed(judged, baseline) or self._beaten(judged, baseline, able)

    def _missed(self, judged: Judged, baseline: Measurement) -> str:
        """The floors that are missed by more than `HOPELESS`."""
        missed = []
        for item in self._floors:
            name = self._metrics[0] if item.reading == "quality" else item.reading
            if name not in judged.quality:
                continue
            # Of a bound too little is known yet: it is the value that must come near.
            value = judged.quality[name][WHOLE]
            if item.relative:
                before = baseline.quality[name][WHOLE]
                value = value / before if before > 0 else math.nan
            if not value >= (1 - HOPELESS) * item.limit:
                missed.append(item.text)
        return ", ".join(missed)

    def _beaten(self, judged: Judged, baseline: Measurement, rivals: Sequence[Rival]) -> str:
        """One of rivals that are no larger is better for sure."""
        metric = self._metrics[0]
        ratio = judged.quality[metric][WHOLE] / baseline.quality[metric][WHOLE]
        for rival in rivals:
            doubt = SURELY * math.hypot(judged.errors.get(metric, 0.0), rival.error)
            if rival.quality - ratio > doubt:
                return f"#{rival.number} is no larger, and better for sure"
        return ""

    def check_worth(self, baseline: Measurement) -> None:
        """Refuses a baseline of which nothing can be a share: ratios would say the opposite of what they seem to.

        Raises:
            AutopruneError: with the likely cause.
        """
        found = readings(baseline, baseline, metrics=self._metrics)
        for name in ("quality", *(item.reading for item in self._floors if item.relative)):
            reading = found.get(name)
            if reading is not None and reading.binds and math.isnan(reading.ratio):
                metric = self._metrics[0] if name == "quality" else name
                raise AutopruneError(
                    f"{metric}: the dense model has {reading.value:.4f} on validation data, and of what is not above 0 "
                    "no share can be kept. Do larger scores mean less alike there? Turn them round; otherwise judge by "
                    f"another task.metric, and leave this one out: requirements.{metric}=null."
                )
