"""A measurement beside the dense model's, a row a value: the table in a terminal and the card show the same ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from autoprune.measure.measurement import Measurement
from autoprune.measure.reading import Reading, reading_name, shipped


class Kind(Enum):
    """What a value is of."""

    QUALITY = "a metric, as a whole or on a slice"
    BYTES = "what the model takes, what is stored of it, or what lies in its folder"
    LATENCY = "a workload, in milliseconds"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A value beside the dense model's.

    Attributes:
        name: of the slice, of the reading in bytes, or of the workload.
        metric: of quality; empty of all else.
        value, before: this model's, and the dense model's; nan of a workload that was not timed where that was.
        reading: the one against the other; None where there is none.
    """

    kind: Kind
    name: str
    metric: str = ""
    value: float
    before: float
    reading: Reading | None


def measured_rows(measured: Measurement, before: Measurement, found: Mapping[str, Reading]) -> Iterator[Row]:
    """Every value that a measurement and the dense model's have both: quality by metric, then bytes, then latency.

    Args:
        found: the readings of the one against the other.
    """
    for metric, by_slice in measured.quality.items():
        for name, value in by_slice.items():
            was = before.quality[metric].get(name)
            if was is None or not before.units[metric].get(name, 1):  # an older version knew fewer; nobody is in it
                continue
            reading = found[reading_name(metric, name)]
            yield Row(kind=Kind.QUALITY, metric=metric, name=name, value=value, before=was, reading=reading)
    for name in ("size_bytes", "memory_bytes", "vector_bytes"):
        if name in found:
            value, was = getattr(measured, name), getattr(before, name)
            yield Row(kind=Kind.BYTES, name=name, value=value, before=was, reading=found[name])
    whole = shipped(measured, before)
    if whole is not None:
        was = before.folder_bytes or 0
        yield Row(kind=Kind.BYTES, name="folder_bytes", value=whole.value, before=was, reading=whole)
    if measured.history_bytes:
        value, was = measured.history_bytes, before.history_bytes or 0
        yield Row(kind=Kind.BYTES, name="history_bytes", value=value, before=was, reading=None)
    for name in measured.latency:
        timed = found.get(f"latency_ms.{name}")
        value, was = (timed.value, before.latency[name].median_ms) if timed else (math.nan, math.nan)
        yield Row(kind=Kind.LATENCY, name=name, value=value, before=was, reading=timed)
