"""The values of a measurement next to the dense model's, a row each, for the table in a terminal and the card."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from autoprune.measure.measurement import Measurement
from autoprune.measure.reading import Reading, reading_name, shipped


class Kind(Enum):
    """The kind of a value."""

    QUALITY = "a metric, as a whole or on a slice"
    BYTES = "the size of the model, of a stored vector, or of the folder"
    LATENCY = "a workload, in milliseconds"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A value next to the dense model's.

    Attributes:
        name: of the slice, of the size, or of the workload.
        metric: the metric of quality; empty for other kinds.
        value, before: this model's value, and the dense model's; nan if two machines timed a workload.
        reading: the value relative to the dense model's; None if there is none.
    """

    kind: Kind
    name: str
    metric: str = ""
    value: float
    before: float
    reading: Reading | None


def measured_rows(measured: Measurement, before: Measurement, readings: Mapping[str, Reading]) -> Iterator[Row]:
    """Every value that both a measurement and the dense model's have: quality by metric, then sizes, then latency.

    Args:
        readings: the readings of the measurement relative to the dense model's.
    """
    for metric, by_slice in measured.quality.items():
        for name, value in by_slice.items():
            was = before.quality[metric].get(name)
            if was is None or not before.units[metric].get(name, 1):  # unknown to an older version, or empty
                continue
            reading = readings[reading_name(metric, name)]
            yield Row(kind=Kind.QUALITY, metric=metric, name=name, value=value, before=was, reading=reading)
    for name in ("size_bytes", "memory_bytes", "vector_bytes"):
        if name in readings:
            value, was = getattr(measured, name), getattr(before, name)
            yield Row(kind=Kind.BYTES, name=name, value=value, before=was, reading=readings[name])
    whole = shipped(measured, before)
    if whole is not None:
        was = before.folder_bytes or 0
        yield Row(kind=Kind.BYTES, name="folder_bytes", value=whole.value, before=was, reading=whole)
    if measured.history_bytes:
        value, was = measured.history_bytes, before.history_bytes or 0
        yield Row(kind=Kind.BYTES, name="history_bytes", value=value, before=was, reading=None)
    for name in measured.latency:
        timed = readings.get(f"latency_ms.{name}")
        value, was = (timed.value, before.latency[name].median_ms) if timed else (math.nan, math.nan)
        yield Row(kind=Kind.LATENCY, name=name, value=value, before=was, reading=timed)
