"""What formats of tables have in common: `settings.json` beside them, and what is said of them.

All hold float32 unless a format says otherwise: who reads them knows no codes of autoprune.
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
"""What rows are, how they are compared and what was lost, beside the files of a format."""

COMPARED = {
    "dot": "Rows are compared by their dot products.",
    "cosine": "Rows are compared by cosine.",
    "euclidean": "Rows are compared by euclidean distance.",
}

WIDENED = "Codes of few bits, and zeros that were left out, become float32: the files are larger than the artifact."


class TableFormat(Export):
    """A folder of tables that other libraries read."""

    def losses(self, folder: Path) -> list[str]:
        found = handed_over(folder)
        return [*self.lost(found), *found.losses]

    def lost(self, exported: Exported) -> list[str]:
        """What tables lose by being written in this format."""
        return [WIDENED] if any(table.coded for table in exported.tables.values()) else []

    def fill(self, folder: Path, draft: Path) -> None:
        found = handed_over(folder)
        more = self.put(found, draft)
        tables = {name: list(table.vectors.shape) for name, table in found.tables.items()}
        said: dict[str, Any] = {"tables": tables, "searched": found.searched, "similarity": found.similarity}
        said |= {"biased": [name for name, table in found.tables.items() if table.bias is not None]}
        said |= {"width": None if found.projection is None else len(found.projection), "constant": found.constant}
        write_json(draft / SETTINGS, {**said, **more})

    @abstractmethod
    def put(self, exported: Exported, draft: Path) -> dict[str, Any]:
        """Writes the files into an empty folder, and tells what else is to be known of them."""

    def use(self, folder: Path, shown: str) -> Use:
        said = json.loads((folder / SETTINGS).read_bytes())
        parts = [self.files(said), scored(said), f"`{SETTINGS}` says the same in JSON."]
        return Use(code=self.code(said, shown), inside="\n\n".join(parts))

    @abstractmethod
    def code(self, said: Mapping[str, Any], shown: str) -> str:
        """As in `Use`, by what `settings.json` says."""

    @abstractmethod
    def files(self, said: Mapping[str, Any]) -> str:
        """Which file holds what, as Markdown."""


def handed_over(folder: Path) -> Exported:
    """The tables of the artifact in a folder, as it holds them.

    Raises:
        AutopruneError: it is damaged, or of a kind that has none.
    """
    from autoprune.artifacts import artifact  # here, because to ask what can be written nobody waits for numpy

    return artifact.load(folder, prefer="memory").exported()


def scored(said: Mapping[str, Any]) -> str:
    """How answers follow from the tables, as Markdown."""
    searched, biased = said["searched"], said["biased"]
    asking = [name for name in said["tables"] if name != searched]
    if asking:
        text = f"The score of {searched} i for {asking[0]} u is the dot product of their rows"
        text += "".join(f", plus the bias of the {name}" for name in biased)
        text += f", plus {said['constant']:.7g}." if said["constant"] else "."
    else:
        text = COMPARED[said["similarity"]]
    if said["width"]:
        text += f" Queries of the original width, {said['width']}, are multiplied by the projection first."
    return text


def listed(said: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """A line for each table: its file, its shape, its ids.

    Args:
        files: of each table, by its name: what holds it, and in which type.
    """
    lines = [
        f"- {files[name]}: {rows:,} x {dim}, a row for each id of `{name}_ids.json`, in that order"
        for name, (rows, dim) in said["tables"].items()
        if name in files
    ]
    return "\n".join(lines)


def write_ids(table: ExportedTable, path: Path) -> None:
    """Writes the ids of a table as a list of texts."""
    write_json(path, table.ids)


def write_json(path: Path, content: object) -> None:
    """Writes JSON, in UTF-8."""
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
