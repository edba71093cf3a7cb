"""What must hold, as the page lets one move it: sliders, profiles, and the requirements that no slider stands for."""

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
    """The readings of latency, a workload each."""
    return [name for name in record.names if name.startswith("latency_ms.")]


def costs(record: Record) -> list[str]:
    """The readings that are traded for quality: bytes, and the latency of each workload."""
    stored = "index" in record.objectives and "vector_bytes" in record.names
    return ["size_bytes", *["vector_bytes"] * stored, *workloads(record)]


def page_name(record: Record, name: str) -> str:
    """One name for what has two: the metric is `quality`, and the first workload is `latency_ms`."""
    timed = workloads(record)
    return {record.metric: "quality", "latency_ms": timed[0] if timed else name}.get(name, name)


def page_names(record: Record) -> list[str]:
    """The readings of a study, each by one name."""
    return list(dict.fromkeys(page_name(record, name) for name in record.names))


def limits(front: Front) -> dict[str, Any]:
    """Sliders, profiles (this report's and the study's own among them), and what stands fixed."""
    record = front.record
    held = {"this report": front.requirements, "the study": UNCHANGED.requirements(record)}
    held |= {name: Limits(profile=name).requirements(record) for name in [*profile_names(), "none"]}
    if held["the study"] == held["this report"]:
        del held["the study"]
    fixed: list[Requirement] = []
    profiles = [_profile(record, name, requirements, fixed) for name, requirements in held.items()]
    return {"sliders": sliders(record), "fixed": [_fixed(record, item) for item in fixed], "profiles": profiles}


def sliders(record: Record) -> list[dict[str, Any]]:
    """What can be moved: a floor on each main metric and on the worst slice, ceilings on the size and each workload.

    Limits are ratios.
    """
    labels = {"quality": f"quality ({record.metric})", **{name: name for name in record.metrics[1:]}}
    labels |= {"worst_slice": "worst slice"}
    labels |= {name: LABELS.get(name) or f"latency, {name.partition('.')[2]}" for name in costs(record)}
    found = []
    for reading, label in labels.items():
        ratios = [point.found[reading].ratio for point in record.points if reading in point.found]
        ratios = [ratio for ratio in ratios if math.isfinite(ratio)]
        if not ratios:
            continue
        ceiling = is_cost(reading)
        low = min(ratios) if ceiling else max(0.5, min(ratios))
        high = min(max(ratios), 3.0) if ceiling else max(ratios)
        ends = {"min": math.floor(low * 100) / 100, "max": math.ceil(max(high, 1.0) * 100) / 100}
        found.append({"reading": reading, "label": label, "ceiling": ceiling, **ends})
    return found


def _profile(record: Record, name: str, requirements: Requirements, fixed: list[Requirement]) -> dict[str, Any]:
    """Requirements as settings of the page: limits of sliders, and the rest by their place in `fixed`, which grows."""
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
    told = ", ".join(item.text for item in requirements.items) or "no requirements"
    return {"name": name, "text": told, "limits": limits, "fixed": rest, "prefer": requirements.prefer}


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
