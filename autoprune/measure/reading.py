"""A measurement read against the baseline's: values, ratios, and how sure they are."""

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
"""Nor does a slice whose baseline is below this share of the overall value: there is too little to lose."""

REPEATED = 0.95
"""Share of the re-measurements that a published interval is made for."""

SURE = 0.95
"""One-sided confidence of the bounds that candidates are compared by, and that are shown beside a value."""

CAUTION = 1.4
"""Factor on the spread of a re-measured latency: five processes in a row say little of how busy a machine is an hour
later, and now and then one is far off. Found, and checked with it, by `studies/calibration`."""

FEWEST_ROUNDS = 3
"""Processes that an interval of latency takes. The spread of two has one degree of freedom, whose Student's t is 12.7:
two that differ by a half of one another, as on a busy machine, would give an interval of thousands."""


@dataclass(frozen=True)
class Reading:
    """One measured value against the baseline's.

    Attributes:
        value: in its own unit.
        ratio: to the baseline's; nan where that is not above zero.
        error: standard error of the ratio; 0 for what is counted, nan where nobody knows.
        repeat: standard deviation of what a re-measurement would find around this ratio: on as many other users, or
            in another process. nan where nobody knows.
        freedom: degrees of freedom of both.
        binds: whether a requirement can be put on it; a slice of few units, or with little to lose, is shown only, and
            so is an aside.
    """

    value: float
    ratio: float
    error: float = math.nan
    repeat: float = math.nan
    freedom: float = math.inf
    binds: bool = True

    def bound(self, confidence: float, *, upper: bool) -> float:
        """The ratio that the true one stays below (above), with one-sided confidence; nan where nobody knows."""
        if self.error == 0:
            return self.ratio
        return self.ratio + (1 if upper else -1) * student_quantile(confidence, self.freedom) * self.error

    @property
    def sure(self) -> bool:
        """Whether its bound can be relied on: what is counted, or known beyond one process that timed."""
        return self.error == 0 or self.repeat > 0

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ratios that a re-measurement finds in 95 cases of 100; None where nobody knows."""
        if not self.repeat > 0 or math.isnan(self.ratio):
            return None
        half = student_quantile((1 + REPEATED) / 2, self.freedom) * self.repeat
        if math.isfinite(self.freedom):  # over rounds of timings, which err by factors
            factor = math.exp(min(half / self.ratio, 700.0))  # beyond that there is no such float
            return self.ratio / factor, self.ratio * factor
        return max(0.0, self.ratio - half), self.ratio + half

    @property
    def vague(self) -> bool:
        """Whether the interval says nothing: half of it is more than the ratio itself."""
        return self.interval is not None and self.interval[1] - self.interval[0] > 2 * self.ratio


def readings(measured: Measurement, baseline: Measurement, *, metrics: Sequence[str]) -> dict[str, Reading]:
    """Every value that a requirement or an objective can name.

    `quality` is the first of `metrics`, the main ones; `METRIC` and `METRIC.SLICE` are values of metrics; `worst_slice`
    is the lowest ratio to the baseline among the slices of main metrics that bind; `size_bytes`, `memory_bytes`,
    `vector_bytes` (where users store vectors), `latency_ms` (the first workload) and `latency_ms.WORKLOAD` are costs.
    What was not measured is not there. The ratio of a latency is the paired one, and its value is that ratio times the
    baseline's median, so that candidates timed at different hours can be compared; of another machine than the
    baseline's there is none.
    """
    found: dict[str, Reading] = {}
    for name, by_slice in measured.quality.items():
        binds = {WHOLE, *binding_slices(baseline, name)}
        for slice_name, value in by_slice.items():
            before = baseline.quality[name].get(slice_name)
            if before is None:  # measured by a version that knew fewer slices
                continue
            label = reading_name(name, slice_name)
            ratio = value / before if before > 0 else math.nan
            error = measured.errors.get(label)
            found[label] = scored_reading(value, ratio, error, binds=slice_name in binds)
    if metrics[0] in measured.quality:
        found["quality"] = found[metrics[0]]
        bind = binding_readings(baseline, metrics)
        ratios = [found[name].ratio for name in bind if name in found]
        if ratios or not bind:
            # One without a value is the worst: it hides behind no other.
            least = min(ratios, key=lambda one: -math.inf if math.isnan(one) else one, default=math.nan)
            worst = least if ratios else found["quality"].ratio
            found["worst_slice"] = scored_reading(worst, worst, measured.errors.get("worst_slice"))
    for name, count, before in (
        ("size_bytes", measured.size_bytes, baseline.size_bytes),
        ("memory_bytes", measured.memory_bytes, baseline.memory_bytes),
        ("vector_bytes", measured.vector_bytes, baseline.vector_bytes),
    ):
        if count is not None and before is not None:
            found[name] = Reading(count, count / before, error=0.0)
    timed = measured.latency if measured.machine == baseline.machine else {}
    for number, (name, latency) in enumerate(timed.items()):
        # The ratio is paired and so free of the machine's drift; its milliseconds are those of the baseline's day.
        reading = timed_reading(latency, baseline_ms=baseline.latency[name].median_ms)
        found[f"latency_ms.{name}"] = reading
        if number == 0:
            found["latency_ms"] = reading
    return found


def shipped(measured: Measurement, baseline: Measurement) -> Reading | None:
    """The bytes of the whole folder against the baseline's; None where nobody wrote them down."""
    if measured.folder_bytes is None or baseline.folder_bytes is None:
        return None
    return Reading(measured.folder_bytes, measured.folder_bytes / baseline.folder_bytes, error=0.0)


def reading_names(
    metric: str, metrics: Iterable[str], slices: Iterable[str], workloads: Iterable[str], *, stored: bool = False
) -> list[str]:
    """The names that `readings` gives what a task measures, before anything is measured.

    Args:
        metric: that `quality` means.
        metrics: all of them, that one included.
        slices: and perturbations, without the whole.
        workloads: of which latency is timed.
        stored: whether users store what the task's models give.
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
    """What a requirement calls a metric on a slice."""
    return metric if slice_name == WHOLE else f"{metric}.{slice_name}"


def scored_reading(value: float, ratio: float, error: float | None, *, binds: bool = True) -> Reading:
    """A quality beside the baseline's, with the standard error of the ratio if it is known."""
    if error is None:
        return Reading(value, ratio, binds=binds)
    # As many other units err as much as these did: the difference of two such measurements has twice the variance.
    return Reading(value, ratio, error=error, repeat=math.sqrt(2) * error, binds=binds)


def timed_reading(latency: Latency, *, baseline_ms: float) -> Reading:
    """A latency beside the baseline's median."""
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
    """The slices with enough units, and enough of a baseline, to hold a candidate to."""
    return binding(baseline.quality[metric], baseline.units[metric], asides=baseline.asides)


def binding_readings(baseline: Measurement, metrics: Sequence[str]) -> list[str]:
    """The readings that `worst_slice` is the lowest of: the slices that bind, of every main metric."""
    return [
        reading_name(metric, one)
        for metric in metrics
        if metric in baseline.quality
        for one in binding_slices(baseline, metric)
    ]


def binding(values: Mapping[str, float], units: Mapping[str, int], *, asides: Collection[str] = ()) -> list[str]:
    """Of the slices of one metric of the baseline, those that bind; an aside never does."""
    return [
        name
        for name, value in values.items()
        if name not in (WHOLE, *asides)
        and units[name] >= FEWEST_UNITS
        and value > 0
        and value >= FAINTEST * values[WHOLE]
    ]
