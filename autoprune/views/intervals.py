"""Intervals of re-measurements in words. An interval wider than its value says nothing and is shown as `±?`."""

from __future__ import annotations

import math
from collections.abc import Iterable

from autoprune.measure.reading import Reading

VAGUE = "±?"
"""Stands for an interval so wide that it says nothing."""


def telling(reading: Reading) -> tuple[float, float] | None:
    """The interval of a re-measurement's ratio; None if it is unknown or says nothing."""
    return None if reading.vague else reading.interval


def plus_minus(reading: Reading) -> str:
    """Half of the interval, rounded up: `±0.012`; `±?` if it says nothing, empty if it is unknown."""
    interval = telling(reading)
    if interval is None:
        return VAGUE if reading.vague else ""
    return f"±{math.ceil((interval[1] - interval[0]) / 2 * 1000) / 1000:.3f}"


def ends(reading: Reading) -> str:
    """The interval by its ends: `0.912x to 1.043x`; `±?` if it says nothing, empty if it is unknown."""
    interval = telling(reading)
    if interval is None:
        return VAGUE if reading.vague else ""
    return " to ".join(f"{end:.4g}x" for end in interval)


def legend(shown: Iterable[Reading]) -> str:
    """What ± means for these readings."""
    text = "95 of 100 re-measurements lie within ±"
    vague = any(reading.vague for reading in shown)
    return f"{text}; {VAGUE} is so wide that it says nothing." if vague else f"{text}."
