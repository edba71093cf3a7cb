from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from autoprune.packing.ids import Ids

NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1), unique=True).map(sorted).map(lambda v: np.array(v, dtype=np.int64))
# numpy ends a string at its trailing zero bytes
WORDS = (
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), unique=True)
    .map(sorted)
    .map(lambda values: np.array(values, dtype=str))
)


@given(st.one_of(NUMBERS, WORDS))
@example(np.array([-(2**63)]))  # has no absolute value
@example(np.array([2**63 - 2, 2**63 - 1]))  # nothing follows
@example(np.array(["a\nb", "a\nc"]))
@example(np.array(["x" * 300 + "y", "x" * 300 + "z"]))
def test_ids_encode_and_decode(values: np.ndarray[Any, Any]) -> None:
    decoded = Ids.decode(Ids(values).encode())
    assert decoded.values.tolist() == values.tolist()
    assert decoded.values.dtype == Ids(values).values.dtype


def test_strings_of_older_versions_are_read_and_new_ones_take_less() -> None:
    draw = np.random.default_rng(0)
    words = sorted({"".join(draw.choice(list("abcdefgh"), size=6)) for _ in range(2000)})
    older = zlib.compress(json.dumps({"strings": words}).encode())
    assert Ids.decode(np.frombuffer(older, dtype=np.uint8)).values.tolist() == words
    assert len(Ids(np.array(words)).encode()) < 0.8 * len(older)


@given(st.one_of(NUMBERS, WORDS))
@example(np.array([-(2**63)]))  # has no absolute value
def test_the_position_of_an_id_is_its_row(values: np.ndarray[Any, Any]) -> None:
    ids = Ids(values)
    assert [ids.position(ids[row]) for row in range(len(ids))] == list(range(len(ids)))
    assert ids.positions(ids).tolist() == list(range(len(ids)))
    assert ids[1:-1] == [ids[row] for row in range(len(ids))][1:-1]


@given(NUMBERS, NUMBERS)
def test_positions_matches_position(values: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    ids = Ids(values)
    assert ids.positions(Ids(wanted)).tolist() == [ids.position(int(each)) for each in wanted]


@given(WORDS, WORDS)
def test_positions_of_strings_matches_position(values: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    ids = Ids(values)
    assert ids.positions(Ids(wanted)).tolist() == [ids.position(str(each)) for each in wanted]


def test_a_few_strings_are_sought_without_going_through_all() -> None:
    class Sought(np.ndarray[Any, Any]):
        def tolist(self) -> Any:
            raise AssertionError("all strings are gone through")

    ids = Ids(np.array([f"{number:040}" for number in range(1000)]))
    few = ids.take(np.array([3, 500, 999]))
    ids.values = ids.values.view(Sought)
    assert ids.positions(few).tolist() == [3, 500, 999]
    assert ids.positions(ids).tolist() == list(range(1000))


def test_positions_of_long_strings() -> None:
    ids = Ids(np.array([f"{number:040}" for number in range(60)]))
    every_other = ids.take(np.arange(0, 60, 2))
    assert every_other.positions(ids).tolist() == [at // 2 if at % 2 == 0 else -1 for at in range(60)]


@pytest.mark.parametrize("strange", [4, "5", True, 2**70, -(2**70)])
def test_what_is_no_id_has_no_position(strange: int | str) -> None:
    assert Ids(np.array([1, 3, 5])).position(strange) == -1


NARROW = {
    "float16": (np.float16, 2**11),
    "float32": (np.float32, 2**24),
    "float64": (np.float64, 2**53),
    "float": (float, 2**53),
    "torch's bfloat16": (lambda value: torch.tensor(value, dtype=torch.bfloat16), 2**8),
    "torch's float16": (lambda value: torch.tensor(value, dtype=torch.float16), 2**11),
    "torch's float32": (lambda value: torch.tensor(value, dtype=torch.float32), 2**24),
}


@pytest.mark.parametrize("kind", NARROW)
def test_a_float_names_an_id_only_where_it_stands_for_one(kind: str) -> None:
    made, most = NARROW[kind]
    ids = Ids(np.arange(most - 3, most + 3))
    assert ids.position(made(most - 1)) == 2
    assert [ids.position(made(value)) for value in (most, most + 1, most + 2)] == [-1, -1, -1]
    assert ids.position(most + 1) == 4


def test_ids_of_another_kind_have_no_position() -> None:
    numbers, words = Ids(np.array([1, 3])), Ids(np.array(["1", "3"]))
    assert numbers.positions(words).tolist() == [-1, -1]
    assert words.positions(numbers).tolist() == [-1, -1]
    assert words.position(1) == -1


def test_an_id_of_another_kind_gets_a_hint() -> None:
    numbers, words = Ids(np.array([1, 3])), Ids(np.array(["01", "x"]))
    assert numbers.hint("3") == " Ids are whole numbers here, such as 1."
    assert words.hint(1) == " Ids are strings here, such as '01'."
    assert numbers.hint(4) == words.hint("y") == ""


def test_one_long_id_does_not_make_the_others_long() -> None:
    words = Ids(np.array(sorted([*(f"user-{number:04}" for number in range(1000)), "x" * 5000]), dtype=object))
    assert words.memory_bytes < 1001 * 16 + 5000 + 100
    assert words.position("x" * 5000) == 1000
    assert words.position("x" * 6000) == -1


def test_nothing_is_found_among_no_ids() -> None:
    empty = Ids(np.array([], dtype=np.int64))
    assert empty.position(1) == -1
    assert empty.positions(Ids(np.array([1, 2]))).tolist() == [-1, -1]


def test_take_keeps_some_rows() -> None:
    assert Ids(np.array(["a", "b", "c"])).take(np.array([0, 2])).values.tolist() == ["a", "c"]


def test_small_numbers_take_four_bytes_each() -> None:
    assert Ids(np.arange(10)).memory_bytes == 40
    assert Ids(np.array([2**31])).memory_bytes == 8


def test_neighbouring_numbers_compress_to_almost_nothing() -> None:
    assert len(Ids(np.arange(10_000)).encode()) < 200
