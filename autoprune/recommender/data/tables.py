"""Reads tables of interactions with named columns: CSV, RecBole's .inter, parquet."""

from __future__ import annotations

import importlib.util
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from autoprune.errors import AutopruneError, nearest

CHUNK_ROWS = 500_000
"""Rows parsed at a time: bounds what parsing takes beside the interactions themselves."""

USUAL = {
    "user": r"(user|customer|visitor|reviewer|member|account)(id|name)?|uid",
    "item": r"(item|movie|film|product|book|song|track|artist|article|business|game|video)(id)?|iid|isbn|asin",
    "timestamp": r"timestamp|time|ts|date|datetime|unixreviewtime",
    "rating": r"rating|score|stars|overall",
}
"""Names by which a column is found, in any case, without `_`, spaces and RecBole's `:token`."""


@dataclass(kw_only=True)
class Columns:
    """What a table's columns are called; None: what is usual (`USUAL`)."""

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None


class Format(NamedTuple):
    """How a table is read.

    Attributes:
        names: path → the names of its columns.
        frames: (path, columns of ids, other columns) → the rows, `CHUNK_ROWS` at a time.
    """

    names: Callable[[Path], list[str]]
    frames: Callable[[Path, list[str], list[str]], Iterator[pd.DataFrame]]


def _text_names(path: Path) -> list[str]:
    return [str(name) for name in pd.read_csv(path, sep=_separator(path), nrows=0).columns]


def _text_frames(path: Path, ids: list[str], others: list[str]) -> Iterator[pd.DataFrame]:
    # All columns are parsed, not just those asked for: with `usecols` pandas lets lines of too many fields pass.
    types: dict[str, Any] = dict.fromkeys(ids, str)  # as it stands: 01 is not 1
    with pd.read_csv(
        path, sep=_separator(path), dtype=types, chunksize=CHUNK_ROWS, skipinitialspace=True, low_memory=False
    ) as chunks:
        for frame in chunks:
            if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first field for a name of the row
                raise AutopruneError(f"{path}: the rows have more fields than the first line names columns.")
            yield frame[[*ids, *others]]


def _separator(path: Path) -> str:
    (header,) = pd.read_csv(path, sep="\x01", nrows=0).columns
    return max(",\t;|", key=str(header).count)


def _parquet_names(path: Path) -> list[str]:
    if importlib.util.find_spec("pyarrow") is None:
        raise AutopruneError(f"{path}: parquet needs the package pyarrow: pip install 'autoprune[parquet]'.")
    import pyarrow.dataset

    return list(pyarrow.dataset.dataset(path, format="parquet").schema.names)


def _parquet_frames(path: Path, ids: list[str], others: list[str]) -> Iterator[pd.DataFrame]:
    import pyarrow.dataset

    table = pyarrow.dataset.dataset(path, format="parquet")
    for batch in table.to_batches(columns=[*ids, *others], batch_size=CHUNK_ROWS, batch_readahead=2):
        yield batch.to_pandas()


_TEXT = Format(_text_names, _text_frames)
FORMATS = {
    ".csv": _TEXT,
    ".tsv": _TEXT,
    ".inter": _TEXT,
    ".parquet": Format(_parquet_names, _parquet_frames),
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zip")


def format_of(path: Path) -> str | None:
    """Which of `FORMATS` a file is by its name."""
    name = path.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), None)


class TableReader:
    """Reads tables of the same columns."""

    def __init__(self, columns: Columns, min_rating: float | None, *, timed: bool | None) -> None:
        self.columns = columns
        self.min_rating = min_rating
        self.timed = timed

    def read(self, path: Path) -> list[pd.DataFrame]:
        """Columns user, item and perhaps time; in several frames, with ids as categories."""
        if not path.exists():
            raise AutopruneError(f"task.data.path: there is no file or folder {str(path)!r}.")
        suffix = format_of(path)
        if suffix is None:
            raise AutopruneError(
                f"task.data.path: the name of a table ends in {', '.join(FORMATS)} (or {COMPRESSED[0]} after it), "
                f"but got {str(path)!r}. LightGCN's lines are read by naming the folder that holds train.txt."
            )
        with _readable(path):
            return self._frames(path, FORMATS[suffix])

    def _frames(self, path: Path, table: Format) -> list[pd.DataFrame]:
        names = self._find_columns(path, table.names(path))
        ids = {role: name for role, name in names.items() if role in ("user", "item")}
        others = [name for role, name in names.items() if role not in ids]
        gaps: dict[str, list[int]] = {role: [] for role in ids}
        found, row = [], 1
        if ids["user"] == ids["item"]:
            raise AutopruneError(f"{path}: column {ids['user']!r} cannot be the user and the item.")
        for frame in table.frames(path, list(ids.values()), others):
            for role, name in ids.items():
                gaps[role] += (row + np.flatnonzero(frame[name].isna())).tolist()
            kept: dict[str, Any] = {role: _categories(path, frame[name]) for role, name in ids.items()}
            if "timestamp" in names:
                kept["time"] = _checked(path, frame[names["timestamp"]], _seconds, row, "a number or an ISO 8601 date")
            piece = pd.DataFrame(kept)
            if self.min_rating is not None:
                rating = _checked(path, frame[names["rating"]], _numbers, row, "a number")
                piece = piece[rating >= self.min_rating]
            found.append(piece)
            row += len(frame)
        for role, rows in gaps.items():
            if rows:
                raise AutopruneError(
                    f"{path}: column {ids[role]!r} names no {role} in {len(rows):,} of {row - 1:,} rows, the first is "
                    f"row {rows[0]:,} (empty, NA, NaN, None and null name nobody); take these rows out."
                )
        if not sum(map(len, found)):
            why = f"no row is rated task.data.min_rating={self.min_rating} or more" if row > 1 else "there are no rows"
            raise AutopruneError(f"{path}: {why}.")
        return found

    def _find_columns(self, path: Path, names: list[str]) -> dict[str, str]:
        """Role → the column's name."""
        asked = {"user": True, "item": True, "timestamp": self.timed, "rating": self.min_rating is not None}
        found = {}
        for role, needed in asked.items():
            name = _find(role, getattr(self.columns, role), path, names) if needed is not False else None
            if name is not None:
                found[role] = name
            elif needed:
                raise AutopruneError(
                    f"{path}: which column is the {role}? Name it: task.data.columns.{role}=NAME. "
                    f"It has: {', '.join(names)}."
                )
        return found


def _find(role: str, wanted: str | None, path: Path, names: list[str]) -> str | None:
    """The column of a role: the one that was named, or the one whose name is usual."""
    bare = {name: name.partition(":")[0].strip() for name in names}  # RecBole: user_id:token
    if wanted is not None:
        found = [name for name in names if wanted in (name, bare[name])]
        if not found:
            raise AutopruneError(
                f"task.data.columns.{role}: {path} has no column {wanted!r}. {nearest(wanted, bare.values())}"
            )
    else:
        found = [name for name in names if re.fullmatch(USUAL[role], re.sub(r"[\W_]", "", bare[name]).lower())]
        if len(found) > 1:
            raise AutopruneError(
                f"{path}: {' and '.join(found)} may each be the {role}; "
                f"say which: task.data.columns.{role}={bare[found[0]]}."
            )
    return found[0] if found else None


def _categories(path: Path, column: pd.Series[Any]) -> pd.Series[Any]:
    try:
        codes, values = pd.factorize(column)
    except TypeError as error:
        raise AutopruneError(f"{path}: column {column.name!r} holds lists; an id is a number or a string.") from error
    if len(values) and isinstance(values[0], bytes):
        raise AutopruneError(f"{path}: column {column.name!r} holds bytes; write them as strings.")
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(np.asarray(values))))


def _checked(
    path: Path, column: pd.Series[Any], parse: Callable[[pd.Series[Any]], npt.NDArray[np.float64]], row: int, what: str
) -> npt.NDArray[np.float64]:
    parsed = parse(column)
    wrong = np.flatnonzero(np.isnan(parsed))
    if len(wrong):
        value = column.iloc[wrong[0]]
        shown = "nothing" if pd.isna(value) else repr(str(value))
        raise AutopruneError(
            f"{path}: column {column.name!r}: {what} is expected, but row {row + wrong[0]:,} holds {shown}."
        )
    return parsed


def _numbers(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _seconds(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Numbers as they are, dates as seconds since 1970; NaN for what is neither."""
    if column.dtype.kind != "M" and not np.isnan(_numbers(column[:1])).any():
        return _numbers(column)  # as the first is, so are all
    dates = pd.to_datetime(column, format="ISO8601", utc=True, errors="coerce")
    seconds = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return np.asarray(seconds, dtype=np.float64)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns the errors of pandas and pyarrow into ours."""
    try:
        yield
    except AutopruneError:
        raise
    except pd.errors.EmptyDataError as error:
        raise AutopruneError(f"{path}: the file is empty; its first line names the columns.") from error
    except UnicodeDecodeError as error:
        raise AutopruneError(f"{path}: the text is not UTF-8: {error.reason} at byte {error.start:,}.") from error
    except (ValueError, OSError, EOFError, ImportError, zlib.error) as error:
        raise AutopruneError(f"{path} cannot be read: {str(error).strip().splitlines()[0]}") from error
