"""What words of a table look like: numbers, dates, times; and what they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"

DATE = re.compile(
    r"\d{4}([-/.])\d\d?\1\d\d?([T ].*)?|\d{4}-\d\d|\d\d?([-/.])\d\d?\3(\d{4}|\d\d)([, ].*)?"
    rf"|((mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )?(\d\d?[- ]{MONTH}|{MONTH} \d\d?)\b.*",
    flags=re.IGNORECASE,
)
"""What only a date is written like: 2026-05-31, 31/05/2026, May 31, 2026."""

TIME = "a number or an ISO 8601 date"
"""What `seconds` reads."""

EPOCH = (315_532_800, 4_102_444_800)
"""Seconds since 1970 from 1980 to 2100; times also come in thousandths, millionths and billionths of them."""


def is_value(word: str) -> bool:
    """Whether a word is a number or a date."""
    return NUMBER.fullmatch(word) is not None or DATE.fullmatch(word) is not None


def is_time(values: Sequence[str]) -> bool:
    """Whether a column looks like times: dates, times since 1970, or 20260531; empty values say nothing."""
    held = [value.strip() for value in values if value.strip()]
    return bool(held) and (
        all(map(DATE.fullmatch, held))
        or (all(map(NUMBER.fullmatch, held)) and (all(map(_is_day, held)) or _are_epochs(held)))
    )


def _is_day(word: str) -> bool:
    return re.fullmatch(r"(19[89]\d|20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(\.0)?", word) is not None


def _are_epochs(words: Sequence[str]) -> bool:
    moments = list(map(float, words))
    units = (10**power for power in (0, 3, 6, 9))
    return any(all(EPOCH[0] <= moment / unit < EPOCH[1] for moment in moments) for unit in units)


def numbers(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Numbers, also as 3,5; NaN for what is none."""
    if pd.api.types.is_string_dtype(column.dtype):
        column = column.astype(str).str.replace(r"^([-+]?\d+),(\d\d?)$", r"\1.\2", regex=True)
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def seconds(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Numbers as they are, dates as seconds since 1970; NaN for what is neither."""
    if column.dtype.kind in "iuf" or (column.dtype.kind != "M" and not np.isnan(numbers(column[:1])).any()):
        return numbers(column)  # as the first is, so are all
    dates = pd.to_datetime(column, format="ISO8601", utc=True, errors="coerce")
    seconds = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return np.asarray(seconds, dtype=np.float64)
