"""Readings: the values of a measurement with their ratios to the baseline and their errors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from autoprune.measure.measurement import SEARCH, WHOLE, Latency, Measurement
from autoprune.measure.student import student_quantile

FEWEST_UNITS = 100
"""A slice of fewer users (pairs, queries) is shown but does not bind."""

FAINTEST = 0.2
"""Nor does a slice on which the baseline's value is below this share of its overall value: there is too little to lose.
"""

REPEATED = 0.95
"""The share of second measurements that a published interval contains."""

SURE = 0.95
"""The one-sided confidence of the bounds by which candidates are compared, and which are shown next to values."""

CAUTION = 1.4
"""Factor on the spread of a second measurement of latency: five processes in a row tell little about how busy the
machine is an hour later, and now and then one is far off. Determined and checked by `studies/calibration`."""

FEWEST_ROUNDS = 3
"""The fewest processes that give an interval of latency. Two leave one degree of freedom, where Student's t is 12.7: if
they differ by half, as on a busy machine, the interval would reach into the thousands."""


@dataclass(frozen=True)
class Reading:
    """One measured value, compared with the baseline's.

    Attributes:
        value: in its own unit.
        ratio: to the baseline's value; nan if that is not above zero.
        error: standard error of the ratio; 0 if the value is counted, nan if unknown.
        repeat: standard deviation of a second measurement's ratio around this one: on as many other users, or in
            another process. nan if unknown.
        freedom: degrees of freedom of both.
        binds: whether requirements apply to it. Slices with few units or little to lose, and asides, are only shown.
    """

    value: float
    ratio: float
    error: float = math.nan
    repeat: float = math.nan
    freedom: float = math.inf
    binds: bool = True

    def bound(self, confidence: float, *, upper: bool) -> float:
        """The bound that the true ratio is below (`upper`) or above, with one-sided confidence; nan if unknown."""
        if self.error == 0:
            return self.ratio
        return self.ratio + (1 if upper else -1) * student_quantile(confidence, self.freedom) * self.error

    @property
    def sure(self) -> bool:
        """Whether its bound is reliable: the value is counted, or units or enough processes show its error."""
        return self.error == 0 or self.repeat > 0

    def sure_bound(self, *, upper: bool) -> float:
        """The bound of the true ratio with 95 % confidence (one-sided); nan if not `sure`."""
        return self.bound(SURE, upper=upper) if self.sure else math.nan

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval that contains 95 of 100 second measurements' ratios; None if unknown."""
        if not self.repeat > 0 or math.isnan(self.ratio):
            return None
        half = student_quantile((1 + REPEATED) / 2, self.freedom) * self.repeat
        if math.isfinite(self.freedom):  # from rounds of timings, which err by factors
            factor = math.exp(min(half / self.ratio, 700.0))  # beyond that a float overflows
            return self.ratio / factor, self.ratio * factor
        return max(0.0, self.ratio - half), self.ratio + half

    @property
    def vague(self) -> bool:
        """Whether the interval is too wide to say anything: half of it is more than the ratio itself."""
        return self.interval is not None and self.interval[1] - self.interval[0] > 2 * self.ratio


def readings(
    measured: Measurement,
    baseline: Measurement,
    *,
    metrics: Sequence[str],
    binding: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Reading]:
    """Every reading that a requirement or an objective can name.

    `quality` is the first of the main metrics. `METRIC` and `METRIC.SLICE` are values of metrics. `worst_slice` is the
    lowest ratio to the baseline among the binding slices of main metrics. `size_bytes`, `memory_bytes`, `vector_bytes`
    (if users store vectors), `latency_ms` (the first workload) and `latency_ms.WORKLOAD` are costs.

    Values that were not measured are left out, and so are latencies of another machine than the baseline's. The ratio
    of a latency is the paired one. Its value is that ratio times the baseline's median, so that candidates that were
    timed at different hours can be compared.

    Args:
        measured: the measurement to read.
        baseline: the measurement of the baseline.
        metrics: the main metrics.
        binding: the slices that bind, by metric; None: those that bind by the baseline's values.
    """
    by_name: dict[str, Reading] = {}
    if binding is None:
        binding = {metric: binding_slices(baseline, metric) for metric in baseline.quality}
    for name, by_slice in measured.quality.items():
        binds = {WHOLE, *binding.get(name, ())}
        for slice_name, value in by_slice.items():
            before = baseline.quality[name].get(slice_name)
            if before is None:  # a version with fewer slices measured the baseline
                continue
            label = reading_name(name, slice_name)
            ratio = value / before if before > 0 else math.nan
            error = measured.errors.get(label)
            by_name[label] = scored_reading(value, ratio, error, binds=slice_name in binds)
    if metrics[0] in measured.quality:
        by_name["quality"] = by_name[metrics[0]]
        names = [reading_name(metric, name) for metric in metrics for name in binding.get(metric, ())]
        ratios = [by_name[name].ratio for name in names if name in by_name]
        if ratios or not names:
            # nan is the worst, so that no other slice hides it.
            least = min(ratios, key=lambda ratio: -math.inf if math.isnan(ratio) else ratio, default=math.nan)
            worst = least if ratios else by_name["quality"].ratio
            by_name["worst_slice"] = scored_reading(worst, worst, measured.errors.get("worst_slice"))
    for name, count, before in (
        ("size_bytes", measured.size_bytes, baseline.size_bytes),
        ("memory_bytes", measured.memory_bytes, baseline.memory_bytes),
        ("vector_bytes", measured.vector_bytes, baseline.vector_bytes),
    ):
        if count is not None and before is not None:
            by_name[name] = Reading(count, count / before, error=0.0)
    timed = measured.latency if measured.machine == baseline.machine else {}
    for number, (name, latency) in enumerate(timed.items()):
        # The ratio is paired, so it is free of the machine's drift; milliseconds are as of the baseline's timing.
        reading = timed_reading(latency, baseline_ms=baseline.latency[name].median_ms)
        by_name[f"latency_ms.{name}"] = reading
        if number == 0:
            by_name["latency_ms"] = reading
    return by_name


def shipped(measured: Measurement, baseline: Measurement) -> Reading | None:
    """The bytes of the whole folder, compared with the baseline's; None if unknown."""
    if measured.folder_bytes is None or baseline.folder_bytes is None:
        return None
    return Reading(measured.folder_bytes, measured.folder_bytes / baseline.folder_bytes, error=0.0)


def reading_names(
    metric: str, metrics: Iterable[str], slices: Iterable[str], workloads: Iterable[str], *, stored: bool = False
) -> list[str]:
    """The names of all readings of a task, before anything is measured.

    Args:
        metric: the metric that `quality` means.
        metrics: all metrics, including that one.
        slices: the slices and perturbations, without the whole.
        workloads: whose latency is timed.
        stored: whether users store the vectors of the task's models.
    """
    values = dict.fromkeys([WHOLE, *slices], 1.0)
    quality = dict.fromkeys(metrics, values)
    timed = Latency(median_ms=1.0, p95_ms=1.0, ratio=1.0, ratio_low=1.0, ratio_high=1.0, pairs=1)
    blank = Measurement(
        split=None,
        purpose=SEARCH,
        machine="",
        quality=quality,
        units=dict.fromkeys(quality, dict.fromkeys(values, FEWEST_UNITS)),
        size_bytes=1,
        memory_bytes=1,
        vector_bytes=1 if stored else None,
        structure="",
        latency=dict.fromkeys(workloads, timed),
    )
    return list(readings(blank, blank, metrics=[metric]))


def reading_name(metric: str, slice_name: str) -> str:
    """The name of a metric on a slice in requirements."""
    return metric if slice_name == WHOLE else f"{metric}.{slice_name}"


def scored_reading(value: float, ratio: float, error: float | None, *, binds: bool = True) -> Reading:
    """The reading of a score, with the standard error of its ratio if it is known."""
    if error is None:
        return Reading(value, ratio, binds=binds)
    # As many other units have the same error, so the difference of two measurements has twice the variance.
    return Reading(value, ratio, error=error, repeat=math.sqrt(2) * error, binds=binds)


def timed_reading(latency: Latency, *, baseline_ms: float) -> Reading:
    """The reading of a latency."""
    count = len(latency.rounds)
    if count < 2:
        within = (latency.ratio_high - latency.ratio_low) / 2 / student_quantile(0.975, math.inf)
        return Reading(baseline_ms * latency.ratio, latency.ratio, error=within)
    spread = latency.ratio * statistics.stdev([math.log(ratio) for ratio in latency.rounds])
    return Reading(
        baseline_ms * latency.ratio,
        latency.ratio,
        error=spread / math.sqrt(count),
        repeat=CAUTION * spread * math.sqrt(1 + 1 / count) if count >= FEWEST_ROUNDS else math.nan,
        freedom=count - 1,
    )


def binding_slices(baseline: Measurement, metric: str) -> list[str]:
    """The slices of a metric that bind: with enough units, and enough to lose."""
    return binding(baseline.quality[metric], baseline.units[metric], asides=baseline.asides)


def binding(values: Mapping[str, float], units: Mapping[str, int], *, asides: Collection[str] = ()) -> list[str]:
    """The slices that bind, given the baseline's values and units of one metric; an aside never binds."""
    return [
        name
        for name, value in values.items()
        if name not in (WHOLE, *asides)
        and units[name] >= FEWEST_UNITS
        and value > 0
        and value >= FAINTEST * values[WHOLE]
    ]
