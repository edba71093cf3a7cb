"""Early verdicts on a candidate, before all of its answers are known."""

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
"""A candidate that misses a floor by a larger share is given up; floors can be loosened by this much later without
training anything again."""

SURELY = 2.0
"""Standard errors by which a rival must be ahead to be better for sure."""


class Verdict:
    """Early verdicts under the requirements of a study.

    Args:
        requirements: of the study.
        metrics: the main metrics; the first is the one that `quality` means.
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
        """Why a candidate is given up, based only on its values over all rows; empty if it is not.

        Args:
            judged: the scores known so far.
            baseline: the measurement that ratios refer to.
            size_bytes: size of its artifact.
            vector_bytes: size of each text's stored vector; None if no vectors are stored.
            rivals: feasible candidates.
        """
        comparable = [
            rival
            for rival in rivals
            if rival.size_bytes <= size_bytes and (rival.vector_bytes or 0) <= (vector_bytes or 0)
        ]
        return self._missed(judged, baseline) or self._beaten(judged, baseline, comparable)

    def _missed(self, judged: Judged, baseline: Measurement) -> str:
        """The floors that are missed by more than `HOPELESS`."""
        missed = []
        for item in self._floors:
            name = self._metrics[0] if item.reading == "quality" else item.reading
            if name not in judged.quality:
                continue
            # Too little is known for a bound, so the value itself must come close.
            value = judged.quality[name][WHOLE]
            if item.relative:
                baseline_value = baseline.quality[name][WHOLE]
                value = value / baseline_value if baseline_value > 0 else math.nan
            if not value >= (1 - HOPELESS) * item.limit:
                missed.append(item.text)
        return ", ".join(missed)

    def _beaten(self, judged: Judged, baseline: Measurement, rivals: Sequence[Rival]) -> str:
        """Says which rival, no larger, is better for sure; empty if none is."""
        metric = self._metrics[0]
        ratio = judged.quality[metric][WHOLE] / baseline.quality[metric][WHOLE]
        for rival in rivals:
            doubt = SURELY * math.hypot(judged.errors.get(metric, 0.0), rival.error)
            if rival.quality - ratio > doubt:
                return f"#{rival.number} is no larger, and better for sure"
        return ""

    def check_worth(self, baseline: Measurement) -> None:
        """Refuses a baseline whose score is not above 0: ratios to it would mean the opposite of what they seem to.

        Raises:
            AutopruneError: a score is not above 0; the message gives the likely cause.
        """
        values = readings(baseline, baseline, metrics=self._metrics)
        for name in ("quality", *(item.reading for item in self._floors if item.relative)):
            reading = values.get(name)
            if reading is not None and reading.binds and math.isnan(reading.ratio):
                metric = self._metrics[0] if name == "quality" else name
                raise AutopruneError(
                    f"{metric}: the dense model has {reading.value:.4f} on validation data. Requirements are shares "
                    "of the dense model's score, so it must be above 0. If larger scores mean less similar in your "
                    f"data, flip their sign; otherwise choose another task.metric and set requirements.{metric}=null."
                )
