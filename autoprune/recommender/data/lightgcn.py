"""Reads LightGCN's format: one line for each user, `user item item …`, all whole numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from autoprune.errors import AutopruneError
from autoprune.recommender.data.text import Text


def read_lines(path: Path) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
    """The (user, item) pairs of a file, and notes; a pair that is repeated on a line is returned as often.

    Raises:
        AutopruneError: a line is malformed.
    """
    if path.stat().st_size == 0:
        raise AutopruneError(f"{path}: the file is empty; each line of it is `user item item …`.")
    text = Text.of(path)
    first_line: dict[int, int] = {}
    users, items = [], []
    for number, words in _lines(text):
        user = int(words[0])
        if user in first_line:
            raise AutopruneError(
                f"{path}:{number}: user {user} stands on line {first_line[user]} too; one line holds all their items."
            )
        first_line[user] = number
        items.append(words[1:])
        users.append(np.full(len(words) - 1, user))
    empty = [np.empty(0, dtype=np.int64)]
    pairs = pd.DataFrame({"user": np.concatenate(users or empty), "item": np.concatenate(items or empty)})
    return [pairs], text.notes


def _lines(text: Text) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    with text.open() as file:
        for number, line in enumerate(file, start=1):
            words = line.split()
            for word in words:
                if not (word.isascii() and word.isdigit()) or len(word) > 18:
                    raise AutopruneError(
                        f"{text.path}:{number}: whole numbers >= 0 are expected, but got {word[:40]!r}; "
                        "each line is `user item item …`. A table (.csv, .inter, .parquet) may have ids of any kind."
                    )
            if words:
                yield number, np.array(words, dtype=np.int64)
