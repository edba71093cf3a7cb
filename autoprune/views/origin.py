"""How an artifact was made, for its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.record.archive import TRIAL
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views import phrases
from autoprune.views.commands import candidate_command, search_command


def made_how(record: Record, point: Point, made: Mapping[str, Any], *, made_by: str = "") -> str:
    """A paragraph of the model card: the commands that made an artifact, its seed, and the versions of the libraries.

    Args:
        made: `artifact.json` of the artifact, if available.
        made_by: the command line that picked the point.
    """
    provenance = made.get("provenance", {})
    lines = [f"{_searched(record)}. The search:\n\n```\n{search_command(record)}\n```"]
    if point.number:
        again = "To make this candidate again, with the dense model but without a search:"
        lines.append(f"{again}\n\n```\n{candidate_command(record, point)}\n```")
    if made_by:
        lines.append(f"Picked with:\n\n```\n{made_by}\n```")
    facts = [f"key `{point.candidate.key}`"]
    facts += [f"seed {provenance['seed']}"] if "seed" in provenance else []
    facts += [f"{name} {version}" for name, version in provenance.get("versions", {}).items()]
    if "machine" in provenance:
        facts.append(f"made on {provenance['machine'].get('cpu')}")
    lines.append(", ".join(facts) + ".")
    return "## How it was made\n\n" + "\n\n".join(lines)


def _searched(record: Record) -> str:
    """What the study measured, in a sentence."""
    trials = sum(point.candidate.name == TRIAL for point in record.points)
    presets = sum(point.number > 0 for point in record.points) - trials
    tried = f"{phrases.counted(presets, 'preset')} and {phrases.counted(trials, 'trial')} of the sampler"
    looks = len(record.looks)
    return f"The study measured the dense model, {tried}" + f", found by {looks:,} looks in memory" * bool(looks)
