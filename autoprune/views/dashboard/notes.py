"""What people read in the dashboard beside its plots, in Markdown: a note on the study, one on each candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoprune.fronts.front import Front
from autoprune.fronts.requirements import OBJECTIVES
from autoprune.record.point import Point
from autoprune.views.intervals import ends
from autoprune.views.phrases import count, required

UNSAID = "-"
"""Stands for what a recipe made by hand leaves out, and every trial says."""


def note(front: Front) -> str:
    """What the mirror is and how to read it, in Markdown."""
    record = front.record
    rejected = sum(bool(point.candidate.rejected) for point in record.points)
    picks = "\n".join(
        f"| {name} | {_link(point) if point else 'nothing is feasible'} | {point.candidate.summary if point else ''} |"
        for name, point in picks_of(front).items()
    )
    fell = "".join(f"- {_link(fall.point)} {fall.reason}\n" for fall in front.falls)
    return f"""\
# {record.name}

A **read-only mirror** of an autoprune study: changes made here are refused. The authority is the archive, through
`{record.verb("report", *front.limits.flags)}` and `{record.verb("front", *front.limits.flags)}`.

{count(front)}; {rejected} rejected. Required: {required(front)}.

| profile | picks | recipe |
|---|---|---|
{picks}

{"Fell from the front when verified:" if fell else "Nothing fell from the front."}

{fell}
How to read it:

- A trial has the number of its candidate; 0 is the baseline. *Pruned* is what was rejected early. Looks are not here,
  for they measured nothing: the report and `front --all` show them.
- Objective values are those of the search ({", ".join(objective_name(front, name) for name in record.objectives)});
  the plots' own Pareto front goes by these values alone, not by how sure they are. *Best trials* are the front that
  verification left.
- Feasible means that every requirement held in the search. `violation: ...` is the share of the limit that is
  missing; at most 0 if the requirement holds.
- `verified ...` was measured once more: quality on test data, latency longer. The interval is where a
  re-measurement falls in 95 cases of 100; `±?` is one so wide that it says nothing.
- What the baseline or a preset leaves unsaid, and every trial says, stands as 0 or `{UNSAID}`.
- The timeline lays the seconds of all candidates end to end, up to the last change of the archive.
"""


def trial_note(front: Front, point: Point, attributes: Sequence[Mapping[str, str]]) -> str:
    """What stands at the top of a candidate's page: its user attributes in a few lines, and how to make it again."""
    said = {entry["key"]: entry["value"] for entry in attributes}
    short = [
        f"misses {text} by {by:.1%} of the limit"
        for text, by in front.requirements.violations(point.found).items()
        if by > 0
    ]
    place = {"yes": "on the front", "no": ""}.get(said["front"], said["front"])
    facts = [
        f"rejected: {said['rejected']}" if "rejected" in said else "",
        "feasible" if said["feasible"] == "yes" else "not feasible",
        *short,
        place,
        "the knee" if "knee" in said else "",
        f"picked by {said['picked by']}" if "picked by" in said else "",
    ]
    verified = [
        f"- verified {name}: {reading.ratio:.4g}x{f' ({told})' if (told := ends(reading)) else ''}"
        for name, reading in point.verified.items()
        if f"verified {name} / baseline" in said
    ]
    lines = [
        f"**{said['recipe']}**",
        ", ".join(fact for fact in facts if fact),
        "\n".join(verified),
        f"to make it again: `{said['again']}`",
    ]
    return "\n\n".join(line for line in lines if line)


def objective_name(front: Front, name: str) -> str:
    """What an objective is called in the dashboard."""
    return {"quality": front.record.metric, "latency": "latency_ms / baseline"}.get(name, OBJECTIVES[name][0])


def picks_of(front: Front) -> dict[str, Point | None]:
    """What each profile picks; nothing of a study that has only its baseline."""
    return front.picks() if front.record.points[1:] else {}


def _link(point: Point) -> str:
    return f"[{point.number}](/dashboard/studies/0/trials?numbers={point.number})"
