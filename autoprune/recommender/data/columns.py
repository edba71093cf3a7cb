"""Finds the user, item, time and rating columns of a table: by given names, usual names, or their content."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from autoprune.errors import AutopruneError, nearest
from autoprune.recommender.data.values import TIME, is_time, is_value, seconds, time_forms

USUAL = {
    "user": r"(user|customer|visitor|reviewer|member|account)(id|name)?|uid",
    "item": r"(item|movie|film|product|book|song|track|artist|article|business|game|video)(id)?|iid|isbn|asin",
    "timestamp": r"timestamp|time|ts|date|datetime|unixreviewtime",
    "rating": r"((user|item|movie|film|product|book)?rating)|score|stars|overall",
}
"""Usual names of columns, compared in lower case and without `_`, spaces and RecBole's `:token`."""

EVERY_ROW = "every row counts, whatever its {name} ({override}task.data.min_rating=N leaves out those below N)"

LABEL = "label"
"""A column of this name may mark rows that are no interactions, like a column of ratings."""


@dataclass(kw_only=True)
class Columns:
    """The column of each role: its name, or its position counted from 0; None: a usual name (`USUAL`)."""

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None


def is_usual(name: str) -> bool:
    """Whether a word is a usual name of a column."""
    return any(_fits(role, name) for role in USUAL)


def shown(row: Sequence[str]) -> str:
    """A row on one line for messages, long rows and words shortened."""
    words = [" ".join(word.split()) for word in row[:40]]
    words = [word if len(word) <= 40 else f"{word[:39]}…" for word in words]
    return ", ".join(words) + (", …" if len(row) > len(words) else "")


def holds_names(path: Path, rows: Sequence[Sequence[str]], columns: Columns) -> bool:
    """Whether the first row of a table is a header.

    It is one if it has the names given in `columns`, or several usual names, or if all words below one of its words are
    numbers or dates. It is not one if it has a number or a date itself, or a word that occurs again in its column.

    Raises:
        AutopruneError: the first row may be names or data.
    """
    first, rest = rows[0], rows[1:]
    given = [name for name in vars(columns).values() if name is not None]
    if given and all(name in first and not name.isdecimal() for name in given):
        return True
    usual = sum(any(_fits(role, word) for word in first) for role in USUAL)
    if any(map(is_value, first)):
        # pandas names unnamed columns 0, 1, 2; a row of just 0, 1 is more likely the first edge of a graph
        indexed = first[0] == ""
        counted = list(first[indexed:]) == list(map(str, range(len(first) - indexed)))
        if counted and indexed:
            return True
        if usual < 2 and not (counted and len(first) > 2):
            return False
    elif usual > 1:
        return True
    else:
        below = [[row[place] for row in rest if len(row) > place] for place in range(len(first))]
        others = [[row[place] for row in rest if len(row) > place and row != first] for place in range(len(first))]
        if any(column and all(map(is_value, column)) for column in others):  # the header may be repeated
            return True
        if any(word in column for word, column in zip(first, below, strict=True)):
            return False
        if usual and not any(map(str.isdecimal, given)):
            return True
    raise AutopruneError(
        f"{path}: is the first row names or data? It is: {shown(first)}. Say which: task.data.header=true, or "
        "task.data.header=false and the positions of the columns, counted from 0: task.data.columns.user=0 "
        "task.data.columns.item=1."
    )


class Table(Protocol):
    """The beginning of a table: the names of its columns, if it has any, and its first rows."""

    @property
    def names(self) -> list[str] | None: ...

    @property
    def rows(self) -> list[list[str]]: ...


class Finder:
    """Finds the columns of one table."""

    def __init__(self, path: Path, table: Table) -> None:
        self.path = path
        self.names = table.names
        self.rows = table.rows

    def label(self, place: int) -> str:
        """The description of a column in messages."""
        return f"column {place if self.names is None else repr(self.names[place])}"

    def find(self, columns: Columns, needed: dict[str, bool | None]) -> tuple[dict[str, int], tuple[str, ...]]:
        """Role → position, and notes on what was guessed or left out.

        Args:
            needed: role → True: there must be a column; None: a column is used if there is one; False: none is used.

        Raises:
            AutopruneError: a required column is missing, or several columns fit a role.
        """
        if self.names is None and columns == Columns():
            found, notes = self._guessed(needed)
        else:
            found, notes = self._named_or_usual(columns, needed), tuple[str, ...]()
        rest = self._rest(found)
        if needed["timestamp"] is None and "timestamp" not in found:
            notes = (*notes, *map(self._unused, self._times(found)), self._untimed(rest))
        else:
            unused = rest if needed["timestamp"] is not False else sorted({*rest} - {*self._times(found)})
            notes = (*notes, *([self._left_out(unused)] if unused else []))
        return found, (*notes, *self._every_row(rest))

    def _named_or_usual(self, columns: Columns, needed: dict[str, bool | None]) -> dict[str, int]:
        """Role → position, by the given names and by usual names."""
        found: dict[str, int] = {}
        for role, required in needed.items():
            place = self._find(role, getattr(columns, role)) if required is not False else None
            if place is not None:
                found[role] = place
            elif required:
                raise self._missing(role)
        return found

    def _find(self, role: str, wanted: str | None) -> int | None:
        """The column of a role: the given one, or the one with a usual name."""
        names = self.names or []
        if wanted is not None:
            return self._named(role, wanted)
        matches = [place for place, name in enumerate(names) if _fits(role, name)]
        if len(matches) > 1:
            raise AutopruneError(
                f"{self.path}: {' and '.join(shown([names[place]]) for place in matches)} may each be the {role}; "
                f"say which: {self._override(role, matches[0])}."
            )
        return matches[0] if matches else None

    def _named(self, role: str, wanted: str) -> int:
        names, count = self.names or [], len(self.names or self.rows[0])
        matches = [place for place, name in enumerate(names) if wanted in (name, _bare(name))]
        if len(matches) > 1:
            raise AutopruneError(
                f"task.data.columns.{role}: {self.path} has {len(matches)} columns {wanted!r}; give the position of "
                f"one, counted from 0: {' or '.join(map(str, matches))}."
            )
        if matches:
            return matches[0]
        if wanted.isdecimal() and int(wanted) < count:
            return int(wanted)
        if wanted.isdecimal():
            why = f"has {count} columns, at positions 0 to {count - 1}, but got {wanted}"
        elif self.names is None:
            why = (
                f"has no column names (its first row is {shown(self.rows[0])}), so a position counted from 0 must be "
                f"given, but got {wanted!r}"
            )
        else:
            why = f"has no column {wanted!r}. {nearest(wanted, map(_bare, names))}".removesuffix(".")
        raise AutopruneError(f"task.data.columns.{role}: {self.path} {why}.")

    def _missing(self, role: str) -> AutopruneError:
        if self.names is None:
            return AutopruneError(
                f"{self.path}: which column is the {role}? The columns have no names; give a position counted from 0: "
                f"task.data.columns.{role}=POSITION. Its first row is: {shown(self.rows[0])}."
            )
        likely = self._times({}) if role == "timestamp" else []
        hint = f" {self.label(likely[0])} looks like times." if likely else ""
        return AutopruneError(
            f"{self.path}: which column is the {role}? Name it: task.data.columns.{role}=NAME. "
            f"Its columns are: {shown(self.names)}.{hint}"
        )

    def _guessed(self, needed: dict[str, bool | None]) -> tuple[dict[str, int], tuple[str, ...]]:
        """Roles of unnamed columns (user, item, perhaps rating and time), if their content allows only one order."""
        roles = _by_content(self.rows)
        if roles is None:
            raise AutopruneError(
                f"{self.path}: the first row is data, so the columns have no names, and their content does not show "
                "which is which. Give positions counted from 0, such as task.data.columns.user=0 "
                "task.data.columns.item=1, and those of timestamp and rating if there are any. "
                f"The first row is: {shown(self.rows[0])}."
            )
        for role, required in needed.items():
            if required and role not in roles:
                raise self._missing(role)
        guess = ", ".join(f"{self.rows[0][place]} = {role}" for role, place in roles.items())
        note = f"{self.path.name} has no names, its first row is taken as {guess} (else give task.data.columns)"
        if "rating" in roles and not needed["rating"]:
            note += f"; {EVERY_ROW.format(name='rating', override='')}"
        return {role: place for role, place in roles.items() if needed[role] is not False}, (note,)

    def _times(self, found: dict[str, int]) -> list[int]:
        """Columns that look like times and have no role yet."""
        return [
            place
            for place in range(len(self.names or self.rows[0]))
            if place not in found.values() and is_time([row[place] for row in self.rows if len(row) > place])
        ]

    def _unused(self, place: int) -> str:
        """A note on a column that looks like times and is not used."""
        override = self._override("timestamp", place)
        column = pd.Series([row[place] for row in self.rows if len(row) > place])
        forms = time_forms(column)
        readable = len(forms) == 1 and not np.isnan(seconds(column, forms[0])).any()
        use = f"{override} uses it" if readable else f"for {override} every row must hold {TIME}"
        return f"{self.label(place)} looks like times and is not used ({use})"

    def _rest(self, found: dict[str, int]) -> list[int]:
        """Unused columns, except those with an empty name, which hold row numbers."""
        return [place for place, name in enumerate(self._labels()) if name and place not in found.values()]

    def _labels(self) -> list[str]:
        """The names of the columns, or their positions where they have no names."""
        return self.names or list(map(str, range(len(self.rows[0]))))

    def _left_out(self, rest: list[int]) -> str:
        return f"columns not used: {shown([self._labels()[place] for place in rest])}"

    def _untimed(self, rest: list[int]) -> str:
        """A note that no times are used, and that the split is therefore random."""
        unused = f"; {self._left_out(rest)}" if rest else ""
        return f"no column of times is used: the split is at random{unused}"

    def _every_row(self, rest: list[int]) -> list[str]:
        """Notes on unused columns that may mark some rows as no interactions, with the settings that use them."""
        notes = list[str]()
        for place in rest:
            name = self._labels()[place]
            rating = _fits("rating", name)
            if rating or _bare(name).lower() == LABEL:
                override = "" if rating else f"{self._override('rating', place)} "
                notes.append(EVERY_ROW.format(name=shown([name]), override=override))
        return notes

    def _override(self, role: str, place: int) -> str:
        names = list(map(_bare, self.names or []))
        name = names[place] if names and names[place] and names.count(names[place]) == 1 else str(place)
        return shlex.quote(f"task.data.columns.{role}={name}")


def _by_content(rows: Sequence[Sequence[str]]) -> dict[str, int] | None:
    """The columns of a table without names: whole numbers for user and item, then at most a rating and a time.

    None if this may be wrong: if there are more columns, text, row numbers in the first column, two columns of times,
    or a column that looks like times where an id is expected, and none after it.
    """
    count = len(rows[0])
    columns = [[row[place] for row in rows if len(row) > place] for place in range(count)]
    if not 2 <= count <= 4 or not all(is_value(word) for column in columns for word in column):
        return None
    if not all(re.fullmatch(r"\d+", word) for column in columns[:2] for word in column):
        return None
    if count > 2 and len(rows) > 2 and all(int(after) - int(before) == 1 for before, after in pairwise(columns[0])):
        return None
    like_times = [place for place in range(count) if is_time(columns[place])]
    times = [place for place in like_times if place > 1]
    ratings = [place for place in range(2, count) if place not in times]
    if len(times) > 1 or len(ratings) > 1 or (count > 2 and like_times and not times):
        return None
    rest = [("rating", place) for place in ratings] + [("timestamp", place) for place in times]
    return {"user": 0, "item": 1, **dict(rest)}


def _fits(role: str, name: str) -> bool:
    return re.fullmatch(USUAL[role], re.sub(r"[\W_]", "", _bare(name)).lower()) is not None


def _bare(name: str) -> str:
    return name.partition(":")[0].strip()  # RecBole: user_id:token
