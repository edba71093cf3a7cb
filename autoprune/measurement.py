"""What an artifact scored: plain data, and how it is read against the baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

WHOLE = "all"
"""The slice that every row belongs to."""

FEWEST_UNITS = 100
"""A slice of fewer users (pairs, queries) is shown but does not bind."""

FAINTEST = 0.2
"""Nor does a slice whose baseline is below this share of the overall value: there is too little to lose."""

SEARCH, VERIFY = "search", "verify"
"""Why a measurement was taken: for the search to steer by, or to judge what the search found."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds of one workload, timed in turns with the baseline.

    Attributes:
        median_ms, p95_ms: of single requests.
        ratio: median over pairs of (this / baseline); below 1 is faster.
        ratio_low, ratio_high: 95 % interval of that median.
        pairs: how many pairs were timed.
    """

    median_ms: float
    p95_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one look at an artifact gave.

    Attributes:
        split: the data quality was measured on: `validation` or `test`; None where nothing was scored.
        purpose: why it was taken: `search` or `verify`.
        machine: fingerprint of the machine; milliseconds of different machines are never compared.
        quality: by metric, then by slice (`all` is every row). Empty for a candidate rejected before training.
        units: how many users (pairs, queries) each slice has.
        size_bytes: of the artifact's `model/` on disk.
        memory_bytes: that the loaded model holds.
        structure: what latency depends on (shapes and encodings); equal structures share one timing a machine.
        latency: by workload; the first is the one that `latency_ms` means.
    """

    split: str | None
    purpose: str
    machine: str
    quality: dict[str, dict[str, float]]
    units: dict[str, int]
    size_bytes: int
    memory_bytes: int
    structure: str
    latency: dict[str, Latency]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Measurement:
        """The inverse of `to_json`."""
        latency = {name: Latency(**entry) for name, entry in content["latency"].items()}
        return Measurement(**{**content, "latency": latency})


@dataclass(frozen=True)
class Reading:
    """One measured value and its ratio to the baseline's (nan where the baseline is zero)."""

    value: float
    ratio: float


def readings(measured: Measurement, baseline: Measurement, *, metric: str) -> dict[str, Reading]:
    """Every value that a requirement or an objective can name.

    `quality` is `metric`; `METRIC` and `METRIC.SLICE` are values of metrics; `worst_slice` is the lowest ratio to
    the baseline among the slices that bind; `size_bytes`, `memory_bytes`, `latency_ms` (the first workload) and
    `latency_ms.WORKLOAD` are costs. The ratio of a latency is the paired one, and its value is that ratio times the
    baseline's median, so that candidates timed at different hours can be compared.
    """
    found: dict[str, Reading] = {}
    for name, by_slice in measured.quality.items():
        for part, value in by_slice.items():
            before = baseline.quality[name][part]
            label = name if part == WHOLE else f"{name}.{part}"
            found[label] = Reading(value, value / before if before else float("nan"))
    if measured.quality:
        found["quality"] = found[metric]
        ratios = [found[f"{metric}.{part}"].ratio for part in binding_slices(baseline, metric)]
        found["worst_slice"] = Reading(*[float(np.min(ratios)) if ratios else found[metric].ratio] * 2)
    found["size_bytes"] = Reading(measured.size_bytes, measured.size_bytes / baseline.size_bytes)
    found["memory_bytes"] = Reading(measured.memory_bytes, measured.memory_bytes / baseline.memory_bytes)
    for number, (name, latency) in enumerate(measured.latency.items()):
        # The ratio is paired and so free of the machine's drift; its milliseconds are those of the baseline's day.
        reading = Reading(baseline.latency[name].median_ms * latency.ratio, latency.ratio)
        found[f"latency_ms.{name}"] = reading
        if number == 0:
            found["latency_ms"] = reading
    return found


def binding_slices(baseline: Measurement, metric: str) -> list[str]:
    """The slices with enough units, and enough of a baseline, to hold a candidate to."""
    values = baseline.quality[metric]
    return [
        part
        for part, value in values.items()
        if part != WHOLE and baseline.units[part] >= FEWEST_UNITS and value >= FAINTEST * values[WHOLE]
    ]
