"""Which column of a table is the user, the item, the time and the rating: as named, as usual, or as it looks."""

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
from autoprune.recommender.data.looks import TIME, is_time, is_value, seconds, time_forms

USUAL = {
    "user": r"(user|customer|visitor|reviewer|member|account)(id|name)?|uid",
    "item": r"(item|movie|film|product|book|song|track|artist|article|business|game|video)(id)?|iid|isbn|asin",
    "timestamp": r"timestamp|time|ts|date|datetime|unixreviewtime",
    "rating": r"((user|item|movie|film|product|book)?rating)|score|stars|overall",
}
"""Names by which a column is found, in any case, without `_`, spaces and RecBole's `:token`."""


@dataclass(kw_only=True)
class Columns:
    """Which columns of a table are what: a name, or a position counted from 0; None: what is usual (`USUAL`)."""

    user: str | None = None
    item: str | None = None
    timestamp: str | None = None
    rating: str | None = None


def is_usual(name: str) -> bool:
    """Whether a word is the usual name of any column."""
    return any(_fits(role, name) for role in USUAL)


def shown(row: Sequence[str]) -> str:
    """A row for people, on one line."""
    words = [" ".join(word.split()) for word in row[:40]]
    words = [word if len(word) <= 40 else f"{word[:39]}…" for word in words]
    return ", ".join(words) + (", …" if len(row) > len(words) else "")


def holds_names(path: Path, rows: Sequence[Sequence[str]], columns: Columns) -> bool:
    """Whether the first row of a table names the columns.

    It does if it holds the names that were asked for, or several usual ones, or if all of a column but its first word
    are numbers or dates. It does not if it holds a number or a date itself, or a word that stands again in its column.

    Raises:
        AutopruneError: it may be either.
    """
    first, rest = rows[0], rows[1:]
    asked = [name for name in vars(columns).values() if name is not None]
    if asked and all(name in first and not name.isdecimal() for name in asked):
        return True
    usual = sum(any(_fits(role, word) for word in first) for role in USUAL)
    if any(map(is_value, first)):
        # pandas calls columns 0, 1, 2 where they have no names; a mere 0, 1 is rather the first edge of a graph
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
        if any(column and all(map(is_value, column)) for column in others):  # the names may stand again
            return True
        if any(word in column for word, column in zip(first, below, strict=True)):
            return False
        if usual and not any(map(str.isdecimal, asked)):
            return True
    raise AutopruneError(
        f"{path}: is the first row names or data? It is: {shown(first)}. Say which: task.data.header=true, or "
        "task.data.header=false and the positions of the columns, counted from 0: task.data.columns.user=0 "
        "task.data.columns.item=1."
    )


class Table(Protocol):
    """What is known of a table before it is read: the names of its columns, if it has any, and its first rows."""

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
        """A column in an error."""
        return f"column {place if self.names is None else repr(self.names[place])}"

    def find(self, columns: Columns, needed: dict[str, bool | None]) -> tuple[dict[str, int], tuple[str, ...]]:
        """Role → position, and what was guessed or left out, in words.

        Args:
            needed: role → whether there must be one; None: it is taken if it is there; False: it is not looked for.

        Raises:
            AutopruneError: a column that must be there is not, or several may be it.
        """
        if self.names is None and columns == Columns():
            found, notes = self._guessed(needed)
        else:
            found, notes = self._named_or_usual(columns, needed), tuple[str, ...]()
        if needed["timestamp"] is None and "timestamp" not in found:
            notes = (*notes, *map(self._unused, self._times(found)), self._untimed(found))
        return found, notes

    def _named_or_usual(self, columns: Columns, needed: dict[str, bool | None]) -> dict[str, int]:
        """By what was asked for, and by usual names."""
        found: dict[str, int] = {}
        for role, must in needed.items():
            place = self._find(role, getattr(columns, role)) if must is not False else None
            if place is not None:
                found[role] = place
            elif must:
                raise self._missing(role)
        return found

    def _find(self, role: str, wanted: str | None) -> int | None:
        """The column of a role: the one that was named, or the one whose name is usual."""
        names = self.names or []
        if wanted is not None:
            return self._named(role, wanted)
        found = [place for place, name in enumerate(names) if _fits(role, name)]
        if len(found) > 1:
            raise AutopruneError(
                f"{self.path}: {' and '.join(shown([names[place]]) for place in found)} may each be the {role}; "
                f"say which: {self._override(role, found[0])}."
            )
        return found[0] if found else None

    def _named(self, role: str, wanted: str) -> int:
        names, count = self.names or [], len(self.names or self.rows[0])
        found = [place for place, name in enumerate(names) if wanted in (name, _bare(name))]
        if len(found) > 1:
            raise AutopruneError(
                f"task.data.columns.{role}: {self.path} has {len(found)} columns {wanted!r}; give the position of one, "
                f"counted from 0: {' or '.join(map(str, found))}."
            )
        if found:
            return found[0]
        if wanted.isdecimal() and int(wanted) < count:
            return int(wanted)
        if wanted.isdecimal():
            why = f"has {count} columns, at positions 0 to {count - 1}, but got {wanted}"
        elif self.names is None:
            why = (
                f"has no names, its first row is {shown(self.rows[0])}; give a position, counted from 0, but got "
                f"{wanted!r}"
            )
        else:
            why = f"has no column {wanted!r}. {nearest(wanted, map(_bare, names))}".removesuffix(".")
        raise AutopruneError(f"task.data.columns.{role}: {self.path} {why}.")

    def _missing(self, role: str) -> AutopruneError:
        if self.names is None:
            return AutopruneError(
                f"{self.path}: which column is the {role}? It has no names; give the position, counted from 0: "
                f"task.data.columns.{role}=POSITION. Its first row is: {shown(self.rows[0])}."
            )
        likely = self._times({}) if role == "timestamp" else []
        hint = f" {self.label(likely[0])} looks like it." if likely else ""
        return AutopruneError(
            f"{self.path}: which column is the {role}? Name it: task.data.columns.{role}=NAME. "
            f"It has: {shown(self.names)}.{hint}"
        )

    def _guessed(self, needed: dict[str, bool | None]) -> tuple[dict[str, int], tuple[str, ...]]:
        """user, item and perhaps a rating and a time, where no other order can be."""
        roles = _by_looks(self.rows)
        if roles is None:
            raise AutopruneError(
                f"{self.path}: the first row is data, so the columns have no names, and which is which is not plain. "
                "Give positions, counted from 0: task.data.columns.user=0 task.data.columns.item=1, perhaps "
                f"timestamp and rating likewise. The first row is: {shown(self.rows[0])}."
            )
        for role, must in needed.items():
            if must and role not in roles:
                raise self._missing(role)
        said = ", ".join(f"{self.rows[0][place]} = {role}" for role, place in roles.items())
        note = f"{self.path.name} has no names, its first row is taken as {said} (else give task.data.columns)"
        return {role: place for role, place in roles.items() if needed[role] is not False}, (note,)

    def _times(self, found: dict[str, int]) -> list[int]:
        """Columns that look like times, but for those found."""
        return [
            place
            for place in range(len(self.names or self.rows[0]))
            if place not in found.values() and is_time([row[place] for row in self.rows if len(row) > place])
        ]

    def _unused(self, place: int) -> str:
        """A column that looks like times, and what would use it."""
        override = self._override("timestamp", place)
        column = pd.Series([row[place] for row in self.rows if len(row) > place])
        forms = time_forms(column)
        read = len(forms) == 1 and not np.isnan(seconds(column, forms[0])).any()
        use = f"{override} uses it" if read else f"for {override} every row must hold {TIME}"
        return f"{self.label(place)} looks like times and is not used ({use})"

    def _untimed(self, found: dict[str, int]) -> str:
        """That there are no times, whatever the columns look like."""
        names = self.names or list(map(str, range(len(self.rows[0]))))
        rest = [name for place, name in enumerate(names) if name and place not in found.values()]
        unused = f"; columns not used: {shown(rest)}" if rest else ""
        return f"no column of times is used: the split is at random{unused}"

    def _override(self, role: str, place: int) -> str:
        bare = list(map(_bare, self.names or []))
        name = bare[place] if bare and bare[place] and bare.count(bare[place]) == 1 else str(place)
        return shlex.quote(f"task.data.columns.{role}={name}")


def _by_looks(rows: Sequence[Sequence[str]]) -> dict[str, int] | None:
    """The columns of a table without names: whole numbers for user and item, then at most a rating and a time.

    None where it may be otherwise: more columns, text, a running number in front, two that look like times, or one
    that does where an id is expected and none after it.
    """
    count = len(rows[0])
    columns = [[row[place] for row in rows if len(row) > place] for place in range(count)]
    if not 2 <= count <= 4 or not all(is_value(word) for column in columns for word in column):
        return None
    if not all(re.fullmatch(r"\d+", word) for column in columns[:2] for word in column):
        return None
    if count > 2 and len(rows) > 2 and all(int(after) - int(before) == 1 for before, after in pairwise(columns[0])):
        return None
    timed = [place for place in range(count) if is_time(columns[place])]
    times = [place for place in timed if place > 1]
    ratings = [place for place in range(2, count) if place not in times]
    if len(times) > 1 or len(ratings) > 1 or (count > 2 and timed and not times):
        return None
    rest = [("rating", place) for place in ratings] + [("timestamp", place) for place in times]
    return {"user": 0, "item": 1, **dict(rest)}


def _fits(role: str, name: str) -> bool:
    return re.fullmatch(USUAL[role], re.sub(r"[\W_]", "", _bare(name)).lower()) is not None


def _bare(name: str) -> str:
    return name.partition(":")[0].strip()  # RecBole: user_id:token
