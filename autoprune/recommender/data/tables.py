"""Reads tables of interactions: CSV and other text, RecBole's .inter, parquet."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from autoprune.errors import AutopruneError
from autoprune.recommender.data.columns import Columns, Finder, holds_names
from autoprune.recommender.data.delimited import TextTable
from autoprune.recommender.data.looks import TIME, numbers, seconds
from autoprune.recommender.data.parquet import ParquetTable, is_parquet

CHUNK_ROWS = 500_000
"""Rows parsed at a time: bounds what parsing takes beside the interactions themselves."""

UNREADABLE = (
    *(ValueError, TypeError, KeyError, RuntimeError, ImportError, OSError, EOFError),  # NotImplementedError among them
    *(zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)
"""What pandas, pyarrow and the modules that unpack raise on files that are damaged or of a kind they do not know."""


@dataclass(frozen=True, kw_only=True)
class TableReader:
    """Reads tables of the same columns.

    Attributes:
        columns: which they are.
        header: whether the first row of a text names the columns; None: as it looks.
        min_rating: rows rated lower are left out; None: every row counts.
        timed: whether there must be times; None: they are read where there are any; False: they are not.
    """

    columns: Columns
    header: bool | None = None
    min_rating: float | None = None
    timed: bool | None = None

    def read(self, path: Path) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
        """Columns user, item and perhaps time, in several frames, with ids as categories; and what was guessed.

        Raises:
            AutopruneError: what is read cannot be: with the file, the column and the row.
        """
        if not path.exists():
            raise AutopruneError(f"task.data.path: there is no file or folder {str(path)!r}.")
        with readable(path):
            table = self._open(path)
            finder = Finder(path, table)
            needed = {"user": True, "item": True, "timestamp": self.timed, "rating": self.min_rating is not None}
            roles, notes = finder.find(self.columns, needed)
            return self._frames(finder, roles, table), (*table.notes, *notes)

    def _open(self, path: Path) -> TextTable | ParquetTable:
        if not is_parquet(path):
            return TextTable.of(
                path,
                has_names=lambda rows: holds_names(path, rows, self.columns) if self.header is None else self.header,
            )
        if self.header is not None:
            raise AutopruneError(f"task.data.header: {path} is parquet, which names its columns; leave it out.")
        return ParquetTable(path)

    def _frames(self, finder: Finder, roles: dict[str, int], table: TextTable | ParquetTable) -> list[pd.DataFrame]:
        path, label = finder.path, {role: finder.label(place) for role, place in roles.items()}
        ids = {role: place for role, place in roles.items() if role in ("user", "item")}
        others = [place for role, place in roles.items() if role not in ids]
        gaps: dict[str, list[int]] = {role: [] for role in ids}
        found, row = [], 1
        if ids["user"] == ids["item"]:
            raise AutopruneError(f"{path}: {label['user']} cannot be the user and the item.")
        for frame in table.frames(list(ids.values()), others, chunk=CHUNK_ROWS):
            kept: dict[str, Any] = {role: _categories(path, frame[place], label[role]) for role, place in ids.items()}
            for role in ids:
                gaps[role] += (row + np.flatnonzero(kept[role].isna() | (kept[role] == ""))).tolist()
            if "timestamp" in roles:
                times = _Values(path, label["timestamp"], frame[roles["timestamp"]], row)
                kept["time"] = times.checked(seconds, TIME)
            piece = pd.DataFrame(kept)
            if self.min_rating is not None:
                rating = _Values(path, label["rating"], frame[roles["rating"]], row).checked(numbers, "a number")
                piece = piece[rating >= self.min_rating]
            found.append(piece)
            row += len(frame)
        for role, rows in gaps.items():
            if rows:
                raise AutopruneError(
                    f"{path}: {label[role]} names no {role} in {len(rows):,} of {row - 1:,} rows, the first is "
                    f"row {rows[0]:,}; take these rows out."
                )
        if not sum(map(len, found)):
            why = f"no row is rated task.data.min_rating={self.min_rating} or more" if row > 1 else "there are no rows"
            raise AutopruneError(f"{path}: {why}.")
        return found


def _categories(path: Path, column: pd.Series[Any], label: str) -> pd.Series[Any]:
    try:
        codes, values = pd.factorize(column)
    except TypeError as error:
        raise AutopruneError(f"{path}: {label} holds lists; an id is a number or a string.") from error
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(np.asarray(values))))


@dataclass(frozen=True)
class _Values:
    """Values of a column from a row on, counted from 1."""

    path: Path
    label: str
    column: pd.Series[Any]
    row: int

    def checked(self, parse: Callable[[pd.Series[Any]], npt.NDArray[np.float64]], what: str) -> npt.NDArray[np.float64]:
        """The values as numbers; the first one that is none is refused."""
        parsed = parse(self.column)
        wrong = np.flatnonzero(np.isnan(parsed))
        if len(wrong):
            value = self.column.iloc[wrong[0]]
            shown = "nothing" if pd.isna(value) else repr(str(value))
            raise AutopruneError(
                f"{self.path}: {self.label}: {what} is expected, but row {self.row + wrong[0]:,} holds {shown}."
                + (" Write it so, or do without times: task.data.split=random." if what == TIME else "")
            )
        return parsed


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns the errors of pandas, pyarrow and what unpacks into ours."""
    try:
        yield
    except AutopruneError:
        raise
    except UNREADABLE as error:
        why = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise AutopruneError(f"{path} cannot be read: {why[0].strip()}") from error
