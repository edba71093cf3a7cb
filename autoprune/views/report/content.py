"""The data of a report's page: every candidate, the limits, the figures, the texts.

Candidates are stored in columns, in the order of their numbers. All references to a candidate, except `points.number`,
are positions in these columns; they equal the numbers unless a number is missing.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from autoprune.fronts.front import Front
from autoprune.fronts.pareto import comparison
from autoprune.fronts.requirements import OBJECTIVES
from autoprune.measure.measurement import VERIFY, Measurement
from autoprune.measure.reading import Reading, binding_slices, reading_name
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views import looks, phrases, plots
from autoprune.views.intervals import telling
from autoprune.views.report.commands import commands, verb_under
from autoprune.views.report.sliders import costs, limits, page_name, page_names

LISTED = 100
"""Fallen candidates that are listed, at most."""


def content(front: Front) -> dict[str, Any]:
    """All data of the page, as plain values without nan."""
    record = front.record
    places = {point.number: at for at, point in enumerate(record.points)}
    return {
        "study": record.name,
        "metric": record.metric,
        "metrics": record.metrics,
        "verified": front.verified,
        "objectives": record.objectives,
        "readings": {name: [page_name(record, reading), larger] for name, (reading, larger) in OBJECTIVES.items()},
        "points": _points(record),
        "found": _side(record, lambda point: point.found),
        "tested": _side(record, lambda point: point.verified),
        **limits(front),
        "slices": _slices(front),
        "figures": _figures(front),
        "looks": {
            "count": len(looks.others(front)),
            "text": " ".join(looks.sentences(front)),
        },
        "front": [places[point.number] for point in front],
        "letters": {str(places[number]): letters for number, letters in front.letters.items()},
        "falls": _falls(front, places),
        "optimism": phrases.optimism(front),
        "beyond": [list(record.beyond(point) or ()) for point in record.points],
        "infeasible": _infeasible(front, places),
        "machines": _machines(record),
        "commands": commands(front),
    }


def _points(record: Record) -> dict[str, list[Any]]:
    """The columns of candidates that are not readings."""
    candidates = [point.candidate for point in record.points]
    return {
        "number": [one.number for one in candidates],
        "name": [one.name for one in candidates],
        "summary": [one.summary if one.number else "the dense model" for one in candidates],
        "recipe": [one.recipe for one in candidates],
        "rejected": [one.rejected for one in candidates],
        "seconds": [one.seconds for one in candidates],
        "folder": [phrases.folder(one.latest(), record.baseline.candidate.latest()) for one in candidates],
        "command": [record.command(point) for point in record.points],
    }


def _side(record: Record, readings_of: Callable[[Point], dict[str, Reading]]) -> dict[str, Any]:
    """The readings of all candidates, of the search or of the verification.

    Returns:
        baseline: value of each reading.
        ratio: a column for each reading; exact if limits can apply to it, otherwise five digits.
        above: a column for each reading: from the ratio to the upper end of its 95 % interval; None if that is unknown
            or says nothing.
        vague: for each reading, the candidates whose interval says nothing.
        compare: columns of the values that the front compares, more is better; None if an objective was not measured
            or is not finite.
    """
    exact = {"quality", *record.metrics[1:], "worst_slice", *costs(record)}
    names, sides = page_names(record), [readings_of(point) for point in record.points]
    needed = [OBJECTIVES[name][0] for name in record.objectives]
    rows = [
        comparison(readings, record.objectives) if all(name in readings for name in needed) else []
        for readings in sides
    ]
    compared = [row if all(map(math.isfinite, row)) else [] for row in rows]
    width = max(map(len, compared), default=0)
    digits = {name: 17 if name in exact else 5 for name in names}
    return {
        "baseline": {name: _number(sides[0][name].value, 9) for name in names if name in sides[0]},
        "ratio": {
            name: [_number(readings[name].ratio, digits[name]) if name in readings else None for readings in sides]
            for name in names
        },
        "above": {name: [_above(readings.get(name)) for readings in sides] for name in names},
        "vague": {
            name: [at for at, readings in enumerate(sides) if name in readings and readings[name].vague]
            for name in names
        },
        "compare": [[row[at] if row else None for row in compared] for at in range(width)],
    }


def _above(reading: Reading | None) -> float | None:
    interval = telling(reading) if reading else None
    return _number(interval[1] - reading.ratio, 3) if reading and interval else None


def _number(value: float, digits: int) -> float | None:
    if not math.isfinite(value):
        return None
    return value if digits >= 17 else float(f"{value:.{digits}g}")


def _slices(front: Front) -> list[dict[str, Any]]:
    """The slices and perturbations of the metric, and why each does not bind, by split; empty if it binds."""
    record = front.record
    baseline = record.baseline
    sides = {"found": baseline.candidate.latest()}
    if baseline.verified:
        sides["tested"] = baseline.candidate.latest(VERIFY)
    return [
        {
            "name": slice_name,
            "reading": reading_name(record.metric, slice_name),
            "loose": {side: _loose(measured, record.metric, slice_name) for side, measured in sides.items()},
        }
        for slice_name in plots.slices(front)
    ]


def _loose(baseline: Measurement, metric: str, slice_name: str) -> str:
    """Why a slice does not bind; empty if it binds, or was not measured."""
    if slice_name not in baseline.quality[metric] or slice_name in binding_slices(baseline, metric):
        return ""
    return phrases.why_idle(baseline, metric, slice_name)


def _figures(front: Front) -> dict[str, Any]:
    tradeoffs = {name: plots.tradeoff(front, name) for name in costs(front.record)}
    drawn = {"tradeoff": {name: json.loads(figure.to_json()) for name, figure in tradeoffs.items()}}
    for figure in drawn["tradeoff"].values():
        for trace in figure["data"]:  # the page fills these from the columns, because they change with the limits
            if trace["meta"]["layer"] == "looks":
                continue
            for key in ("x", "y", "text", "customdata", "error_x", "error_y"):
                trace.pop(key, None)
            trace.get("marker", {}).pop("symbol", None)
    others = {"progress": plots.progress(front), "slices": plots.slice_map(front)}
    mattered = plots.mattered(front)
    others |= {"mattered": mattered} if mattered.data else {}
    return {**drawn, **{name: json.loads(figure.to_json()) for name, figure in others.items()}}


def _falls(front: Front, places: Mapping[int, int]) -> dict[str, Any]:
    judged = [point for point in front.searched if point.number and point.verified]
    lost = [point.verified["quality"].ratio - point.found["quality"].ratio for point in judged]
    return {
        "of": len(judged),
        "count": len(front.falls),
        "list": [[places[fall.point.number], fall.reason] for fall in front.falls[:LISTED]],
        "median": statistics.median(lost) if lost else None,
        "worst": min(lost) if lost else None,
    }


def _infeasible(front: Front, places: Mapping[int, int]) -> dict[str, Any]:
    found = front.infeasible()
    return {
        "empty": not front.feasible,
        "candidates": found.candidates,
        "rejected": found.rejected,
        "missed": [[one.text, one.times, one.least, one.median] for one in found.missed],
        "unmeasured": [[name, times, found.measuring] for name, times in found.unmeasured.items()],
        "nearest": [[places[near.point.number], near.misses] for near in found.nearest],
        "loosenings": [
            [verb_under(front, "front", one.flag), one.text, places[one.point.number]] for one in found.loosenings
        ],
        "together": verb_under(front, "front", *found.together) if found.together else "",
    }


def _machines(record: Record) -> list[dict[str, Any]]:
    """Every machine that measured: its facts, and how many candidates it measured for which purpose."""
    measured_on: dict[str, dict[str, int]] = {}
    for point in record.points:
        for measured in point.candidate.measurements:
            counts = measured_on.setdefault(measured.machine, {})
            counts[measured.purpose] = counts.get(measured.purpose, 0) + 1
    return [
        {
            "id": name,
            "counts": counts,
            "facts": {str(key): str(value) for key, value in record.machines.get(name, {}).items()},
        }
        for name, counts in measured_on.items()
    ]
