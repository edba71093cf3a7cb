"""Intervals of re-measurements as people read them; one that is wider than the value it stands beside says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable

from autoprune.measure.reading import Reading

VAGUE = "±?"
"""Stands for an interval that says nothing."""


def telling(reading: Reading) -> tuple[float, float] | None:
    """The interval of a re-measurement's ratio; None where nobody knows it, or where it says nothing."""
    return None if reading.vague else reading.interval


def plus_minus(reading: Reading) -> str:
    """Half of the interval, rounded up: `±0.012`; `±?` of one that says nothing, empty where nobody knows it."""
    interval = telling(reading)
    if interval is None:
        return VAGUE if reading.vague else ""
    return f"±{math.ceil((interval[1] - interval[0]) / 2 * 1000) / 1000:.3f}"


def ends(reading: Reading) -> str:
    """The interval by its ends: `0.912x to 1.043x`; `±?` of one that says nothing, empty where nobody knows it."""
    interval = telling(reading)
    if interval is None:
        return VAGUE if reading.vague else ""
    return " to ".join(f"{end:.4g}x" for end in interval)


def legend(shown: Iterable[Reading]) -> str:
    """What ± means beside these readings."""
    said = "± is where 95 of 100 re-measurements lie"
    vague = any(reading.vague for reading in shown)
    return f"{said}; {VAGUE} is so wide that it says nothing." if vague else f"{said}."
