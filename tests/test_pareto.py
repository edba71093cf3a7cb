from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.fronts.pareto import SLOWEST, coordinates, hypervolume, nondominated
from autoprune.measure.reading import Reading


def beats(one: list[float], other: list[float], maximise: list[bool]) -> bool:
    gains = [(a - b) if up else (b - a) for a, b, up in zip(one, other, maximise, strict=True)]
    return all(gain >= 0 for gain in gains) and any(gain > 0 for gain in gains)


# few values, so that equal points and equal coordinates are common
@given(
    st.lists(st.lists(st.integers(0, 4).map(float), min_size=3, max_size=3), max_size=12),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_nondominated_matches_brute_force(points: list[list[float]], maximise: list[bool]) -> None:
    expected = [
        at
        for at, point in enumerate(points)
        if not any(beats(other, point, maximise) for other in points) and point not in points[:at]
    ]
    assert nondominated(points, maximise=maximise) == expected


def found(quality: float, size: float, latency: float = 1.0) -> dict[str, Reading]:
    return {
        "quality": Reading(0.3 * quality, quality),
        "size_bytes": Reading(1e6 * size, size),
        "latency_ms": Reading(7.0, latency),
    }


def test_latency_is_compared_by_its_paired_ratio() -> None:
    assert coordinates(found(0.5, 0.25, 0.8), ["latency", "quality", "size"]) == [0.8, 0.15, 250_000.0]


def test_hypervolume_matches_a_hand_computed_area() -> None:
    # gains (quality kept, log2 of size): (1, 1) and (0.5, 3) cover 1 * 1 + 0.5 * 2
    front = [found(1.0, 1 / 2), found(0.75, 1 / 8)]
    assert hypervolume(front, ["quality", "size"], floor=0.5) == pytest.approx(2.0)


def test_hypervolume_matches_a_hand_computed_box() -> None:
    # half the allowed loss used, a quarter of the size, half the time: 0.5 * 2 * 2
    front = [found(0.95, 1 / 4, 1 / 2)]
    assert hypervolume(front, ["quality", "size", "latency"], floor=0.9) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "useless",
    [found(1.0, 1.0), found(0.5, 0.1), found(0.4, 0.1), found(1.0, 0.5, SLOWEST), found(math.nan, 0.1)],
    ids=["baseline", "at the floor", "below the floor", "slow", "no quality"],
)
def test_what_gains_nothing_adds_nothing(useless: dict[str, Reading]) -> None:
    objectives = ["quality", "size", "latency"]
    front = [found(0.9, 0.5, 0.9)]
    assert hypervolume([useless], objectives, floor=0.5) == 0
    assert hypervolume([*front, useless], objectives, floor=0.5) == hypervolume(front, objectives, floor=0.5)


def test_an_empty_front_covers_nothing() -> None:
    assert nondominated([], maximise=[True, False]) == []
    assert hypervolume([], ["quality", "size"], floor=0.5) == 0
