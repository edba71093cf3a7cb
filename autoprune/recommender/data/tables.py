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
from autoprune.recommender.data.looks import NUMBERS, TIME, is_gap, is_rule, numbers, seconds, time_forms, units
from autoprune.recommender.data.parquet import ParquetTable, is_parquet

CHUNK_ROWS = 500_000
"""Rows parsed at a time; bounds the memory for parsing."""

PARTS = {"%Y": "year", "%y": "year", "%m": "month", "%b": "month", "%d": "day"}
"""Parts of formats of dates → words for messages."""

WITHOUT_TIMES = "do without times: task.data.split=random"

UNREADABLE = (
    *(ValueError, TypeError, KeyError, RuntimeError, ImportError, OSError, EOFError),  # NotImplementedError among them
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
        """Frames with the columns user, item (categories of ids) and perhaps time; and notes on what was guessed.

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
            raise AutopruneError(f"task.data.header: {path} is parquet, which names its columns; leave it out.")
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
            kept: dict[str, Any] = {
                role: _categories(path, frame[place], label[role], stripped=text) for role, place in ids.items()
            }
            if text:
                stray = strays.among(frame, kept, ids)
                if stray.any():
                    frame, kept = frame[~stray], {role: column[~stray] for role, column in kept.items()}
            for role in ids:
                gaps.add(role, frame, (kept[role].isna() | (kept[role] == "")).to_numpy())
            if "timestamp" in roles and len(frame):
                kept["time"], none = times.read(frame[roles["timestamp"]])
                gaps.add("timestamp", frame, none)
            piece = pd.DataFrame(kept)
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
    """Ids as categories; `stripped` removes the spaces around them."""
    try:
        codes, values = pd.factorize(column)
    except TypeError as error:
        raise AutopruneError(f"{path}: {label} holds lists; an id is a number or a string.") from error
    held = np.asarray(values)
    if held.dtype.kind == "f" and len(held) and np.abs(held).max() >= whole_floats(np.finfo(held.dtype).eps):
        raise AutopruneError(
            f"{path}: {label} holds {held.dtype} numbers such as {held[np.abs(held).argmax()]}, which stand for "
            "several whole numbers each, so ids may have been lost; write it as whole numbers or strings."
        )
    if stripped and any(word != word.strip() for word in held):
        again, held = pd.factorize(np.array([word.strip() for word in held], dtype=object))
        codes = np.append(again, -1)[codes]
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(held)), index=column.index)


class _Strays:
    """Lines among the rows of a text that are no data: the names again, and rules of dashes."""

    def __init__(self, names: list[str] | None) -> None:
        self.names = names
        self.repeated = self.ruled = 0

    def among(self, frame: pd.DataFrame, kept: dict[str, Any], ids: dict[str, int]) -> npt.NDArray[np.bool_]:
        """Marks these rows of a frame, bool [rows].

        Args:
            kept: role → ids as categories.
            ids: role → position of the column.
        """
        again, ruled = np.full(len(frame), self.names is not None), np.ones(len(frame), dtype=bool)
        for role, place in ids.items():
            codes, words = kept[role].cat.codes.to_numpy(), kept[role].cat.categories
            named = [self.names is not None and word == self.names[place] for word in words]
            again &= np.array([*named, False])[codes]
            ruled &= np.array([*map(is_rule, words), True])[codes]  # or no id
        if ruled.any():
            held = frame[ruled].astype(str).where(frame[ruled].notna(), "")
            drawn = [any(words) and all(is_rule(word) or not word for word in words) for words in held.to_numpy()]
            ruled[ruled] = drawn
        self.repeated += int(again.sum())
        self.ruled += int(ruled.sum())
        return again | ruled

    def notes(self, path: Path) -> tuple[str, ...]:
        """Notes on how many were left out."""
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

    def add(self, role: str, frame: pd.DataFrame, none: npt.NDArray[np.bool_]) -> None:
        """Counts the rows of a frame that `none` marks."""
        self.counts[role] += int(none.sum())
        if none.any() and role not in self.first:
            row = frame[none].iloc[0]
            held = shown(["nothing" if pd.isna(value) else repr(str(value)) for value in row])
            self.first[role] = f"row {frame.index[none][0]:,} ({held})"

    def check(self, rows: int) -> None:
        """Raises if there are any."""
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
        """The times, and which are missing; raises for other values."""
        if not self.form:
            self.form = self._form(column)
        parsed = seconds(column, self.form)
        wrong = ~np.isfinite(parsed)
        none = wrong.copy()
        if wrong.any():
            none[wrong] = [pd.isna(value) or is_gap(str(value)) for value in column[wrong]]
        _refuse_first(self.path, self.label, column, wrong & ~none, TIME, f" Write it so, or {WITHOUT_TIMES}.")
        return parsed, none

    def _form(self, column: pd.Series[Any]) -> str:
        forms = time_forms(column)
        if len(forms) > 1:
            held = next(word for word in column.dropna().astype(str) if not is_gap(word))
            orders = " or ".join(" ".join(map(PARTS.__getitem__, form.split()[:3])) for form in forms)
            raise AutopruneError(
                f"{self.path}: {self.label}: dates such as {held!r} may be {orders}; write them as ISO 8601 dates "
                f"(2026-05-31), or {WITHOUT_TIMES}."
            )
        return forms[0]

    def check(self, times: list[npt.NDArray[np.float64]]) -> tuple[str, ...]:
        """Raises for seconds among milliseconds; returns a note on unset times (0 or -1)."""
        moments = np.concatenate(times) if times and self.form == NUMBERS else np.empty(0)
        unset = int(np.isin(moments, (0, -1)).sum())
        found = units(moments[~np.isin(moments, (0, -1))])
        if len(found) > 1:
            held = " and ".join(f"{count:,} {unit}" for unit, count in found.items())
            raise AutopruneError(
                f"{self.path}: {self.label} holds {held} since 1970; write all in one unit, or {WITHOUT_TIMES}."
            )
        return (f"{self.label} is 0 or -1 in {unset:,} of {len(moments):,} rows, which come first",) * bool(
            found and unset
        )


def _refuse_first(
    path: Path, label: str, column: pd.Series[Any], wrong: npt.NDArray[np.bool_], what: str, instead: str = ""
) -> None:
    """Raises for the first value that `wrong` marks; the index of the column has the row numbers."""
    for row, value in column[wrong][:1].items():
        held = "nothing" if pd.isna(value) else repr(str(value))
        raise AutopruneError(f"{path}: {label}: {what} is expected, but row {row:,} holds {held}.{instead}")


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
