"""Recognises and parses numbers, dates and times in the words of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"

WEEKDAY = "(mon|tue|wed|thu|fri|sat|sun)[a-z]*,? "

DATE = re.compile(
    r"\d{4}([-/.])\d\d?\1\d\d?([T ].*)?|\d{4}-\d\d|\d\d?([-/.])\d\d?\3(\d{4}|\d\d)([, ].*)?"
    rf"|({WEEKDAY})?(\d\d?[- ]{MONTH}|{MONTH} \d\d?)\b.*|{MONTH}[- ]\d{{4}}|\d{{4}}[- ]{MONTH}([- ]\d\d?\b.*)?"
    r"|\d{8}T\d{4}.*|\d{4}-?(W\d\d(-?\d)?|Q[1-4])|\d{4}年\d\d?月.*|/Date\(\d+([-+]\d{4})?\)/",
    flags=re.IGNORECASE,
)
"""Forms that only dates have: 2026-05-31, 31/05/2026, May 31, 2026, 2026-W22."""

DIGITS = re.compile(
    r"(19[89]\d|20\d\d)(0[1-9]|1[0-2])((0[1-9]|[12]\d|3[01])(([01]\d|2[0-3])[0-5]\d([0-5]\d)?)?)?(\.0)?"
)
"""A date in digits only: 202605, 20260531, 202605311200, 20260531120000."""

GAP = re.compile(r"|na|n/a|#n/a|nan|nat|null|none|nil|\\n|[-?.]|0000-00-00.*", flags=re.IGNORECASE)
"""Words for a missing time."""

UNSET = re.compile(r"-1|0+(\.0*)?")
"""Values that programs write for an unset time."""

RULE = re.compile(r"[-+|:=\s]*--[-+|:=\s]*")
"""A line of dashes between the names and the rows of a table, or a field of this line."""

MOST = 0.9
"""Share of a column's values that must have a kind for the column to be of this kind."""

TIME = "a number or an ISO 8601 date"
"""Values that are always read as times; other dates are read if one format fits the whole column."""

EPOCH = (315_532_800, 4_102_444_800)
"""The years 1980 to 2100 in seconds since 1970; times may also be in milli-, micro- and nanoseconds."""

UNITS = {"seconds": 0, "milliseconds": 3, "microseconds": 6, "nanoseconds": 9}
"""Units of times since 1970 → powers of ten of them in a second."""

SERIAL = (29_221, 73_050)
"""The years 1980 to 2100 in days since 1900, as spreadsheets count."""

NUMBERS, ISO = "numbers", "ISO8601"
"""Forms of times that need no format string."""

DATES = (
    *("%Y %m %d", "%d %m %Y", "%m %d %Y", "%d %m %y", "%m %d %y", "%y %m %d"),
    *("%d %b %Y", "%b %d %Y", "%Y %b %d", "%d %b %y", "%b %d", "%b %Y", "%b-%Y"),
)
"""Formats of dates after `_plain`."""

CLOCK = re.compile(
    r" \d\d?:\d\d(?P<second>:\d\d)?(?P<part>\.\d+)?(?P<half> ?[ap]m)?(?P<zone> ?[-+]\d\d:?\d\d)?(?P<year> \d{4})?$",
    flags=re.IGNORECASE,
)
"""The time of day after a date."""


def is_value(word: str) -> bool:
    """Whether a word is a number or a date."""
    return NUMBER.fullmatch(word) is not None or DATE.fullmatch(word) is not None


def is_gap(word: str) -> bool:
    """Whether a word means that there is no time."""
    return GAP.fullmatch(word.strip()) is not None


def is_rule(word: str) -> bool:
    """Whether a line, or a field of it, consists of dashes only."""
    return RULE.fullmatch(word) is not None


def is_time(values: Sequence[str]) -> bool:
    """Whether most of a column looks like times: dates, times since 1970, 20260531, or days of spreadsheets.

    Missing times are ignored.
    """
    words = [word for value in values if not is_gap(word := value.strip()) and not UNSET.fullmatch(word)]
    moments = [float(word) for word in words if NUMBER.fullmatch(word)]
    return bool(words) and (
        _most(map(DATE.fullmatch, words), words)
        or _most(map(DIGITS.fullmatch, words), words)
        or any(_most((EPOCH[0] <= time / 10**power < EPOCH[1] for time in moments), words) for power in UNITS.values())
        or _most((SERIAL[0] <= day < SERIAL[1] and day % 1 > 0 for day in moments), words)
    )


def _most(fits: Iterable[object], words: Sequence[str]) -> bool:
    return sum(map(bool, fits)) >= MOST * len(words)


def units(moments: npt.NDArray[np.float64]) -> dict[str, int]:
    """Units of times since 1970 → number of `moments` in this unit; empty if fewer than most are such times."""
    counts = {
        unit: int(((moments >= EPOCH[0] * 10**power) & (moments < EPOCH[1] * 10**power)).sum())
        for unit, power in UNITS.items()
    }
    used = {unit: count for unit, count in counts.items() if count}
    return used if sum(used.values()) >= MOST * len(moments) else {}


def numbers(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Numbers, also written 3,5; NaN for other values."""
    if pd.api.types.is_string_dtype(column.dtype):
        column = column.astype(str).str.replace(r"^([-+]?\d+),(\d\d?)$", r"\1.\2", regex=True)
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def time_forms(column: pd.Series[Any]) -> list[str]:
    """The forms in which the times of a column can be read: numbers, ISO 8601, or formats of dates.

    Several formats are returned if they fit all values but read them as different times. If no format fits, ISO 8601 is
    returned.
    """
    if column.dtype.kind in "iufm":
        return [NUMBERS]
    if column.dtype.kind == "M":
        return [ISO]
    words = pd.Series(column.dropna().astype(str).str.strip().unique(), dtype=str)
    words = words[~words.map(is_gap).astype(bool)].reset_index(drop=True)
    if not len(words) or not np.isnan(numbers(words[:1])).any():
        return [NUMBERS]
    if not np.isnan(seconds(words[:1], ISO)).any():
        return [ISO]
    clock = _clock(_plain(words[:1])[0])
    found = [form for form in (date + clock for date in DATES) if form.lower().count("%y") == 1]
    for count in (1, 50, len(words)):  # the first value rules out most formats
        read = {form: seconds(words[:count], form) for form in found}
        found = [form for form in found if not np.isnan(read[form]).any()]
    distinct = {read[form].tobytes(): form for form in reversed(found)}
    return list(distinct.values()) or [ISO]


def _clock(date: str) -> str:
    """The format of the time of day at the end of a date; empty if there is none."""
    match = CLOCK.search(date)
    if match is None:
        return ""
    parts = {"second": ":%S", "part": ".%f", "half": "%p", "zone": "%z", "year": "%Y"}
    ends = [" " * text.startswith(" ") + parts[name] for name, text in match.groupdict().items() if text]
    return (" %I:%M" if match["half"] else " %H:%M") + "".join(ends)


def seconds(column: pd.Series[Any], form: str) -> npt.NDArray[np.float64]:
    """Numbers unchanged, dates as seconds since 1970; NaN for values in another form."""
    if form == NUMBERS:
        return numbers(column)
    column = column.astype(str) if column.dtype.kind == "b" else column
    dates = pd.to_datetime(column if form == ISO else _plain(column), format=form, utc=True, errors="coerce")
    seconds = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return np.asarray(seconds, dtype=np.float64)


def _plain(column: pd.Series[Any]) -> pd.Series[Any]:
    """Dates without weekdays and commas, months in three letters, spaces between the parts, UTC as +0000."""
    dates = column.astype(str).str.strip().str.replace(",", "")
    for pattern, instead in (
        (rf"^{WEEKDAY}", ""),
        (r" ?(UTC|GMT|Z)$", " +0000"),
        (r"\b([a-z]{3})[a-z]+\b", r"\1"),
        (r"^(\w+)[-/. ]+(\w+)[-/. ]+(\w+)", r"\1 \2 \3"),
    ):
        dates = dates.str.replace(pattern, instead, regex=True, flags=re.IGNORECASE)
    return dates
