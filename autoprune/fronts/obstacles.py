"""Why candidates can't be written in a format, and which search finds candidates that can."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from autoprune.artifacts.formats import Obstacle

Keys = tuple[str, ...]
"""A path in a space."""


def explain_obstacles(obstacles: Sequence[Sequence[Obstacle]], format: str, space: Mapping[str, Any]) -> str:
    """How many candidates can't be written in a format, for which reasons, and the way out.

    Args:
        obstacles: of each candidate; none if it can be written.
        format: the name of the format.
        space: the study's space, as its definition holds it.
    """
    counts = Counter(obstacle for own in obstacles for obstacle in own)
    writable = sum(not own for own in obstacles)
    candidates = _candidates(len(obstacles))
    lines = [f"{writable or 'none'} of {candidates} can be written in the format {format}. The obstacles:"]
    lines += [f"  {obstacle.reason} ({_candidates(count)})" for obstacle, count in counts.most_common()]
    overrides = dict.fromkeys(override for obstacle in counts for override in way_out(obstacle, space))
    if overrides:
        lines.append(f"To search for candidates that can: autoprune … {' '.join(overrides)}")
    return "\n".join(lines)


def _candidates(count: int) -> str:
    return f"{count} candidate{'s' * (count != 1)}"


def way_out(obstacle: Obstacle, space: Mapping[str, Any]) -> list[str]:
    """Overrides for a search whose candidates don't have an obstacle; none if the space has no step that causes it.

    Args:
        obstacle: to avoid.
        space: the study's space, as its definition holds it.
    """
    paths = _places(space, obstacle.steps, ("space",), emptied=not obstacle.setting)
    if not obstacle.setting:
        return [shlex.quote(f"~{'.'.join(path)}") for path in paths]
    return [shlex.quote(f"{'.'.join(path)}{obstacle.setting}") for path in paths]


def _places(node: Any, steps: Collection[str], path: Keys, *, emptied: bool) -> list[Keys]:
    """Where a space has some steps: as stages, within a stage, under its `method`, or among the options of a `choose`.

    Args:
        node: the part of the space at `path`.
        emptied: whether a part that holds nothing but these steps is named instead of them.
    """
    if not isinstance(node, Mapping):
        return []
    paths: list[Keys] = []
    for key, child in node.items():
        if key in steps:
            paths.append((*path, key))
        elif len(path) == 1 or key in ("method", "choose"):
            paths += _places(child, steps, (*path, key), emptied=emptied)
    holds_nothing_else = emptied and len(path) > 1 and node and all((*path, key) in paths for key in node)
    return [path] if holds_nothing_else else paths
