"""What the page of a report knows, as plain data: every candidate, the limits one can set, the figures, the words."""

from __future__ import annotations

import json
import math
import shlex
import statistics
from collections.abc import Callable
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.pareto import coordinates
from autoprune.fronts.profiles import load_profile, profile_names
from autoprune.fronts.requirements import OBJECTIVES, Requirement, Requirements
from autoprune.measure.measurement import VERIFY, Measurement
from autoprune.measure.reading import Reading, binding_slices, reading_name
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views import phrases as words
from autoprune.views import plots
from autoprune.views.commands import search_command, verb_command

LISTED = 100
"""Of what fell, at most so many are told one by one."""

NO_BREAK = "\u00a0"
"""A space at which no line ends."""


def content(front: Front) -> dict[str, Any]:
    """Everything that the page shows or judges by; plain values, without nan."""
    record = front.record
    held = {"this report": front.requirements, "the study": record.requirements()}
    held |= {name: record.requirements(load_profile(name)) for name in [*profile_names(), "none"]}
    if held["the study"] == held["this report"]:
        del held["the study"]
    fixed: list[Requirement] = []
    profiles = [_profile(record, name, requirements, fixed) for name, requirements in held.items()]
    return {
        "study": record.name,
        "metric": record.metric,
        "verified": front.verified,
        "objectives": record.objectives,
        "readings": {name: [_reading(record, reading), larger] for name, (reading, larger) in OBJECTIVES.items()},
        "points": _points(record),
        "found": _side(record, lambda point: point.found),
        "tested": _side(record, lambda point: point.verified),
        "sliders": _sliders(record),
        "fixed": [_fixed(record, item) for item in fixed],
        "profiles": profiles,
        "slices": _slices(front),
        "figures": _figures(front),
        "front": [point.number for point in front],
        "letters": {str(number): letters for number, letters in front.letters.items()},
        "falls": _falls(front),
        "optimism": words.optimism(front),
        "beyond": [list(record.beyond(point) or ()) for point in record.points],
        "infeasible": _infeasible(front),
        "machines": _machines(record),
        "commands": _commands(front),
    }


def headline(front: Front) -> str:
    """The result in one sentence."""
    pick = _pick(front)
    if pick is None and front.falls:
        return f"Nothing held when it was verified: all {len(front.falls)} of the search's front fell."
    if pick is None:
        return f"No candidate of {front.infeasible().candidates} meets every requirement."
    if not pick.number:
        return "Only the dense model itself meets every requirement."
    size, quality = pick.known["size_bytes"].ratio, pick.known["quality"].ratio
    where = "test data" if pick.verified else "validation data, not verified"
    told = [f"{_times(1 / size)} smaller at {_change(quality)} {front.record.metric} ({where})"]
    latency = pick.known.get("latency_ms") or pick.found.get("latency_ms")
    if latency is not None:
        told.append(f"{_times(latency.ratio)} the time to answer")
    if beyond := front.record.beyond(pick):
        told.append(f"but only {words.ratio(beyond[1])} of {beyond[0]}, which is too faint to bind")
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


def _workloads(record: Record) -> list[str]:
    return [name for name in record.names if name.startswith("latency_ms.")]


def _reading(record: Record, name: str) -> str:
    """One name for what has two: the metric is `quality`, and the first workload is `latency_ms`."""
    workloads = _workloads(record)
    return {record.metric: "quality", "latency_ms": workloads[0] if workloads else name}.get(name, name)


def _names(record: Record) -> list[str]:
    return list(dict.fromkeys(_reading(record, name) for name in record.names))


def _points(record: Record) -> dict[str, list[Any]]:
    """Columns, a place a candidate; the place is its number."""
    candidates = [point.candidate for point in record.points]
    return {
        "name": [one.name for one in candidates],
        "words": [one.words if one.number else "the dense model" for one in candidates],
        "recipe": [one.recipe for one in candidates],
        "rejected": [one.rejected for one in candidates],
        "seconds": [one.seconds for one in candidates],
        "command": [record.command(point) for point in record.points],
    }


def _side(record: Record, look: Callable[[Point], dict[str, Reading]]) -> dict[str, Any]:
    """The readings of all candidates, of the search or of the verification.

    Returns:
        baseline: value of each reading.
        ratio: column by reading; what is judged by in full, the rest to five digits.
        above: column by reading: from the ratio to the upper end of its 95 % interval, None where nobody knows.
        compare: column by objective: what the front compares.
    """
    exact = {"quality", "worst_slice", "size_bytes", *_workloads(record)}
    names, looked = _names(record), [look(point) for point in record.points]
    needed = {name: OBJECTIVES[name][0] for name in record.objectives}
    digits = {name: 17 if name in exact else 5 for name in names}
    return {
        "baseline": {name: _number(looked[0][name].value, 9) for name in names if name in looked[0]},
        "ratio": {
            name: [_number(found[name].ratio, digits[name]) if name in found else None for found in looked]
            for name in names
        },
        "above": {name: [_above(found.get(name)) for found in looked] for name in names},
        "compare": {
            name: [coordinates(found, [name])[0] if reading in found else None for found in looked]
            for name, reading in needed.items()
        },
    }


def _above(reading: Reading | None) -> float | None:
    interval = reading.interval if reading else None
    return _number(interval[1] - reading.ratio, 3) if reading and interval else None


def _number(value: float, digits: int) -> float | None:
    if not math.isfinite(value):
        return None
    return value if digits >= 17 else float(f"{value:.{digits}g}")


def _sliders(record: Record) -> list[dict[str, Any]]:
    """What can be moved: two floors, and a ceiling on the size and on each workload; limits are ratios."""
    labels = {"quality": f"quality ({record.metric})", "worst_slice": "worst slice", "size_bytes": "size"}
    labels |= {name: f"latency, {name.partition('.')[2]}" for name in _workloads(record)}
    found = []
    for reading, label in labels.items():
        ratios = [point.found[reading].ratio for point in record.points if reading in point.found]
        ratios = [ratio for ratio in ratios if math.isfinite(ratio)]
        if not ratios:
            continue
        ceiling = reading not in ("quality", "worst_slice")
        low = min(ratios) if ceiling else max(0.5, min(ratios))
        high = min(max(ratios), 3.0) if ceiling else max(ratios)
        ends = {"min": math.floor(low * 100) / 100, "max": math.ceil(max(high, 1.0) * 100) / 100}
        found.append({"reading": reading, "label": label, "ceiling": ceiling, **ends})
    return found


def _profile(record: Record, name: str, requirements: Requirements, fixed: list[Requirement]) -> dict[str, Any]:
    """Requirements as settings of the page: limits of sliders, and the rest by their place in `fixed`, which grows."""
    movable = {"quality", "worst_slice", "size_bytes", *_workloads(record)}
    limits: dict[str, float] = {}
    rest = []
    for item in requirements.items:
        reading = _reading(record, item.reading)
        if reading in movable and item.relative and item.confidence is None:
            tighter = min if item.ceiling else max
            limits[reading] = tighter(limits.get(reading, item.limit), item.limit)
        else:
            fixed += [item] * (item not in fixed)
            rest.append(fixed.index(item))
    told = ", ".join(item.text for item in requirements.items) or "no requirements"
    return {"name": name, "words": told, "limits": limits, "fixed": rest, "prefer": requirements.prefer}


def _fixed(record: Record, item: Requirement) -> dict[str, Any]:
    """A requirement that no slider stands for, with a digit a candidate: 1 where it holds."""
    alone = Requirements(items=(item,))
    limit = f"{item.reading}={item.limit:.10g}{'x' if item.relative else ''}"
    return {
        "text": item.text,
        "flag": f"--{'max' if item.ceiling else 'floor'} {limit}"
        + (f":{item.confidence:.10g}" if item.confidence else ""),
        "found": "".join(str(int(alone.hold(point.found))) for point in record.points),
        "tested": "".join(str(int(alone.hold(point.verified))) for point in record.points),
    }


def _slices(front: Front) -> list[dict[str, Any]]:
    """The slices and perturbations of the metric: why each does not bind, by split; empty where it does."""
    record = front.record
    baseline = record.baseline
    looks = {"found": baseline.candidate.latest()}
    if baseline.verified:
        looks["tested"] = baseline.candidate.latest(VERIFY)
    return [
        {
            "name": part,
            "reading": reading_name(record.metric, part),
            "loose": {side: _loose(measured, record.metric, part) for side, measured in looks.items()},
        }
        for part in plots.slices(front)
    ]


def _loose(baseline: Measurement, metric: str, part: str) -> str:
    """Why a slice does not bind; empty where it does, or was not measured."""
    if part not in baseline.quality[metric] or part in binding_slices(baseline, metric):
        return ""
    return words.why_idle(baseline, metric, part)


def _figures(front: Front) -> dict[str, Any]:
    costs = {name: plots.tradeoff(front, name) for name in ["size_bytes", *_workloads(front.record)]}
    drawn = {"tradeoff": {name: json.loads(figure.to_json()) for name, figure in costs.items()}}
    for figure in drawn["tradeoff"].values():
        for trace in figure["data"]:  # the page fills them from the columns: they change with the limits
            for key in ("x", "y", "text", "customdata", "error_x", "error_y"):
                trace.pop(key, None)
            trace.get("marker", {}).pop("symbol", None)
    made = {"progress": plots.progress(front), "slices": plots.slice_map(front)}
    mattered = plots.mattered(front)
    made |= {"mattered": mattered} if mattered.data else {}
    return {**drawn, **{name: json.loads(figure.to_json()) for name, figure in made.items()}}


def _falls(front: Front) -> dict[str, Any]:
    judged = [point for point in front.searched if point.number and point.verified]
    lost = [point.verified["quality"].ratio - point.found["quality"].ratio for point in judged]
    return {
        "of": len(judged),
        "count": len(front.falls),
        "list": [[fall.point.number, fall.words] for fall in front.falls[:LISTED]],
        "median": statistics.median(lost) if lost else None,
        "worst": min(lost) if lost else None,
    }


def _infeasible(front: Front) -> dict[str, Any]:
    found = front.infeasible()
    return {
        "empty": not front.feasible,
        "candidates": found.candidates,
        "rejected": found.rejected,
        "missed": [[one.text, one.times, one.least, one.median] for one in found.missed],
        "nearest": [
            [point.number, [[text, by] for text, by in violations.items() if by > 0]]
            for point, violations in found.nearest
        ],
        "loosenings": [[_verb(front, "front", one.flag), one.text, one.point.number] for one in found.loosenings],
        "together": _verb(front, "front", *found.together) if found.together else "",
    }


def _machines(record: Record) -> list[dict[str, Any]]:
    """Every machine that measured: for which purposes, how many candidates, what is known of it."""
    taken: dict[str, dict[str, int]] = {}
    for point in record.points:
        for measured in point.candidate.measurements:
            counts = taken.setdefault(measured.machine, {})
            counts[measured.purpose] = counts.get(measured.purpose, 0) + 1
    return [
        {
            "id": name,
            "counts": counts,
            "facts": {str(key): str(value) for key, value in record.machines.get(name, {}).items()},
        }
        for name, counts in taken.items()
    ]


def _verb(front: Front, verb: str, *looser: str) -> str:
    """A verb under the limits that the front was made with.

    Args:
        looser: flags such as `--max size_bytes=0.5x`, instead of those on the same readings.
    """
    given = list(front.flags)
    if looser:
        taken = {_limited(front, shlex.split(flag)[-1]) for flag in looser}
        at = 0
        while at < len(given) - 1:
            drop = given[at] in ("--floor", "--max") and _limited(front, given[at + 1]) in taken
            if drop:
                del given[at : at + 2]
            at += not drop
    return verb_command(front.record, verb, *given, *(word for flag in looser for word in shlex.split(flag)))


def _limited(front: Front, limit: str) -> str:
    """What `ndcg@20=0.97x` is a limit on."""
    return _reading(front.record, limit.partition("=")[0])


def _commands(front: Front) -> dict[str, str]:
    """What makes each part of the page again; `{number}` and `{limits}` are filled in by the page."""
    record = front.record
    return {
        "search": search_command(record),
        **{verb: _verb(front, verb) for verb in ("verify", "front", "report")},
        "limits": verb_command(record, "report", "--for", "none") + "{limits}",
        "show": _numbered(record, "show"),
        "pick": _numbered(record, "pick", "--to", "DIR"),
    }


def _numbered(record: Record, verb: str, *more: str) -> str:
    return verb_command(record, verb, "NUMBER", *more).replace("NUMBER", "{number}")
