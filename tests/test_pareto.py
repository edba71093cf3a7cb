from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.fronts.pareto import (
    SLOWEST,
    adding_most,
    beats,
    comparison,
    coordinates,
    front_of,
    hypervolume,
    nondominated,
)
from autoprune.measure.reading import Reading


def dominates(one: list[float], other: list[float], maximise: list[bool]) -> bool:
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
        if not any(dominates(other, point, maximise) for other in points) and point not in points[:at]
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


OBJECTIVES = ["quality", "size", "latency"]


def known(
    quality: float, error: float = math.nan, *, size: float = 0.5, latency: float = 1.0, spread: float = math.nan
) -> dict[str, Reading]:
    """Readings whose quality has a standard error, and whose latency was timed in five processes; nan: not known."""
    return {
        "quality": Reading(quality, quality, error=error, repeat=2**0.5 * error),
        "size_bytes": Reading(size, size, error=0.0),
        "latency_ms": Reading(latency, latency, error=spread, repeat=2 * spread, freedom=4),
    }


@pytest.mark.parametrize(
    ("one", "other", "falls"),
    [
        # int8 at 1.004x ±0.014 beside 1.011x ±0.093, which is smaller
        pytest.param(known(1.011, 0.0336, size=0.2), known(1.004, 0.0051, size=0.25), False, id="looks better, unsure"),
        pytest.param(known(1.011, 0.004, size=0.2), known(1.004, 0.0051, size=0.25), True, id="better and surer"),
        pytest.param(known(1.004, 0.005), known(1.004, 0.006), True, id="surer alone"),
        pytest.param(known(1.004, 0.006), known(1.004, 0.005), False, id="less sure alone"),
        pytest.param(known(1.2, 0.15), known(1.0, 0.0), False, id="the dense model, which is certain"),
        pytest.param(known(1.02, 0.01), known(1.0, 0.0), True, id="better than the dense model for sure"),
        pytest.param(known(1.0), known(0.99), True, id="of neither anything is known"),
        pytest.param(known(1.0), known(0.99, 0.02), False, id="what nobody knows beats nothing known"),
        pytest.param(known(1.0, 0.02), known(0.99), True, id="what is known beats what nobody knows"),
        pytest.param(
            known(1, 0.0, latency=0.09, spread=1300), known(1, 0.0, latency=0.25, spread=0.01), False, id="wild timing"
        ),
        pytest.param(
            known(1, 0.0, latency=0.09, spread=0.01), known(1, 0.0, latency=0.25, spread=0.01), True, id="sure timing"
        ),
    ],
)
def test_what_is_surer_falls_to_nothing_that_merely_looks_better(
    one: dict[str, Reading], other: dict[str, Reading], falls: bool
) -> None:
    assert beats(one, other, OBJECTIVES) == falls
    assert (1 not in front_of([one, other], OBJECTIVES)) == falls


errors = st.sampled_from([0.0, 0.01, 0.02, math.nan])
read = st.builds(
    known,
    st.sampled_from([0.97, 0.98, 1.0]),
    errors,
    size=st.sampled_from([0.2, 0.5]),
    latency=st.sampled_from([0.9, 1.0]),
    spread=errors,
)


@given(st.lists(read, min_size=3, max_size=8))
def test_who_beats_whom_is_transitive_and_the_front_is_what_nobody_beats(some: list[dict[str, Reading]]) -> None:
    one, other, third = some[:3]
    if beats(one, other, OBJECTIVES) and beats(other, third, OBJECTIVES):
        assert beats(one, third, OBJECTIVES)
    assert not beats(one, one, OBJECTIVES)
    unbeaten = [point for point in some if not any(beats(rival, point, OBJECTIVES) for rival in some)]
    kept = [comparison(some[at], OBJECTIVES) for at in front_of(some, OBJECTIVES)]
    assert sorted(kept) == sorted(map(list, {tuple(comparison(point, OBJECTIVES)) for point in unbeaten}))


@pytest.mark.parametrize("seed", range(5))
def test_each_chosen_adds_most_to_those_before(seed: int) -> None:
    """By trying them all, with a hypervolume of its own: the union of boxes, counted cell by cell."""
    draw = np.random.default_rng(seed)
    points, beside = draw.integers(-2, 8, size=(12, 3)), draw.integers(0, 5, size=(4, 3))
    chosen = adding_most(points.tolist(), 5, beside=beside.tolist())
    assert len(set(chosen)) == len(chosen) <= 5

    def cells(boxes: list[np.ndarray]) -> int:
        at = np.indices((8, 8, 8)).reshape(3, -1).T
        return int(np.any([(at < box).all(axis=1) for box in boxes], axis=0).sum())

    there = list(beside)
    for one in chosen:
        added = [cells([*there, point]) for point in points]
        assert added[one] == max(added) > cells(there)
        there.append(points[one])
    if len(chosen) < 5:
        assert max(cells([*there, point]) for point in points) == cells(there), "none adds anything"


def test_what_adds_nothing_is_not_chosen() -> None:
    assert adding_most([[1.0, 1.0], [2.0, 2.0]], 2, beside=[[2.0, 2.0]]) == []
    assert adding_most([], 3, beside=[[1.0, 1.0]]) == []
    assert adding_most([[1.0, 0.0], [1.0, 1.0], [0.5, 2.0]], 3, beside=[]) == [1, 2]
