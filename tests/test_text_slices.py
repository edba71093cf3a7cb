"""Slices of texts and texts made harder."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from autoprune.encoder.slices import PERTURBATIONS, SLICES, slice_columns, typos, upper_case, word_frequency

SENTENCES = [
    "the cat sat on the mat",
    "The cat isn't here",
    "there were 3 cats on the mat in 1999 and they did never move",
    "Nothing matters to a knot",
]


def test_every_text_has_one_slice_of_each_kind() -> None:
    frequency = word_frequency(["The cat sat on the mat", "a cat sat on that mat", "the cat isn't there"])
    found = slice_columns(SENTENCES, frequency)
    assert list(found) == list(SLICES)
    assert found["length"].tolist() == ["long", "short", "long", "short"]
    assert found["words"].tolist() == ["common", "rare", "rare", "rare"]
    assert found["numbers"].tolist() == ["no_numbers", "no_numbers", "numbers", "no_numbers"]
    assert found["negation"].tolist() == ["affirmed", "negated", "negated", "negated"]
    for column, names in SLICES.items():
        assert found[column].cat.categories.tolist() == list(names)
    assert len(slice_columns([], frequency)) == 0


def test_a_knot_is_no_negation() -> None:
    found = slice_columns(["a knot and a note", "don’t go", "I cannot go", "notable nobody"], {})
    assert found["negation"].tolist() == ["affirmed", "negated", "negated", "negated"]


def test_typos_change_about_every_fifth_word_and_one_at_least() -> None:
    long = " ".join(f"{word}" for at in range(200) for word in ("apple", "banana", "cherry"))
    changed = [a != b for a, b in zip(long.split(), typos(long).split(), strict=True)]
    assert 0.15 < np.mean(changed) < 0.25
    for text in [*SENTENCES, "ab", "aa", "hello", "Größe"]:
        assert typos(text) != text
        assert abs(len(typos(text)) - len(text)) <= len(text.split())
    assert [typos(text) for text in ("", "a", "1 2 3", "?")] == ["", "a", "1 2 3", "?"]


def test_typos_are_the_same_in_every_process() -> None:
    code = f"from autoprune.encoder.slices import typos; print(typos({SENTENCES[0]!r}), end='')"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout == typos(SENTENCES[0])


def test_upper_case_is_a_perturbation() -> None:
    assert upper_case("It's ok") == "IT'S OK"
    assert set(PERTURBATIONS) == {"typos", "upper_case"}
