"""A log of interactions: who did what and when, read from a file or from a folder of train, test and valid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from autoprune.errors import AutopruneError
from autoprune.recommender.data.lightgcn import read_lines
from autoprune.recommender.data.tables import COMPRESSED, FORMATS, Columns, TableReader, format_of
from autoprune.recommender.ids import Ids

Numbers = npt.NDArray[np.int64]

SPLITS = {"train": 0, "valid": 1, "validation": 1, "test": 2}

WHOLE = re.compile(r"(0|-?[1-9]\d*)(\.0)?")
"""A whole number in its one way of writing, or as pandas writes it where some are missing."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """Interactions as they stand in the files, in any order and perhaps more than once.

    Attributes:
        users, items: all ids.
        user, item: who did what, as positions in them, int64 [n].
        time: when, float64 [n], in whatever unit; None where nobody asked or nobody knows.
        split: 0 train, 1 validation, 2 test, int8 [n]; None where the files leave it open.
    """

    users: Ids
    items: Ids
    user: Numbers
    item: Numbers
    time: npt.NDArray[np.float64] | None = None
    split: npt.NDArray[np.int8] | None = None

    @staticmethod
    def of(frames: list[pd.DataFrame]) -> Log:
        """From columns user, item and perhaps time and split, with raw ids; a list, to be numbered frame by frame."""
        users, user = _numbered([frame["user"] for frame in frames])
        items, item = _numbered([frame["item"] for frame in frames])
        rest = {
            name: np.concatenate([frame[name].to_numpy() for frame in frames])
            for name in ("time", "split")
            if name in frames[0]
        }
        return Log(users=users, items=items, user=user, item=item, **rest)


def read_log(
    path: Path, *, columns: Columns | None = None, min_rating: float | None = None, timed: bool | None = None
) -> Log:
    """Reads a file, or a folder that holds train, test and perhaps valid(ation) in one format.

    Args:
        path: a table by its suffix (`FORMATS`, the text formats also compressed), or a folder of such tables or of
            LightGCN's `train.txt` and `test.txt` (a line a user, `user item item …`).
        columns: what the columns of a table are called.
        min_rating: rows rated lower are left out.
        timed: whether a table must have times; None: they are read where there are any.

    Raises:
        AutopruneError: what is read cannot be: with the file, the column and the row.
    """
    columns = columns or Columns()
    if path.is_dir() and not format_of(path):
        files = _splits_of(path)
        if files["train"].suffix == ".txt":
            if columns != Columns() or min_rating is not None:
                raise AutopruneError(
                    f"task.data: {str(path)!r} holds lines `user item item …`, without columns or ratings; "
                    "leave columns and min_rating out."
                )
            read = read_lines
        else:
            read = TableReader(columns, min_rating, timed=False).read
        frames = [frame.assign(split=np.int8(SPLITS[name])) for name, file in files.items() for frame in read(file)]
    else:
        frames = TableReader(columns, min_rating, timed=timed).read(path)
    return Log.of(frames)


def _splits_of(folder: Path) -> dict[str, Path]:
    """The files of a folder by what they are for: train, test and perhaps valid or validation."""
    endings = "|".join(re.escape(suffix) for suffix in [".txt", *FORMATS])
    pattern = re.compile(rf"(?:.+\.)?({'|'.join(SPLITS)})({endings})({'|'.join(map(re.escape, COMPRESSED))})?")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        match = pattern.fullmatch(file.name)
        if match is None:
            continue
        name = "valid" if match[1] == "validation" else match[1]
        if name in found or any(format_of(other) != format_of(file) for other in found.values()):
            raise AutopruneError(
                f"task.data.path: {str(folder)!r} must hold one train, one test and at most one valid in one format, "
                f"but {file.name} is beside {', '.join(other.name for other in found.values())}."
            )
        found[name] = file
    if not found:
        raise AutopruneError(
            f"task.data.path: {str(folder)!r} holds neither train.txt and test.txt (each line `user item item …`) nor "
            f"tables of these names; for a single table, name the file itself: {folder}/ratings.csv."
        )
    for name in ("train", "test"):
        if name not in found:
            there = next(iter(found.values()))
            missing = there.name.replace(next(split for split in found if found[split] == there), name)
            raise AutopruneError(f"task.data.path: {str(folder / missing)!r} is missing; {_shape(there)}.")
    return found


def _shape(file: Path) -> str:
    return "each line of it is `user item item …`" if file.suffix == ".txt" else f"{file.name} is there"


def _numbered(columns: list[pd.Series[Any]]) -> tuple[Ids, Numbers]:
    """The ids of a column that comes in pieces, and each entry's position among them."""
    coded = [pd.factorize(column) for column in columns]
    values = pd.concat([pd.Series(np.asarray(values)) for _, values in coded], ignore_index=True)
    place, ids = pd.factorize(_whole_or_words(values), sort=True)
    starts = np.cumsum([0, *(len(values) for _, values in coded)])
    positions = np.concatenate([place[start + codes] for start, (codes, _) in zip(starts, coded, strict=False)])
    return Ids(np.asarray(ids)), positions.astype(np.int64)


def _whole_or_words(values: pd.Series[Any]) -> npt.NDArray[Any]:
    """Ids as int64 where all are whole numbers (written 7 or 7.0, not 007), else as strings."""
    if values.dtype.kind == "i":
        return values.to_numpy(dtype=np.int64)
    words = [str(value) for value in values]
    if all(map(WHOLE.fullmatch, words)):
        try:
            return np.array([int(word.removesuffix(".0")) for word in words], dtype=np.int64)
        except OverflowError:  # more than 64 bits
            pass
    return np.array(words, dtype=object)
