"""Who is promoted to the next rung, on looks that are made up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from made_looks import BYTES, CUTS, METRIC, made_look, promises

from autoprune.recipes.space import Space
from autoprune.record.looks import Look
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.promotion import Promotion


def promotion(
    *known: Look,
    requirements: Mapping[str, Any] | None = None,
    objectives: Sequence[str] = ("quality", "size"),
    looks: Sequence[Look],
) -> Promotion:
    of_all = promises(requirements, objectives=objectives)
    of_all.add(*known, *looks)
    return Promotion(Choices(Space(CUTS), base={"dim": 16}), of_all, codes={}, recovers=0.15)


def begun(number: int, quality: float, share: float) -> Look:
    """Two of eight epochs."""
    return made_look(number, quality, share, epochs=2, of_epochs=8)


def chosen(by: Promotion, looks: Sequence[Look], count: int, *, known: Sequence[Look] = ()) -> list[int]:
    return by.promote(dict(enumerate(looks)), count, known=known)


def test_what_is_there_untrained_is_not_trained_again() -> None:
    """A cut of half costs nothing untrained; the one that lost 2 % of quality is a third as large."""
    untrained = made_look(1, 0.999, 0.5)
    looks = [begun(2, 0.998, 0.5), begun(3, 0.98, 0.17), begun(4, 0.997, 0.52)]
    by = promotion(untrained, looks=looks)
    assert chosen(by, looks, 1) == [1]


def test_those_under_way_count_as_there_until_they_end() -> None:
    looks = [begun(1, 0.98, 0.20), begun(2, 0.98, 0.201), begun(3, 0.95, 0.15)]
    by = promotion(looks=looks)
    assert chosen(by, looks[:1], 1) == [0]
    assert chosen(by, looks[1:], 1) == [1], "the twin of what is under way adds nothing"
    by.end(looks)
    assert chosen(by, looks[1:], 1) == [0], "of the two the twin adds more"


def test_twins_of_what_is_trained_in_any_case_are_not() -> None:
    looks = [begun(1, 0.98, 0.20), begun(2, 0.98, 0.201), begun(3, 0.95, 0.15)]
    by = promotion(looks=looks)
    assert chosen(by, looks[1:], 1, known=looks[:1]) == [1]


def test_floors_without_a_ratio_count() -> None:
    """The dense model has 0.4, and 0.3 are asked for: 0.85 of it are far from missing that."""
    looks = [begun(1, 0.99, 0.5), begun(2, 0.85, 0.1)]
    for requirements, first in (({METRIC: {"min": 0.3}}, 1), ({"quality": {"drop": "5%"}}, 0)):
        assert chosen(promotion(requirements=requirements, looks=looks), looks, 2)[0] == first


def test_what_will_miss_comes_last() -> None:
    looks = [begun(1, 0.78, 0.05), begun(2, 0.7, 0.01), begun(3, 0.999, 0.9)]
    assert chosen(promotion(looks=looks), looks, 3) == [2, 0, 1]


def test_those_that_may_surprise_come_before_those_that_cannot() -> None:
    """By what is likely at their ends none adds to what is there; the small one would if training brought all back."""
    untrained = [made_look(1, 0.995, 0.3), made_look(2, 0.92, 0.1)]
    looks = [begun(3, 0.98, 0.31), begun(4, 0.83, 0.1)]
    assert chosen(promotion(*untrained, looks=looks), looks, 1) == [1]


def test_a_cost_that_is_as_it_was_leaves_the_others_to_tell() -> None:
    looks = [begun(1, 0.99, 0.9), begun(2, 0.99, 0.3), begun(3, 0.99, 0.6)]
    as_fast = [dataclasses.replace(look, products=BYTES) for look in looks]
    assert chosen(promotion(objectives=("quality", "size", "latency"), looks=as_fast), as_fast, 1) == [1]


def test_quality_that_is_no_number_comes_to_nothing() -> None:
    looks = [begun(1, math.nan, 0.1), begun(2, 0.99, 0.9)]
    assert chosen(promotion(looks=looks), looks, 1) == [1]


@pytest.mark.parametrize(("quality", "hope"), [(0.90, True), (0.65, False)])
def test_hope_is_what_the_epochs_that_are_left_may_gain(quality: float, hope: bool) -> None:
    """They gained 5 % in two epochs, and may gain 15 % in six; what is known has 0.99 and is as small."""
    known, start, look = made_look(1, 0.99, 0.3), made_look(2, quality - 0.05, 0.3), begun(3, quality, 0.3)
    assert promotion(known, looks=[look]).has_hope(look, start) == hope
