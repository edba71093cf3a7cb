"""How much smaller and faster a point is, in words, over all timed workloads, not only the best of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autoprune.measure.reading import Reading
from autoprune.record.point import Point
from autoprune.views.intervals import telling

TIMED = "latency_ms."
"""The prefix of the readings of workloads."""

Words = tuple[str, str, str]
"""The words for a ratio below 1, above 1, and about 1."""

UNKNOWN = "not known"
"""Stands for a latency whose interval says nothing."""

FEW = 2
"""So many workloads are told one by one, without a range over all of them."""

SIZE: Words = ("smaller", "larger", "as large")
SPEED: Words = ("faster", "slower", "as fast")


def workloads(found: Mapping[str, Reading]) -> dict[str, Reading]:
    """The readings of latency by workload; `latency_ms` means the first."""
    return {name.removeprefix(TIMED): reading for name, reading in found.items() if name.startswith(TIMED)}


def timed(point: Point) -> dict[str, Reading]:
    """The verified latencies of a point; the search's if it was verified on another machine."""
    return workloads(point.known) or workloads(point.found)


def factor(ratio: float, words: Words) -> str:
    """`5.0× faster` for a latency of 0.2x, `1.3× slower` for 1.3x, `as fast` within 5 %."""
    return spread([ratio], words)


def spread(ratios: Iterable[float], words: Words) -> str:
    """From the worst to the best of some ratios: `3.1 to 5.0× faster`, `1.9× slower to as fast`.

    Args:
        ratios: above zero; less is better.
    """
    ordered = sorted(ratios)
    (worst, worst_word), (best, best_word) = _in_words(ordered[-1], words), _in_words(ordered[0], words)
    if worst_word != best_word:
        return f"{worst}{worst_word} to {best}{best_word}"
    if worst == best:
        return f"{worst}{worst_word}"
    low, high = (worst, best) if worst_word == words[0] else (best, worst)
    return f"{low.removesuffix('× ')} to {high}{worst_word}"


def smaller(point: Point) -> str:
    """How much smaller a point is than the baseline."""
    return factor(point.known["size_bytes"].ratio, SIZE)


def stored(point: Point) -> str:
    """How much smaller stored vectors are; empty if they are unchanged, or the task stores none."""
    reading = point.known.get("vector_bytes")
    return f"stored vectors {factor(reading.ratio, SIZE)}" if reading and reading.ratio != 1 else ""


def faster(point: Point) -> str:
    """How much faster a point is in each workload; of more than two, first from the worst to the best.

    Empty if none was timed. A workload whose interval says nothing is `not known`. A note follows if the point was
    timed under load.
    """
    readings = {name: reading for name, reading in timed(point).items() if reading.ratio > 0}
    load = ", timed under load" if point.busy else ""
    if len(readings) <= FEW:
        each = [f"{_pace(reading, f'latency {UNKNOWN}')} ({name})" for name, reading in readings.items()]
        return ", ".join(each) + load * bool(each)
    known = [reading.ratio for reading in readings.values() if not reading.vague]
    overall = spread(known, SPEED) if known else f"latency {UNKNOWN}"
    each = [f"{name}: {_pace(reading, UNKNOWN)}" for name, reading in readings.items()]
    return f"{overall} ({'; '.join(each)}){load}"


def _pace(reading: Reading, unknown: str) -> str:
    return unknown if reading.vague else factor(reading.ratio, SPEED)


def surely_faster(point: Point) -> str:
    """`faster` in 95 of 100 re-measurements: the range of each of two workloads, or of all if there are more.

    Empty if an interval is unknown or says nothing.
    """
    known = {name: interval for name, reading in timed(point).items() if (interval := telling(reading))}
    ends = [end for interval in known.values() for end in interval]
    if not ends or len(known) < len(timed(point)) or min(ends) <= 0:
        return ""
    if len(known) == 1 or len(known) > FEW:
        return spread(ends, SPEED)
    return ", ".join(f"{spread(interval, SPEED)} ({name})" for name, interval in known.items())


def _in_words(ratio: float, words: Words) -> tuple[str, str]:
    times = max(ratio, 1 / ratio)
    number = f"{times:.0f}" if times >= 9.95 else f"{times:.1f}"
    return ("", words[2]) if number == "1.0" else (f"{number}× ", words[ratio > 1])
