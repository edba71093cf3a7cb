"""The formats that a picked candidate can be written in, and what stands in the way of each.

`autoprune` is the artifact itself, which every candidate is; families bring others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.errors import unknown
from autoprune.families import FAMILIES, family_format

OWN = "autoprune"


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

    def advice(self, folder: Path) -> str:
        """What else one can do with what is in a folder, as Markdown; empty where that is all."""
        return ""

    def left_out(self, manifest: Mapping[str, Any]) -> str:
        """What was measured of an artifact and is left to whoever uses the folder, in a sentence; empty: nothing."""
        return ""


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

    def advice(self, folder: Path) -> str:
        from autoprune.artifacts import artifact  # as above

        return artifact.load(folder).advice


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
