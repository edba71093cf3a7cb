"""A log of interactions, read from a file or from a folder of train, validation and test files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from autoprune.errors import AutopruneError
from autoprune.packing.ids import Ids
from autoprune.recommender.data.columns import Columns, shown
from autoprune.recommender.data.delimited import holds_lines
from autoprune.recommender.data.lightgcn import read_lines
from autoprune.recommender.data.parquet import is_parquet
from autoprune.recommender.data.tables import TableReader, readable

Numbers = npt.NDArray[np.int64]

SPLITS = {"train": 0, "valid": 1, "validation": 1, "val": 1, "dev": 1, "test": 2}
"""Split in the name of a file → its number in a `Log`."""

FORMATS = r"\.txt|\.csv|\.tsv|\.inter|\.dat|\.data|\.rating|\.parquet"
COMPRESSED = r"(?:\.gz|\.bz2|\.xz|\.zip)?"

SPLIT_FILE = re.compile(rf"(?:.+\.)?({'|'.join(SPLITS)})(?:-(\d+)-of-(\d+))?(|{FORMATS}){COMPRESSED}")
"""The name of a file with one split of the data: the split and the format."""

TABLE_FILE = re.compile(rf"[^.].*(?:{FORMATS}){COMPRESSED}")
"""The name of a file that may be a table."""

WHOLE = re.compile(r"(0|-?[1-9]\d*)(\.0)?")
"""A whole number in its usual form, or with .0, as pandas writes it in a column with missing values."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """Interactions as the files have them, in any order and perhaps repeated.

    Attributes:
        users, items: all ids.
        user, item: positions in `users` and `items`, int64 [n].
        time: float64 [n], in any unit; None if times are not known or not needed.
        split: 0 train, 1 validation, 2 test, int8 [n]; None if the files are not split.
        notes: what was guessed about the files.
    """

    users: Ids
    items: Ids
    user: Numbers
    item: Numbers
    time: npt.NDArray[np.float64] | None = None
    split: npt.NDArray[np.int8] | None = None
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(frames: list[pd.DataFrame], *, notes: Iterable[str] = ()) -> Log:
        """The log of frames with the columns user, item (raw ids) and perhaps time and split."""
        users, user = _numbered([frame["user"] for frame in frames])
        items, item = _numbered([frame["item"] for frame in frames])
        rest = {
            name: np.concatenate([frame[name].to_numpy() for frame in frames])
            for name in ("time", "split")
            if name in frames[0]
        }
        return Log(users=users, items=items, user=user, item=item, notes=tuple(dict.fromkeys(notes)), **rest)


def read_log(
    path: Path,
    *,
    columns: Columns | None = None,
    header: bool | None = None,
    min_rating: float | None = None,
    timed: bool | None = None,
) -> Log:
    """Reads a table, or a folder with train, test and perhaps validation files in one format.

    Args:
        path: a table of text or parquet with any name, also compressed; or a folder of such tables, or of LightGCN's
            `train.txt` and `test.txt` (one line for each user, `user item item …`).
        columns: the table's columns by role.
        header: whether a table's first row names the columns; None: judged by its content.
        min_rating: rows with a lower rating are left out.
        timed: whether a table must have times; None: times are read if there are any.

    Raises:
        AutopruneError: a file cannot be read or has invalid values.
    """
    reader = TableReader(columns=columns or Columns(), header=header, min_rating=min_rating, timed=timed)
    with readable(path):
        files = _splits_of(path) if path.is_dir() else {}
        if files:
            return _read_split(path, files, dataclasses.replace(reader, timed=False))
        frames, notes = reader.read(path)
        return Log.of(frames, notes=notes)


def _read_split(folder: Path, files: dict[str, list[Path]], reader: TableReader) -> Log:
    """Reads the files of a folder (split → paths) into one log with their splits."""
    read = reader.read
    first = files["train"][0]
    if not is_parquet(first) and holds_lines(first):
        if reader != TableReader(columns=Columns(), timed=False):
            raise AutopruneError(
                f"task.data: {str(folder)!r} holds lines `user item item …`, without columns or ratings; "
                "leave columns, header and min_rating out."
            )
        read = read_lines
    used = {file for shards in files.values() for file in shards}
    unread = [file.name for file in sorted(folder.iterdir()) if TABLE_FILE.fullmatch(file.name) and file not in used]
    frames, notes = [], [f"not read in {folder}: {shown(unread)}"] if unread else []
    for name, file in ((name, file) for name, shards in files.items() for file in shards):
        found, remarks = read(file)
        frames += [frame.assign(split=np.int8(SPLITS[name])) for frame in found]
        notes += remarks
    return Log.of(frames, notes=notes)


def _splits_of(folder: Path) -> dict[str, list[Path]]:
    """Split (train, test and perhaps valid) → its files in a folder, with all shards.

    Empty if the folder is one table: its name ends in .parquet, or it has parquet files but none named after a split.
    """
    found: dict[str, list[Path]] = {}
    if folder.suffix == ".parquet":
        return found
    formats, parts = set(), dict[str, set[tuple[str, str]]]()
    for file in sorted(folder.iterdir()):
        match = SPLIT_FILE.fullmatch(file.name)
        if match is None or (file.is_dir() and not is_parquet(file)):
            continue
        name = "valid" if SPLITS[match[1]] == SPLITS["valid"] else match[1]
        formats.add(match[4])
        shards = parts.setdefault(name, set())
        if len(formats) > 1 or (shards and (match[2] is None or {count for _, count in shards} != {match[3]})):
            others = ", ".join(other.name for files in found.values() for other in files)
            raise AutopruneError(
                f"task.data.path: {str(folder)!r} must hold one train, one test and at most one valid in one format, "
                f"but {file.name} is beside {others}."
            )
        shards.add((match[2], match[3]))
        found.setdefault(name, []).append(file)
    for name, shards in parts.items():
        for count in {int(total) for _, total in shards if total}:
            if {int(number) for number, _ in shards} != set(range(count)):
                raise AutopruneError(
                    f"task.data.path: {str(folder)!r} holds {len(shards)} of {count} shards of {name}: "
                    f"{', '.join(file.name for file in found[name])}."
                )
    if not found and is_parquet(folder):
        return found
    if not found:
        raise AutopruneError(
            f"task.data.path: {str(folder)!r} holds neither train.txt and test.txt (each line `user item item …`) nor "
            f"tables of these names; for a single table, name the file itself: {folder}/ratings.csv."
        )
    for name in ("train", "test"):
        if name not in found:
            split, (present, *_) = next(iter(found.items()))
            missing = present.name.replace(split, name)
            raise AutopruneError(f"task.data.path: {str(folder / missing)!r} is missing; {_shape(present)}.")
    return found


def _shape(file: Path) -> str:
    return "each line of it is `user item item …`" if file.suffix == ".txt" else f"{file.name} is there"


def _numbered(columns: list[pd.Series[Any]]) -> tuple[Ids, Numbers]:
    """The ids of a column that is given in pieces, and the position of each entry among them."""
    coded = [pd.factorize(column) for column in columns]
    values = pd.concat([pd.Series(np.asarray(values)) for _, values in coded], ignore_index=True)
    place, ids = pd.factorize(_whole_or_words(values), sort=True)
    starts = np.cumsum([0, *(len(values) for _, values in coded)])
    positions = np.concatenate([place[start + codes] for start, (codes, _) in zip(starts, coded, strict=False)])
    return Ids(np.asarray(ids)), positions.astype(np.int64)


def _whole_or_words(values: pd.Series[Any]) -> npt.NDArray[Any]:
    """Ids as int64 if all are whole numbers (written 7 or 7.0, not 007), else as strings."""
    if values.dtype.kind == "i":
        return values.to_numpy(dtype=np.int64)
    words = [str(value) for value in values]
    if all(map(WHOLE.fullmatch, words)):
        try:
            return np.array([int(word.removesuffix(".0")) for word in words], dtype=np.int64)
        except OverflowError:  # more than 64 bits
            pass
    return np.array(words, dtype=object)
