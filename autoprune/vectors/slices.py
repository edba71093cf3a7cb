"""Slices of the rows, by the row or query that asks.

Slices     short, long: below or above the median length of the vectors that ask
           isolated, crowded: below or above the median similarity to their neighbours
           common, middle, rare: a third each of what asks, by how often it is looked up
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

NORM, DENSITY, FREQUENCY = "norm", "density", "frequency"

SLICES = {NORM: ("short", "long"), DENSITY: ("isolated", "crowded"), FREQUENCY: ("common", "middle", "rare")}
"""Column → the names of its slices."""

Numbers = np.ndarray[Any, Any]

Facts = Mapping[str, Callable[[Numbers], Numbers]]
"""Column → function from askers (int64 [n]) to a number for each."""


def slice_columns(asker: Numbers, facts: Facts) -> pd.DataFrame:
    """The slice of each row: a categorical for each column of `facts`."""
    columns = {}
    for column, fact_of in facts.items():
        names = SLICES[column]
        values = fact_of(asker)
        codes = _thirds(values) if column == FREQUENCY else (values > np.median(values)).astype(np.int8)
        columns[column] = pd.Categorical.from_codes(codes, pd.Index(names))
    return pd.DataFrame(columns)


def _thirds(counts: Numbers) -> Numbers:
    """0, 1, 2 for the most frequent third, the next, the last."""
    order = np.argsort(-counts, kind="stable")
    codes: Numbers = np.empty(len(counts), dtype=np.int8)
    codes[order] = np.arange(len(counts)) * 3 // max(len(counts), 1)
    return codes
