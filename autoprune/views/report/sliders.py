"""The requirements on the page: sliders, profiles, and requirements without a slider."""

from __future__ import annotations

import math
from typing import Any

from autoprune.fronts.front import Front
from autoprune.fronts.limits import UNCHANGED, Limits
from autoprune.fronts.profiles import profile_names
from autoprune.fronts.requirements import Requirement, Requirements, is_cost
from autoprune.record.record import Record

LABELS = {"size_bytes": "size", "vector_bytes": "stored vectors"}


def workloads(record: Record) -> list[str]:
    """The readings of latency, one for each workload."""
    return [name for name in record.names if name.startswith("latency_ms.")]


def costs(record: Record) -> list[str]:
    """The readings that are traded for quality: sizes, and the latency of each workload."""
    stored = "index" in record.objectives and "vector_bytes" in record.names
    return ["size_bytes", *["vector_bytes"] * stored, *workloads(record)]


def page_name(record: Record, name: str) -> str:
    """The name of a reading on the page: `quality` for the metric, the first workload for `latency_ms`."""
    timed = workloads(record)
    return {record.metric: "quality", "latency_ms": timed[0] if timed else name}.get(name, name)


def page_names(record: Record) -> list[str]:
    """The readings of a study by their names on the page, each once."""
    return list(dict.fromkeys(page_name(record, name) for name in record.names))


def limits(front: Front) -> dict[str, Any]:
    """Sliders, profiles (with those of this report and of the study), and requirements without a slider."""
    record = front.record
    by_name = {"this report": front.requirements, "the study": UNCHANGED.requirements(record)}
    by_name |= {name: Limits(profile=name).requirements(record) for name in [*profile_names(), "none"]}
    if by_name["the study"] == by_name["this report"]:
        del by_name["the study"]
    fixed: list[Requirement] = []
    profiles = [_profile(record, name, requirements, fixed) for name, requirements in by_name.items()]
    return {"sliders": sliders(record), "fixed": [_fixed(record, item) for item in fixed], "profiles": profiles}


def sliders(record: Record) -> list[dict[str, Any]]:
    """The sliders: floors on main metrics and the worst slice, ceilings on sizes and workloads; limits are ratios."""
    labels = {"quality": f"quality ({record.metric})", **{name: name for name in record.metrics[1:]}}
    labels |= {"worst_slice": "worst slice"}
    labels |= {name: LABELS.get(name) or f"latency, {name.partition('.')[2]}" for name in costs(record)}
    rows = []
    for reading, label in labels.items():
        ratios = [point.found[reading].ratio for point in record.points if reading in point.found]
        ratios = [ratio for ratio in ratios if math.isfinite(ratio)]
        if not ratios:
            continue
        ceiling = is_cost(reading)
        low = min(ratios) if ceiling else max(0.5, min(ratios))
        high = min(max(ratios), 3.0) if ceiling else max(ratios)
        ends = {"min": math.floor(low * 100) / 100, "max": math.ceil(max(high, 1.0) * 100) / 100}
        rows.append({"reading": reading, "label": label, "ceiling": ceiling, **ends})
    return rows


def _profile(record: Record, name: str, requirements: Requirements, fixed: list[Requirement]) -> dict[str, Any]:
    """Requirements as settings of the page: limits of sliders, and positions in `fixed`, to which the rest is added."""
    movable = {"quality", *record.metrics[1:], "worst_slice", *costs(record)}
    limits: dict[str, float] = {}
    rest = []
    for item in requirements.items:
        reading = page_name(record, item.reading)
        if reading in movable and item.relative and item.confidence is None:
            tighter = min if item.ceiling else max
            limits[reading] = tighter(limits.get(reading, item.limit), item.limit)
        else:
            fixed += [item] * (item not in fixed)
            rest.append(fixed.index(item))
    text = ", ".join(item.text for item in requirements.items) or "no requirements"
    return {"name": name, "text": text, "limits": limits, "fixed": rest, "prefer": requirements.prefer}


def _fixed(record: Record, item: Requirement) -> dict[str, Any]:
    """A requirement without a slider, with a digit for each candidate: 1 if it meets the requirement."""
    alone = Requirements(items=(item,))
    return {
        "text": item.text,
        "flag": item.flag,
        "found": "".join(str(int(alone.hold(point.found))) for point in record.points),
        "tested": "".join(str(int(alone.hold(point.verified))) for point in record.points),
    }
