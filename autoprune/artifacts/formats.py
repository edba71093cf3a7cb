"""The formats that a picked candidate can be written in, and what stands in the way of each.

`autoprune` is the artifact itself, which every candidate is; families bring others.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.errors import unknown
from autoprune.families import FAMILIES, family_format

OWN = "autoprune"

Keys = tuple[str, ...]
"""A path in a space."""


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """What keeps a candidate from a format.

    Attributes:
        reason: what it is, for people.
        steps: of a recipe that lead to it (or `runtime`); empty where a recipe has no part in it.
        setting: what follows their path in an override that avoids it (`.scope=layer`, `=torch`); empty: they must go.
    """

    reason: str
    steps: tuple[str, ...] = ()
    setting: str = ""

    def way_out(self, space: Mapping[str, Any]) -> list[str]:
        """Overrides of a search whose candidates don't have the obstacle; none where its space has no such step.

        Args:
            space: of the study, as its definition holds it.
        """
        paths = _places(space, self.steps, ("space",), emptied=not self.setting)
        gone = "" if self.setting else "~"
        return [shlex.quote(f"{gone}{'.'.join(path)}{self.setting}") for path in paths]


class Format(ABC):
    """A form in which a candidate can be written.

    Attributes:
        name: as `--format` names it.
        loading: Python that loads what was written, with `{folder!r}` where the folder stands.
    """

    name: str
    loading: str

    @abstractmethod
    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        """All that keeps an artifact from the format; empty if nothing does.

        Args:
            manifest: what `model/manifest.json` of the artifact says.
        """

    @abstractmethod
    def write(self, folder: Path, to: Path) -> None:
        """Writes an artifact in this format, whole or not at all.

        Args:
            folder: of the artifact.
            to: the folder to make.

        Raises:
            AutopruneError: `to` exists already, the artifact is damaged, or something stands in the way.
        """

    @abstractmethod
    def size_bytes(self, folder: Path) -> int:
        """Bytes of what was written that a model needs to answer."""

    @abstractmethod
    def example(self, folder: Path) -> str:
        """Python that asks the `model` in a folder for something."""


class OwnFormat(Format):
    """The artifact as it is."""

    name = OWN
    loading = "import autoprune; model = autoprune.load({folder!r})"

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        return []

    def write(self, folder: Path, to: Path) -> None:
        from autoprune.artifacts import artifact  # here, because it waits for torch

        artifact.copy(folder, to)

    def size_bytes(self, folder: Path) -> int:
        from autoprune.artifacts import artifact  # as above

        return artifact.size_bytes(folder)

    def example(self, folder: Path) -> str:
        from autoprune.artifacts import artifact  # as above

        return artifact.load(folder).example


def format_names() -> list[str]:
    """What `--format` can name."""
    return [OWN, *(name for family in FAMILIES.values() for name in family.formats)]


def check_format(name: str) -> str:
    """The name of a format.

    Raises:
        AutopruneError: there is no such format.
    """
    if name not in format_names():
        raise unknown("--format", name, format_names())
    return name


def find_format(name: str) -> Format:
    """The format of a name.

    Raises:
        AutopruneError: there is no such format.
    """
    if check_format(name) == OWN:
        return OwnFormat()
    found: Format = family_format(name)
    return found


def explain_obstacles(found: Sequence[Sequence[Obstacle]], format: str, space: Mapping[str, Any]) -> str:
    """How many candidates can't be written in a format, for which reasons, and the way out.

    Args:
        found: of each candidate.
        format: its name.
        space: of the study, as its definition holds it.
    """
    counts = Counter(obstacle for one in found for obstacle in one)
    fit = sum(not one for one in found)
    lines = [f"{fit or 'none'} of {len(found)} candidates can be written in the format {format}. Of the others:"]
    lines += [f"  {count}: {obstacle.reason}" for obstacle, count in counts.most_common()]
    ways = dict.fromkeys(way for obstacle in counts for way in obstacle.way_out(space))
    if ways:
        lines.append(f"A search for such candidates: autoprune … {' '.join(ways)}")
    return "\n".join(lines)


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
