"""Slices of texts that are judged separately, and perturbations that make texts harder.

Slices     short, long: below or above the median number of words of the texts that are judged
           common, rare: whether a word occurs fewer than `RARE` times in the training texts
           numbers, no_numbers: whether there is a digit
           negated, affirmed: whether there is a word of negation
Perturbed  typos: about every fifth word has a letter swapped, dropped or doubled
           upper_case: all letters are capitals
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

SLICES = {
    "length": ("short", "long"),
    "words": ("common", "rare"),
    "numbers": ("no_numbers", "numbers"),
    "negation": ("affirmed", "negated"),
}
"""Column → the names of its slices."""

RARE = 2

TYPOS = 0.2
"""Share of words."""

NEGATION = re.compile(
    r"\b(?:not|no|never|without|none|nobody|nothing|nowhere|neither|nor|cannot|\w+n['’]t)\b", re.IGNORECASE
)

WORD = re.compile(r"\w+(?:['’]\w+)*")


def word_frequency(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs, in lower case."""
    return Counter(word for text in texts for word in _words(text))


def slice_columns(texts: Sequence[str], frequency: Mapping[str, int]) -> pd.DataFrame:
    """Which slices each text belongs to.

    Args:
        texts: the texts that are judged.
        frequency: how often words occur in the training texts; see `word_frequency`.

    Returns:
        A categorical column for each entry of `SLICES`, and a row for each text.
    """
    words = [_words(text) for text in texts]
    lengths = np.array([len(words_of_text) for words_of_text in words])
    flags = {
        "length": lengths > np.median(lengths) if len(texts) else np.zeros(0, dtype=bool),
        "words": [any(frequency.get(word, 0) < RARE for word in words_of_text) for words_of_text in words],
        "numbers": [bool(re.search(r"\d", text)) for text in texts],
        "negation": [bool(NEGATION.search(text)) for text in texts],
    }
    return pd.DataFrame({column: _categories(flags[column], names) for column, names in SLICES.items()})


def typos(text: str) -> str:
    """A letter swapped with the next, dropped or doubled in about every fifth word, and in at least one.

    The text itself seeds the draw, so that a text has the same mistakes in every process. Words of one letter and
    characters other than letters stay.
    """
    draw = random.Random(int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8]))
    words = list(re.finditer(r"[^\W\d_]{2,}", text))
    chosen = [match for match in words if draw.random() < TYPOS]
    if words and not chosen:
        chosen = [draw.choice(words)]
    for match in reversed(chosen):
        text = text[: match.start()] + _mistyped(match[0], draw) + text[match.end() :]
    return text


def upper_case(text: str) -> str:
    """All letters as capitals."""
    return text.upper()


PERTURBATIONS: dict[str, Callable[[str], str]] = {"typos": typos, "upper_case": upper_case}


def _mistyped(word: str, draw: random.Random) -> str:
    at = draw.randrange(len(word) - 1)
    kind = draw.choice(("swap", "drop", "double"))
    if kind == "swap" and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == "drop":
        return word[:at] + word[at + 1 :]
    return word[: at + 1] + word[at] + word[at + 1 :]


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _categories(flags: Any, names: tuple[str, str]) -> pd.Categorical[str]:
    return pd.Categorical(np.array(names)[np.asarray(flags, dtype=np.int8)], categories=list(names))
