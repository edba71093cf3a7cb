"""What all formats of tables share: `settings.json`, and the description of the files.

Numbers are float32 unless a format says otherwise, because other libraries cannot read autoprune's codes.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.artifacts.formats import Export, Use

if TYPE_CHECKING:
    from autoprune.artifacts.exported import Exported, ExportedTable

SETTINGS = "settings.json"
"""The file that describes the tables and how rows are compared."""

COMPARED = {
    "dot": "Rows are compared by their dot products.",
    "cosine": "Rows are compared by cosine.",
    "euclidean": "Rows are compared by euclidean distance.",
}
"""Similarity → a sentence on it."""

WIDENED = "Codes of few bits, and zeros that were not stored, become float32: the files are larger than the artifact."
"""The loss of formats that write float32."""


class TableFormat(Export):
    """A folder of tables that other libraries read."""

    def losses(self, folder: Path) -> list[str]:
        exported = exported_tables(folder)
        return [*self.lost(exported), *exported.losses]

    def lost(self, exported: Exported) -> list[str]:
        """The losses of tables in this format, a sentence each."""
        return [WIDENED] if any(table.coded for table in exported.tables.values()) else []

    def fill(self, folder: Path, draft: Path) -> None:
        exported = exported_tables(folder)
        own = self.put(exported, draft)
        shapes = {name: list(table.vectors.shape) for name, table in exported.tables.items()}
        settings: dict[str, Any] = {"tables": shapes, "searched": exported.searched, "similarity": exported.similarity}
        settings |= {"biased": [name for name, table in exported.tables.items() if table.bias is not None]}
        width = None if exported.projection is None else len(exported.projection)
        settings |= {"width": width, "constant": exported.constant}
        write_json(draft / SETTINGS, {**settings, **own})

    @abstractmethod
    def put(self, exported: Exported, draft: Path) -> dict[str, Any]:
        """Writes the files into an empty folder, and returns the format's own entries of `settings.json`."""

    def use(self, folder: Path, shown: str) -> Use:
        settings = json.loads((folder / SETTINGS).read_bytes())
        parts = [self.files(settings), scored(settings), f"`{SETTINGS}` has the same as JSON."]
        return Use(code=self.code(settings, shown), inside="\n\n".join(parts))

    @abstractmethod
    def code(self, settings: Mapping[str, Any], shown: str) -> str:
        """The code of `Use`.

        Args:
            settings: the content of `settings.json`.
            shown: the name of the folder in the code.
        """

    @abstractmethod
    def files(self, settings: Mapping[str, Any]) -> str:
        """The content of each file, as Markdown.

        Args:
            settings: the content of `settings.json`.
        """


def exported_tables(folder: Path) -> Exported:
    """The tables of the artifact in a folder.

    Raises:
        AutopruneError: the artifact is damaged, or its kind has no tables to export.
    """
    from autoprune.artifacts import artifact  # here, because listing the formats does not need numpy

    return artifact.load(folder, prefer="memory").exported()


def scored(settings: Mapping[str, Any]) -> str:
    """How scores are computed from the tables, as Markdown.

    Args:
        settings: the content of `settings.json`.
    """
    searched, biased = settings["searched"], settings["biased"]
    asking = [name for name in settings["tables"] if name != searched]
    if asking:
        text = f"The score of {searched} i for {asking[0]} u is the dot product of their rows"
        text += "".join(f", plus the bias of the {name}" for name in biased)
        text += f", plus {settings['constant']:.7g}." if settings["constant"] else "."
    else:
        text = COMPARED[settings["similarity"]]
    if settings["width"]:
        text += f" Queries of the original width, {settings['width']}, are multiplied by the projection first."
    return text


def listed(settings: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """A line for each table: its file, its shape, its ids.

    Args:
        settings: the content of `settings.json`.
        files: table to list → its file and type.
    """
    lines = [
        f"- {files[name]}: {rows:,} x {dim}, a row for each id of `{name}_ids.json`, in that order"
        for name, (rows, dim) in settings["tables"].items()
        if name in files
    ]
    return "\n".join(lines)


def write_ids(table: ExportedTable, path: Path) -> None:
    """Writes the ids of a table as a JSON list."""
    write_json(path, table.ids)


def write_json(path: Path, content: object) -> None:
    """Writes JSON, in UTF-8."""
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
