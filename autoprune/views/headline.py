"""The result of a study in a sentence, and how certain it is."""

from __future__ import annotations

from autoprune.errors import AutopruneError
from autoprune.fronts.fall import all_fell
from autoprune.fronts.front import NOTHING_TRIED, Front
from autoprune.record.point import Point
from autoprune.views import phrases
from autoprune.views.intervals import telling
from autoprune.views.pace import faster, smaller, stored, surely_faster, timed


def headline(front: Front) -> str:
    """The result in one sentence: the pick, how much smaller and faster it is, and what that costs."""
    pick = _pick(front)
    if pick is None and front.falls:
        return all_fell(front.falls)
    if pick is None:
        return f"No candidate of {front.infeasible().candidates} meets every requirement."
    if not front.record.points[1:]:
        return NOTHING_TRIED
    if not pick.number:
        return "Only the dense model itself meets every requirement."
    where = "test data" if pick.verified else "validation data, not verified"
    parts = [f"{smaller(pick)} at {_kept(front, pick)} ({where})", stored(pick), faster(pick)]
    if beyond := front.record.beyond(pick):
        parts.append(f"but only {phrases.ratio(beyond[1])} of {beyond[0]}, which is too faint to bind")
    return f"{', '.join(part for part in parts if part)}: pick #{pick.number}."


def certainty(front: Front) -> str:
    """How certain the headline is, the machine that timed it, and the limits under which the pick was made."""
    pick = _pick(front)
    prefer = front.requirements.prefer
    sentences = [f"Limits of this report: {phrases.required(front)}; the pick is the best in {prefer}."]
    if pick and pick.number:
        interval = telling(pick.known["quality"])
        ranges = [f"quality is {_change(interval[0])} to {_change(interval[1])}"] if interval else []
        ranges += [f"it is {speed}"] if (speed := surely_faster(pick)) else []
        sentences += [f"In 95 of 100 repeats {one}." for one in ranges]
        sentences += [phrases.evidence(front, pick), phrases.machines(front.record) if timed(pick) else ""]
    return " ".join(sentence for sentence in sentences if sentence)


def _kept(front: Front, pick: Point) -> str:
    """The changes of the main metrics, of every other metric with a floor, and of the worst slice."""
    record = front.record
    others = [item.reading for item in front.requirements.items if not item.ceiling and "." not in item.reading]
    names = dict.fromkeys([*record.metrics, *(name for name in others if name not in ("quality", "worst_slice"))])
    kept = [f"{_change(pick.known[name].ratio)} {name}" for name in names if name in pick.known]
    worst = pick.known.get("worst_slice")
    return ", ".join([*kept, f"{_change(worst.ratio)} on the worst slice"] if worst else kept)


def _pick(front: Front) -> Point | None:
    try:
        return front.pick()
    except AutopruneError:
        return None


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f}%"
