"""Reads tables of interactions: CSV and other text, RecBole's .inter, parquet."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from autoprune.errors import AutopruneError
from autoprune.packing.ids import whole_floats
from autoprune.recommender.data.columns import Columns, Finder, holds_names, shown
from autoprune.recommender.data.delimited import TextTable
from autoprune.recommender.data.parquet import ParquetTable, is_parquet
from autoprune.recommender.data.values import NUMBERS, TIME, is_gap, is_rule, numbers, seconds, time_forms, units

CHUNK_ROWS = 500_000
"""Rows parsed at a time; bounds the memory for parsing."""

PARTS = {"%Y": "year", "%y": "year", "%m": "month", "%b": "month", "%d": "day"}
"""Part of a date format → its name in messages."""

WITHOUT_TIMES = "do without times: task.data.split=random"
"""The way out in messages on times."""

UNREADABLE = (
    *(ValueError, TypeError, KeyError, RuntimeError, ImportError, OSError, EOFError),  # includes NotImplementedError
    *(zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)
"""Errors that pandas, pyarrow and decompression raise for damaged files and unknown formats."""


@dataclass(frozen=True, kw_only=True)
class TableReader:
    """Reads tables with the same columns.

    Attributes:
        columns: the columns by role.
        header: whether the first row of a text names the columns; None: judged by its content.
        min_rating: rows with a lower rating are left out; None: every row counts.
        timed: True: there must be times; None: times are read if there are any; False: times are not read.
    """

    columns: Columns
    header: bool | None = None
    min_rating: float | None = None
    timed: bool | None = None

    def read(self, path: Path) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
        """Frames with the columns user, item (both categorical) and perhaps time, and notes on what was guessed.

        Raises:
            AutopruneError: the file cannot be read or has invalid values.
        """
        if not path.exists():
            raise AutopruneError(f"task.data.path: there is no file or folder {str(path)!r}.")
        with readable(path):
            table = self._open(path)
            finder = Finder(path, table)
            needed = {"user": True, "item": True, "timestamp": self.timed, "rating": self.min_rating is not None}
            roles, notes = finder.find(self.columns, needed)
            frames, row_notes = self._frames(finder, roles, table)
            return frames, (*table.notes, *row_notes, *notes)

    def _open(self, path: Path) -> TextTable | ParquetTable:
        if not is_parquet(path):
            return TextTable.of(
                path,
                has_names=lambda rows: holds_names(path, rows, self.columns) if self.header is None else self.header,
            )
        if self.header is not None:
            raise AutopruneError(f"task.data.header: {path} is parquet, which names its columns; leave header out.")
        return ParquetTable(path)

    def _frames(
        self, finder: Finder, roles: dict[str, int], table: TextTable | ParquetTable
    ) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
        path, label = finder.path, {role: finder.label(place) for role, place in roles.items()}
        ids = {role: place for role, place in roles.items() if role in ("user", "item")}
        others = [place for role, place in roles.items() if role not in ids]
        text, times = isinstance(table, TextTable), _Times(path, label.get("timestamp", ""))
        gaps, strays = _Gaps(path, label), _Strays(finder.names)
        frames, rows = list[pd.DataFrame](), 0
        if ids["user"] == ids["item"]:
            raise AutopruneError(f"{path}: {label['user']} cannot be the user and the item.")
        for frame in table.frames(list(ids.values()), others, chunk=CHUNK_ROWS):
            frame.index = pd.RangeIndex(rows + 1, rows + 1 + len(frame))
            rows += len(frame)
            columns: dict[str, Any] = {
                role: _categories(path, frame[place], label[role], stripped=text) for role, place in ids.items()
            }
            if text:
                stray = strays.among(frame, columns, ids)
                if stray.any():
                    frame, columns = frame[~stray], {role: column[~stray] for role, column in columns.items()}
            for role in ids:
                gaps.add(role, frame, (columns[role].isna() | (columns[role] == "")).to_numpy())
            if "timestamp" in roles and len(frame):
                columns["time"], missing = times.read(frame[roles["timestamp"]])
                gaps.add("timestamp", frame, missing)
            piece = pd.DataFrame(columns)
            if self.min_rating is not None:
                rating = numbers(frame[roles["rating"]])
                _refuse_first(path, label["rating"], frame[roles["rating"]], ~np.isfinite(rating), "a number")
                piece = piece[rating >= self.min_rating]
            frames.append(piece)
        gaps.check(rows)
        unset = times.check([piece["time"].to_numpy() for piece in frames if "time" in piece])
        if not sum(map(len, frames)):
            why = f"no row is rated task.data.min_rating={self.min_rating} or more" if rows else "there are no rows"
            raise AutopruneError(f"{path}: {why}.")
        return frames, (*strays.notes(path), *unset)


def _categories(path: Path, column: pd.Series[Any], label: str, *, stripped: bool) -> pd.Series[Any]:
    """A column of ids as a categorical one; `stripped` removes the spaces around ids."""
    try:
        codes, values = pd.factorize(column)
    except TypeError as error:
        raise AutopruneError(f"{path}: {label} holds lists; an id is a number or a string.") from error
    ids = np.asarray(values)
    if ids.dtype.kind == "f" and len(ids) and np.abs(ids).max() >= whole_floats(np.finfo(ids.dtype).eps):
        raise AutopruneError(
            f"{path}: {label} holds {ids.dtype} numbers such as {ids[np.abs(ids).argmax()]}, which stand for "
            "several whole numbers each, so ids may have been lost; write it as whole numbers or strings."
        )
    if stripped and any(word != word.strip() for word in ids):
        merged, ids = pd.factorize(np.array([word.strip() for word in ids], dtype=object))
        codes = np.append(merged, -1)[codes]
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(ids)), index=column.index)


class _Strays:
    """Lines among the rows of a text that are not data: the names repeated, and lines of dashes."""

    def __init__(self, names: list[str] | None) -> None:
        self.names = names
        self.repeated = self.ruled = 0

    def among(self, frame: pd.DataFrame, columns: dict[str, Any], ids: dict[str, int]) -> npt.NDArray[np.bool_]:
        """Marks these rows of a frame, bool [rows].

        Args:
            columns: role → the categorical column of its ids.
            ids: role → position of the column.
        """
        repeated, ruled = np.full(len(frame), self.names is not None), np.ones(len(frame), dtype=bool)
        for role, place in ids.items():
            codes, words = columns[role].cat.codes.to_numpy(), columns[role].cat.categories
            named = [self.names is not None and word == self.names[place] for word in words]
            repeated &= np.array([*named, False])[codes]
            ruled &= np.array([*map(is_rule, words), True])[codes]  # or no id
        if ruled.any():
            fields = frame[ruled].astype(str).where(frame[ruled].notna(), "")
            rules = [any(words) and all(is_rule(word) or not word for word in words) for words in fields.to_numpy()]
            ruled[ruled] = rules
        self.repeated += int(repeated.sum())
        self.ruled += int(ruled.sum())
        return repeated | ruled

    def notes(self, path: Path) -> tuple[str, ...]:
        """Notes on the numbers of rows that were skipped."""
        counts = {"the names again": self.repeated, "nothing but dashes": self.ruled}
        return tuple(
            f"{count:,} row{'s' * (count > 1)} of {path.name} skipped: {what}"
            for what, count in counts.items()
            if count
        )


class _Gaps:
    """Rows that lack a user, an item or a time."""

    def __init__(self, path: Path, label: dict[str, str]) -> None:
        self.path, self.label = path, label
        self.counts = dict.fromkeys(label, 0)
        self.first: dict[str, str] = {}

    def add(self, role: str, frame: pd.DataFrame, missing: npt.NDArray[np.bool_]) -> None:
        """Counts the rows of a frame that `missing` marks."""
        self.counts[role] += int(missing.sum())
        if missing.any() and role not in self.first:
            row = frame[missing].iloc[0]
            values = shown(["nothing" if pd.isna(value) else repr(str(value)) for value in row])
            self.first[role] = f"row {frame.index[missing][0]:,} ({values})"

    def check(self, rows: int) -> None:
        """Raises if there are such rows, of `rows` in all."""
        for role, first in self.first.items():
            what, instead = f"names no {role}", ""
            if role == "timestamp":
                what, instead = "holds no time", f", or {WITHOUT_TIMES}"
            raise AutopruneError(
                f"{self.path}: {self.label[role]} {what} in {self.counts[role]:,} of {rows:,} rows, the first is "
                f"{first}; take these rows out{instead}."
            )


class _Times:
    """Reads the times of a column, piece by piece."""

    def __init__(self, path: Path, label: str) -> None:
        self.path, self.label = path, label
        self.form = ""

    def read(self, column: pd.Series[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """The times, and a mask of the missing ones; raises for values that are neither."""
        if not self.form:
            self.form = self._form(column)
        parsed = seconds(column, self.form)
        wrong = ~np.isfinite(parsed)
        missing = wrong.copy()
        if wrong.any():
            missing[wrong] = [pd.isna(value) or is_gap(str(value)) for value in column[wrong]]
        _refuse_first(self.path, self.label, column, wrong & ~missing, TIME, f" Write it so, or {WITHOUT_TIMES}.")
        return parsed, missing

    def _form(self, column: pd.Series[Any]) -> str:
        forms = time_forms(column)
        if len(forms) > 1:
            example = next(word for word in column.dropna().astype(str) if not is_gap(word))
            orders = " or ".join(" ".join(map(PARTS.__getitem__, form.split()[:3])) for form in forms)
            raise AutopruneError(
                f"{self.path}: {self.label}: dates such as {example!r} may be {orders}; write them as ISO 8601 dates "
                f"(2026-05-31), or {WITHOUT_TIMES}."
            )
        return forms[0]

    def check(self, times: list[npt.NDArray[np.float64]]) -> tuple[str, ...]:
        """Raises if the times have several units, such as seconds and milliseconds; returns a note on unset times."""
        moments = np.concatenate(times) if times and self.form == NUMBERS else np.empty(0)
        unset = int(np.isin(moments, (0, -1)).sum())
        found = units(moments[~np.isin(moments, (0, -1))])
        if len(found) > 1:
            counts = " and ".join(f"{count:,} {unit}" for unit, count in found.items())
            raise AutopruneError(
                f"{self.path}: {self.label} holds {counts} since 1970; write all in one unit, or {WITHOUT_TIMES}."
            )
        return (f"{self.label} is 0 or -1 in {unset:,} of {len(moments):,} rows, which come first",) * bool(
            found and unset
        )


def _refuse_first(
    path: Path, label: str, column: pd.Series[Any], wrong: npt.NDArray[np.bool_], what: str, instead: str = ""
) -> None:
    """Raises for the first value that `wrong` marks; the index of the column has the row numbers."""
    for row, value in column[wrong][:1].items():
        got = "nothing" if pd.isna(value) else repr(str(value))
        raise AutopruneError(f"{path}: {label}: {what} is expected, but row {row:,} holds {got}.{instead}")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns errors of pandas, pyarrow and decompression into `AutopruneError`."""
    try:
        yield
    except AutopruneError:
        raise
    except UNREADABLE as error:
        why = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise AutopruneError(f"{path} cannot be read: {why[0].strip()}") from error
