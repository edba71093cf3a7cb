"""The folder of a model as somebody left it: its JSON files, read once and checked against the list of settings."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from autoprune.encoder.settings import check_settings
from autoprune.errors import AutopruneError

LFS = b"version https://git-lfs.github.com/spec"


class Source:
    """A model's folder.

    Args:
        folder: with everything of the model.
        where: what people call it.

    Attributes:
        notes: what people should know of it.
    """

    def __init__(self, folder: Path, where: str) -> None:
        self.folder, self.where, self.notes = folder, where, list[str]()

    def read(self, path: Path, kind: str) -> dict[str, Any]:
        """The JSON object of settings in a file, checked; empty if there is no file.

        Args:
            path: the file.
            kind: one of `autoprune.encoder.settings.FILES`.

        Raises:
            AutopruneError: the file holds something else, or a setting would be lost.
        """
        content = read_object(path)
        self.check(content, path, kind)
        return content

    def check(self, content: dict[str, Any], path: Path, kind: str) -> None:
        """Refuses settings that would be lost, and notes unknown ones.

        Raises:
            AutopruneError: a setting would be lost.
        """
        file = str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else path.name
        self.notes += check_settings(kind, content, file=file, where=self.where)

    def refusal(self, why: str) -> AutopruneError:
        """The error for a model that cannot be read."""
        return AutopruneError(f"task.model: {self.where}: {why}")


def check_file(path: Path) -> None:
    """Refuses files that cannot be used.

    Raises:
        AutopruneError: it is a pointer of Git LFS, empty, or cannot be read.
    """
    try:
        with path.open("rb") as opened:
            head = opened.read(len(LFS))
    except OSError as error:
        raise AutopruneError(f"{path} cannot be read: {error.strerror}.") from error
    if head == LFS:
        raise AutopruneError(
            f"{path}: a pointer of Git LFS stands there in place of the file; fetch it with: git lfs pull."
        )
    if not head:
        raise AutopruneError(f"{path}: the file is empty.")


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is no file.

    Raises:
        AutopruneError: the file holds something else.
    """
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise AutopruneError(f"{path}: a JSON object must stand there, but it holds a {type(content).__name__}.")
    return content


def read_json(path: Path) -> Any:
    """The JSON value in a file.

    Raises:
        AutopruneError: the file cannot be used or is not JSON.
    """
    check_file(path)
    content = path.read_bytes()
    if content.startswith(codecs.BOM_UTF8):
        raise AutopruneError(
            f"{path}: it begins with a byte order mark, with which transformers cannot read it; save it in UTF-8 "
            "without one."
        )
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise AutopruneError(f"{path}: it is no JSON ({error}).") from error
