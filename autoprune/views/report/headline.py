"""The result in a sentence, and how sure it is."""

from __future__ import annotations

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.record.point import Point
from autoprune.views import phrases

NO_BREAK = "\u00a0"
"""A space at which no line ends."""


def headline(front: Front) -> str:
    """The result in one sentence."""
    pick = _pick(front)
    if pick is None and front.falls:
        return f"Nothing held when it was verified: all {len(front.falls)} of the search's front fell."
    if pick is None:
        return f"No candidate of {front.infeasible().candidates} meets every requirement."
    if not pick.number:
        return "Only the dense model itself meets every requirement."
    size = pick.known["size_bytes"].ratio
    where = "test data" if pick.verified else "validation data, not verified"
    changes = [f"{_change(pick.known[metric].ratio)} {metric}" for metric in front.record.metrics]
    told = [f"{_times(1 / size)} smaller at {', '.join(changes)} ({where})"]
    latency = pick.known.get("latency_ms") or pick.found.get("latency_ms")
    if latency is not None:
        told.append(f"{_times(latency.ratio)} the time to answer")
    if beyond := front.record.beyond(pick):
        told.append(f"but only {phrases.ratio(beyond[1])} of {beyond[0]}, which is too faint to bind")
    return f"{', '.join(told)}: pick #{pick.number}."


def certainty(front: Front) -> str:
    """How sure the headline's quality is, and under which limits the pick was made."""
    pick = _pick(front)
    interval = pick.known["quality"].interval if pick and pick.number else None
    held = ", ".join(item.text for item in front.requirements.items) or "no requirements"
    told = [f"Limits of this report: {held}; the pick is the best in {front.requirements.prefer}."]
    if interval:
        low, high = (_change(end) for end in interval)
        told.append(f"In 95 of 100 repeats quality is {low} to {high}.")
    if pick and pick.number and phrases.evidence(front, pick):
        told.append(phrases.evidence(front, pick))
    return " ".join(told)


def _pick(front: Front) -> Point | None:
    try:
        return front.pick()
    except AutopruneError:
        return None


def _times(ratio: float) -> str:
    return f"{ratio:.0f}×" if ratio >= 9.95 else f"{ratio:.2g}×"


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f}{NO_BREAK}%".replace("-", "−")
