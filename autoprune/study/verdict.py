"""What requirements say of a candidate before it is measured whole."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from autoprune.errors import AutopruneError
from autoprune.fronts.requirements import Requirements
from autoprune.measure.measurement import Measurement
from autoprune.measure.reading import readings

HOPELESS = 0.1
"""A candidate that misses a floor by a larger share is given up at a first look: floors can still be loosened by as
much without training anything."""


class Verdict:
    """Early verdicts under the requirements of a study.

    Args:
        requirements: of the study.
        metrics: the main ones, first the one that quality means.
    """

    def __init__(self, requirements: Requirements, *, metrics: Sequence[str]) -> None:
        self._metrics = metrics
        self._ceilings = Requirements(items=tuple(item for item in requirements.items if item.ceiling))
        self._floors = tuple(item for item in requirements.items if not item.ceiling)

    @property
    def has_ceilings(self) -> bool:
        """Whether size or latency alone can reject a candidate."""
        return bool(self._ceilings.items)

    @property
    def floored(self) -> Collection[str]:
        """The metrics that have a floor."""
        return {self._metrics[0] if item.reading == "quality" else item.reading for item in self._floors}

    def broken_ceilings(self, measured: Measurement, baseline: Measurement) -> str:
        """The ceilings that a measurement breaks; empty if none."""
        broken = self._ceilings.violations(readings(measured, baseline, metrics=self._metrics))
        return ", ".join(text for text, violation in broken.items() if violation > 0)

    def missed_by_far(self, measured: Measurement, baseline: Measurement) -> str:
        """The floors that a measurement misses by more than `HOPELESS`; empty if none."""
        found, missed = readings(measured, baseline, metrics=self._metrics), []
        for item in self._floors:
            reading = found.get(item.reading)
            # Of a bound nothing is known yet: it is the value that must come near.
            value = None if reading is None else reading.ratio if item.relative else reading.value
            if value is not None and not value >= (1 - HOPELESS) * item.limit:
                missed.append(item.text)
        return ", ".join(missed)

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
