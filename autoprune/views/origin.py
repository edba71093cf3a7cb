"""How an artifact came to be, as its card tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.record.archive import TRIAL
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views import phrases
from autoprune.views.commands import candidate_command, search_command


def made_how(record: Record, point: Point, made: Mapping[str, Any], *, made_by: str = "") -> str:
    """A paragraph of the model card: the commands that made an artifact, its seed, and the versions beneath.

    Args:
        made: `artifact.json` of the artifact, if it is at hand.
        made_by: the command line that picked the point.
    """
    came = made.get("provenance", {})
    lines = [f"{_searched(record)}, with:\n\n```\n{search_command(record)}\n```"]
    if point.number:
        again = "This candidate again, alone beside the dense model, without a search:"
        lines.append(f"{again}\n\n```\n{candidate_command(record, point)}\n```")
    if made_by:
        lines.append(f"Picked with:\n\n```\n{made_by}\n```")
    facts = [f"key `{point.candidate.key}`"]
    facts += [f"seed {came['seed']}"] if "seed" in came else []
    facts += [f"{name} {version}" for name, version in came.get("versions", {}).items()]
    if "machine" in came:
        facts.append(f"made on {came['machine'].get('cpu')}")
    lines.append(", ".join(facts) + ".")
    return "## How it was made\n\n" + "\n\n".join(lines)


def _searched(record: Record) -> str:
    """What the study consists of."""
    trials = sum(point.candidate.name == TRIAL for point in record.points)
    presets = sum(point.number > 0 for point in record.points) - trials
    tried = f"{phrases.counted(presets, 'preset')} and {phrases.counted(trials, 'trial')} of the sampler"
    looks = len(record.looks)
    return f"Searched among the dense model, {tried}" + f" that {looks:,} looks in memory had found" * bool(looks)
