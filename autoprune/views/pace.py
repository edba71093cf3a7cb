"""How much smaller and how much faster, as people say it: over all workloads that were timed, not the best of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autoprune.measure.reading import Reading
from autoprune.record.point import Point
from autoprune.views.intervals import telling

TIMED = "latency_ms."
"""What the readings of workloads begin with."""

Words = tuple[str, str, str]
"""What a ratio below 1 is called, one above it, and one that cannot be told from it."""

UNKNOWN = "not known"
"""Said of a latency whose interval says nothing."""

SIZE: Words = ("smaller", "larger", "as large")
SPEED: Words = ("faster", "slower", "as fast")


def workloads(found: Mapping[str, Reading]) -> dict[str, Reading]:
    """The readings of latency by workload; the first is the one that `latency_ms` means."""
    return {name.removeprefix(TIMED): reading for name, reading in found.items() if name.startswith(TIMED)}


def timed(point: Point) -> dict[str, Reading]:
    """The latencies of a point to go by: one that was verified on another machine has only the search's."""
    return workloads(point.known) or workloads(point.found)


def factor(ratio: float, words: Words) -> str:
    """`5.0× faster` of a latency of 0.2x, `1.3× slower` of one of 1.3x, `as fast` within a twentieth."""
    return spread([ratio], words)


def spread(ratios: Iterable[float], words: Words) -> str:
    """From the worst to the best of some ratios: `3.1 to 5.0× faster`, `1.9× slower to as fast`.

    Args:
        ratios: above zero, of which less is better.
    """
    kept = sorted(ratios)
    (worst, called), (best, praised) = _told(kept[-1], words), _told(kept[0], words)
    if called != praised:
        return f"{worst}{called} to {best}{praised}"
    if worst == best:
        return f"{worst}{called}"
    low, high = (worst, best) if called == words[0] else (best, worst)
    return f"{low.removesuffix('× ')} to {high}{called}"


def smaller(point: Point) -> str:
    """How much smaller a point is than the baseline."""
    return factor(point.known["size_bytes"].ratio, SIZE)


def stored(point: Point) -> str:
    """How much smaller the vectors are that users store; empty where they are as they were, or nobody stores any."""
    reading = point.known.get("vector_bytes")
    return f"stored vectors {factor(reading.ratio, SIZE)}" if reading and reading.ratio != 1 else ""


def faster(point: Point) -> str:
    """How much faster, from the worst workload to the best, with each of them; empty where none was timed.

    Of a workload whose interval says nothing it is said that it is not known, and of all that they were timed under
    load where they were.
    """
    found = {name: reading for name, reading in timed(point).items() if reading.ratio > 0}
    if not found:
        return ""
    told = {name: UNKNOWN if one.vague else factor(one.ratio, SPEED) for name, one in found.items()}
    known = [reading.ratio for reading in found.values() if not reading.vague]
    overall = spread(known, SPEED) if known else f"latency {UNKNOWN}"
    load = ", timed under load" if point.busy else ""
    if len(found) == 1:
        return f"{overall} ({next(iter(found))}){load}"
    first, *others = (f"{name}: {words}" for name, words in told.items())
    judged = first.replace(":", ", which latency_ms means:", 1)
    return f"{overall} ({'; '.join([judged, *others])}){load}"


def surely_faster(point: Point) -> str:
    """The same over all that re-measurements find in 95 cases of 100; empty where an interval is missing or empty."""
    known = [telling(reading) for reading in timed(point).values()]
    ends = [end for interval in known if interval for end in interval]
    return spread(ends, SPEED) if ends and all(known) and min(ends) > 0 else ""


def _told(ratio: float, words: Words) -> tuple[str, str]:
    times = max(ratio, 1 / ratio)
    number = f"{times:.0f}" if times >= 9.95 else f"{times:.1f}"
    return ("", words[2]) if number == "1.0" else (f"{number}× ", words[ratio > 1])
