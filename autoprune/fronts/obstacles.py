"""Why candidates can't be written in a format, and which search finds others."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from autoprune.artifacts.formats import Obstacle

Keys = tuple[str, ...]
"""A path in a space."""


def explain_obstacles(found: Sequence[Sequence[Obstacle]], format: str, space: Mapping[str, Any]) -> str:
    """How many candidates can't be written in a format, for which reasons, and the way out.

    Args:
        found: of each candidate.
        format: its name.
        space: of the study, as its definition holds it.
    """
    counts = Counter(obstacle for one in found for obstacle in one)
    fit = sum(not one for one in found)
    lines = [
        f"{fit or 'none'} of {_candidates(len(found))} can be written in the format {format}. What stands in the way:"
    ]
    lines += [f"  {obstacle.reason} ({_candidates(count)})" for obstacle, count in counts.most_common()]
    ways = dict.fromkeys(way for obstacle in counts for way in way_out(obstacle, space))
    if ways:
        lines.append(f"A search for such candidates: autoprune … {' '.join(ways)}")
    return "\n".join(lines)


def _candidates(count: int) -> str:
    return f"{count} candidate{'s' * (count != 1)}"


def way_out(obstacle: Obstacle, space: Mapping[str, Any]) -> list[str]:
    """Overrides of a search whose candidates don't have an obstacle; none where its space has no such step.

    Args:
        space: of the study, as its definition holds it.
    """
    paths = _places(space, obstacle.steps, ("space",), emptied=not obstacle.setting)
    if not obstacle.setting:
        return [shlex.quote(f"~{'.'.join(path)}") for path in paths]
    return [shlex.quote(f"{'.'.join(path)}{obstacle.setting}") for path in paths]


def _places(node: Any, steps: Collection[str], path: Keys, *, emptied: bool) -> list[Keys]:
    """Where steps stand in a space: as stages, within one, under its `method`, or among what is chosen from.

    Args:
        node: what stands at `path`.
        emptied: whether what holds nothing else is named in place of the steps in it.
    """
    if not isinstance(node, Mapping):
        return []
    found: list[Keys] = []
    for key, child in node.items():
        if key in steps:
            found.append((*path, key))
        elif len(path) == 1 or key in ("method", "choose"):
            found += _places(child, steps, (*path, key), emptied=emptied)
    whole = emptied and len(path) > 1 and node and all((*path, key) in found for key in node)
    return [path] if whole else found
