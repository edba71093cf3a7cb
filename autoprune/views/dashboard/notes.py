"""The notes in the dashboard, in Markdown: one on the study, one on each candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoprune.fronts.front import Front
from autoprune.fronts.requirements import OBJECTIVES
from autoprune.record.point import Point
from autoprune.views.intervals import ends
from autoprune.views.phrases import count, required

UNSAID = "-"
"""Stands for a parameter that every trial has, but not the baseline or a preset."""


def note(front: Front) -> str:
    """The note on the study: what the mirror is and how to read it."""
    record = front.record
    rejected = sum(bool(point.candidate.rejected) for point in record.points)
    picks = "\n".join(
        f"| {name} | {_link(point) if point else 'nothing is feasible'} | {point.candidate.summary if point else ''} |"
        for name, point in picks_of(front).items()
    )
    fell = "".join(f"- {_link(fall.point)} {fall.reason}\n" for fall in front.falls)
    return f"""\
# {record.name}

A **read-only mirror** of an autoprune study: changes made here are refused. The authoritative views of its archive are
`{record.verb("report", *front.limits.flags)}` and `{record.verb("front", *front.limits.flags)}`.

{count(front)}; {rejected} rejected. Required: {required(front)}.

| profile | picks | recipe |
|---|---|---|
{picks}

{"Fell from the front when verified:" if fell else "Nothing fell from the front."}

{fell}
How to read it:

- A trial has the number of its candidate; 0 is the baseline. *Pruned* trials were rejected early. Looks are not here,
  because they are not measurements: see the report or `front --all`.
- Objective values are those of the search ({", ".join(objective_name(front, name) for name in record.objectives)});
  the Pareto front of the plots uses only these values, not their uncertainty. *Best trials* are the front after
  verification.
- Feasible means that every requirement was met in the search. `violation: ...` is the missing share of the limit; it
  is at most 0 if the requirement is met.
- `verified ...` was measured again: quality on test data, latency for longer. 95 of 100 re-measurements lie in the
  interval; `±?` is so wide that it says nothing.
- Parameters that every trial has, but not the baseline or a preset, are shown there as 0 or `{UNSAID}`.
- The timeline puts the seconds of all candidates end to end, up to the last change of the archive.
"""


def trial_note(front: Front, point: Point, attributes: Sequence[Mapping[str, str]]) -> str:
    """The note on a candidate: its user attributes in a few lines, and the command to repeat it."""
    values = {entry["key"]: entry["value"] for entry in attributes}
    short = [
        f"misses {text} by {by:.1%} of the limit"
        for text, by in front.requirements.violations(point.found).items()
        if by > 0
    ]
    place = {"yes": "on the front", "no": ""}.get(values["front"], values["front"])
    facts = [
        f"rejected: {values['rejected']}" if "rejected" in values else "",
        "feasible" if values["feasible"] == "yes" else "not feasible",
        *short,
        place,
        "the knee" if "knee" in values else "",
        f"picked by {values['picked by']}" if "picked by" in values else "",
    ]
    verified = [
        f"- verified {name}: {reading.ratio:.4g}x{f' ({interval})' if (interval := ends(reading)) else ''}"
        for name, reading in point.verified.items()
        if f"verified {name} / baseline" in values
    ]
    lines = [
        f"**{values['recipe']}**",
        ", ".join(fact for fact in facts if fact),
        "\n".join(verified),
        f"to repeat it: `{values['again']}`",
    ]
    return "\n\n".join(line for line in lines if line)


def objective_name(front: Front, name: str) -> str:
    """The name of an objective in the dashboard."""
    return {"quality": front.record.metric, "latency": "latency_ms / baseline"}.get(name, OBJECTIVES[name][0])


def picks_of(front: Front) -> dict[str, Point | None]:
    """The pick of each profile; empty for a study with only its baseline."""
    return front.picks() if front.record.points[1:] else {}


def _link(point: Point) -> str:
    return f"[{point.number}](/dashboard/studies/0/trials?numbers={point.number})"
