"""The formats that a picked candidate can be written in, and what stands in the way of each.

`autoprune` is the artifact itself, which every candidate is; families bring others.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.artifacts.whole import made_whole
from autoprune.errors import AutopruneError, unknown
from autoprune.families import FAMILIES, family_format, formats_of, kinds_of

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


@dataclass(frozen=True, kw_only=True)
class Use:
    """How what was written is used.

    Attributes:
        code: Python that loads it as `model`, and prints an answer of it.
        advice: what else one can do with it, as Markdown.
        inside: what lies in its files, for whoever runs them without autoprune, as Markdown.
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
    """A form in which a candidate can be written.

    Attributes:
        name: as `--format` names it.
    """

    name: str

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        """All that keeps an artifact from the format; empty if nothing does.

        Args:
            manifest: what `model/manifest.json` of the artifact says.
        """
        kinds = kinds_of(self.name)
        if manifest.get("kind") in kinds:
            return []
        return [Obstacle(reason=f"its kind is none of those that are written so ({', '.join(kinds)})")]

    def losses(self, folder: Path) -> list[str]:
        """What an artifact loses by being written in this format, a sentence each.

        Args:
            folder: of the artifact.
        """
        return []

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
    def use(self, folder: Path, shown: str) -> Use:
        """How what was written into a folder is used.

        Args:
            shown: the folder, as the code names it.
        """


class Export(Format):
    """A form that other libraries read."""

    def write(self, folder: Path, to: Path) -> None:
        with made_whole(to) as draft:
            self.fill(folder, draft)

    @abstractmethod
    def fill(self, folder: Path, draft: Path) -> None:
        """Writes the artifact in `folder` into an empty folder."""

    def size_bytes(self, folder: Path) -> int:
        """Of all files but the card."""
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "README.md")


@dataclass(frozen=True, kw_only=True)
class OwnFormat(Format):
    """The artifact as it is.

    Attributes:
        bare: whether what lies beside the model is left out: titles, histories.
    """

    name = OWN
    bare: bool = False

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        return []

    def losses(self, folder: Path) -> list[str]:
        return ["What lies beside the model stays out: titles, histories, the ids of what was removed."] * self.bare

    def write(self, folder: Path, to: Path) -> None:
        from autoprune.artifacts import artifact  # here, because to ask what can be written nobody waits for numpy

        artifact.copy(folder, to, bare=self.bare)

    def size_bytes(self, folder: Path) -> int:
        from autoprune.artifacts import artifact  # as above

        return artifact.size_bytes(folder)

    def use(self, folder: Path, shown: str) -> Use:
        from autoprune.artifacts import artifact  # as above

        model = artifact.load(folder, prefer="memory")
        code = f"import autoprune; model = autoprune.load({shown!r})"
        if model.example:
            code += f"; print({model.example})"
        return Use(code=code, advice=model.advice, inside=model.inside)


def format_names() -> list[str]:
    """What `--format` can name."""
    return list(dict.fromkeys([OWN, *(name for family in FAMILIES.values() for name in formats_of(family))]))


def check_format(name: str) -> str:
    """The name of a format.

    Raises:
        AutopruneError: there is no such format.
    """
    if name not in format_names():
        raise unknown("--format", name, format_names())
    return name


def find_format(name: str, *, bare: bool = False) -> Format:
    """The format of a name.

    Args:
        bare: whether what lies beside a model is to be left out; formats of other libraries never hold it.

    Raises:
        AutopruneError: there is no such format, or it is to be bare and is another one than autoprune's own.
    """
    if check_format(name) == OWN:
        return OwnFormat(bare=bare)
    if bare:
        raise AutopruneError(f"--bare: the format {name} holds neither titles nor histories in any case; leave it out.")
    found: Format = family_format(name)
    return found
