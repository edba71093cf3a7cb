"""The formats that a picked candidate can be written in, and the obstacles to each.

`autoprune` is the artifact itself, which every candidate has; families define further formats.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError, unknown
from autoprune.families import FAMILIES, family_format, formats_of, kinds_of
from autoprune.whole import whole_folder

OWN = "autoprune"


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """Why a candidate cannot be written in a format.

    Attributes:
        reason: the explanation for users.
        steps: the steps of the recipe that cause it (or `runtime`); empty if the recipe does not.
        setting: what an override appends to their path to avoid it (`.scope=layer`, `=torch`); empty: remove the steps.
    """

    reason: str
    steps: tuple[str, ...] = ()
    setting: str = ""


@dataclass(frozen=True, kw_only=True)
class Use:
    """How to use a written candidate.

    Attributes:
        code: Python that loads it as `model`, and prints one of its answers.
        advice: further uses, as Markdown.
        inside: what its files contain, for use without autoprune, as Markdown.
    """

    code: str
    advice: str = ""
    inside: str = ""

    @property
    def command(self) -> str:
        """The code as a command line."""
        plain = not set(self.code) & set('"$`\\!')
        return f'python -c "{self.code}"' if plain else f"python -c {shlex.quote(self.code)}"


class Format(ABC):
    """A format in which a candidate can be written.

    Attributes:
        name: its name in `--format`.
    """

    name: str

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        """Everything that prevents writing an artifact in this format; empty if nothing does.

        Args:
            manifest: the content of the artifact's `model/manifest.json`.
        """
        kinds = kinds_of(self.name)
        if manifest.get("kind") in kinds:
            return []
        return [Obstacle(reason=f"its kind cannot be written in this format, only {', '.join(kinds)}")]

    def losses(self, folder: Path) -> list[str]:
        """What an artifact loses in this format, one sentence each.

        Args:
            folder: of the artifact.
        """
        return []

    @abstractmethod
    def write(self, folder: Path, to: Path) -> None:
        """Writes an artifact in this format, completely or not at all.

        Args:
            folder: of the artifact.
            to: the folder to create.

        Raises:
            AutopruneError: `to` exists already, the artifact is damaged, or there is an obstacle.
        """

    @abstractmethod
    def size_bytes(self, folder: Path) -> int:
        """Bytes of the written files that the model needs to answer."""

    @abstractmethod
    def use(self, folder: Path, shown: str) -> Use:
        """How to use the candidate that was written into a folder.

        Args:
            shown: the folder as it appears in the code.
        """


class Export(Format):
    """A format that other libraries read."""

    def write(self, folder: Path, to: Path) -> None:
        with whole_folder(to) as draft:
            self.fill(folder, draft)

    @abstractmethod
    def fill(self, folder: Path, draft: Path) -> None:
        """Writes the artifact in `folder` into an empty folder."""

    def size_bytes(self, folder: Path) -> int:
        """Bytes of all files except the card."""
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "README.md")


@dataclass(frozen=True, kw_only=True)
class OwnFormat(Format):
    """The artifact as it is.

    Attributes:
        bare: whether to leave out `beside/`: titles and histories.
    """

    name = OWN
    bare: bool = False

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        return []

    def losses(self, folder: Path) -> list[str]:
        return ["A bare artifact has no titles, histories or ids of removed rows."] * self.bare

    def write(self, folder: Path, to: Path) -> None:
        from autoprune.artifacts import artifact  # imported here so that listing formats does not wait for numpy

        artifact.copy(folder, to, bare=self.bare)

    def size_bytes(self, folder: Path) -> int:
        from autoprune.artifacts import artifact  # here, as in write

        return artifact.size_bytes(folder)

    def use(self, folder: Path, shown: str) -> Use:
        from autoprune.artifacts import artifact  # here, as in write

        model = artifact.load(folder, prefer="memory")
        code = f"import autoprune; model = autoprune.load({shown!r})"
        if model.example:
            code += f"; print({model.example})"
        return Use(code=code, advice=model.advice, inside=model.inside)


def format_names() -> list[str]:
    """The names that `--format` accepts."""
    return list(dict.fromkeys([OWN, *(name for family in FAMILIES.values() for name in formats_of(family))]))


def check_format(name: str) -> str:
    """Checks the name of a format, and returns it.

    Raises:
        AutopruneError: there is no such format.
    """
    if name not in format_names():
        raise unknown("--format", name, format_names())
    return name


def find_format(name: str, *, bare: bool = False) -> Format:
    """The format of that name.

    Args:
        bare: whether to leave out `beside/`; formats of other libraries never contain it.

    Raises:
        AutopruneError: there is no such format, or `bare` is set for another format than autoprune's own.
    """
    if check_format(name) == OWN:
        return OwnFormat(bare=bare)
    if bare:
        raise AutopruneError(f"--bare: the format {name} never contains titles or histories; leave --bare out.")
    format: Format = family_format(name)
    return format
