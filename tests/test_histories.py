from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.packing.varint import from_varints
from autoprune.recommender.histories import Histories

LISTS = st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6)


def histories(lists: list[list[int]]) -> Histories:
    pairs = torch.tensor([(user, item) for user, items in enumerate(lists) for item in items], dtype=torch.long)
    return Histories.from_pairs(*pairs.reshape(-1, 2).T, count=len(lists))


def lists_of(found: Histories) -> list[list[int]]:
    return [found.of(user).tolist() for user in range(len(found))]


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=6), st.integers(1, 3))
def test_encoded_lists_come_back_sorted(lists: list[list[int]], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autoprune.recommender.histories.BLOCK", block)
        found = Histories.decode(histories(lists).encode())
    assert lists_of(found) == [sorted(items) for items in lists]
    assert found.items.dtype == np.int32


@pytest.mark.parametrize("damage", [b"\x80", b"\xff" * 9 + b"\x01"])
def test_what_is_no_number_is_refused(damage: bytes) -> None:
    assert from_varints(np.frombuffer(b"\x05\x80\x01", np.uint8)).tolist() == [5, 128]
    with pytest.raises(ValueError, match="number"):
        from_varints(np.frombuffer(damage, np.uint8))


@given(LISTS)
def test_lists_come_back_as_they_were(lists: list[list[int]]) -> None:
    found = histories(lists)
    assert lists_of(found) == lists
    assert found.counts.tolist() == [len(items) for items in lists]


def test_pairs_in_any_order_keep_the_order_within_a_user() -> None:
    found = Histories.from_pairs(torch.tensor([2, 0, 2, 0]), torch.tensor([7, 9, 1, 3]), count=4)
    assert lists_of(found) == [[9, 3], [], [7, 1], []]


@settings(deadline=None)
@given(LISTS, st.data())
def test_take_matches_a_loop_over_users(lists: list[list[int]], data: st.DataObject) -> None:
    users = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=8))
    owner, items = histories(lists).take(torch.tensor(users, dtype=torch.long))
    expected = [(place, item) for place, user in enumerate(users) for item in lists[user]]
    assert list(zip(owner.tolist(), items.tolist(), strict=True)) == expected


@settings(deadline=None)
@given(LISTS, st.data())
def test_joined_puts_the_own_items_first(lists: list[list[int]], data: st.DataObject) -> None:
    others = data.draw(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=len(lists), max_size=len(lists)))
    joined = histories(lists).joined(histories(others))
    assert lists_of(joined) == [own + other for own, other in zip(lists, others, strict=True)]
