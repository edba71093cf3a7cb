from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.recipes.schedule import RAMP_END, SCHEDULES, STAIRS, Schedule, cubic, one_shot

PROGRESS = st.floats(0, 1)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_every_schedule_reaches_its_target_and_never_turns_back(schedule: Schedule) -> None:
    values = [schedule(at / 1000) for at in range(1001)]
    assert all(0 <= value <= 1 for value in values)
    assert values == sorted(values)
    assert {schedule(at) for at in (RAMP_END, 0.9, 1.0)} == {1.0}


@given(PROGRESS)
def test_cubic_matches_zhu_and_gupta_within_a_stair(progress: float) -> None:
    exact = 1 - (1 - min(progress / RAMP_END, 1)) ** 3
    steepest = 3 / STAIRS / 2  # half a stair where the curve is steepest
    assert abs(cubic(progress) - exact) <= steepest


def test_cubic_starts_at_nothing_and_moves_in_stairs() -> None:
    assert cubic(0.0) == 0.0
    assert len({cubic(at / 5000) for at in range(5001)}) == STAIRS + 1


@given(PROGRESS)
def test_one_shot_is_the_whole_target(progress: float) -> None:
    assert one_shot(progress) == 1.0
