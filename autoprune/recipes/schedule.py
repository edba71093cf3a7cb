"""Schedules: how much of a step's target is reached at a point of its stage; progress → fraction, both in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

Schedule = Callable[[float], float]

RAMP_END = 0.75
"""The share of a gradual stage that ramps up; during the rest the model recovers at the full target."""

STAIRS = 24
"""A ramp rises in so many stairs: masks are recomputed on each stair, not after every update."""


def one_shot(_: float) -> float:
    """The whole target at once."""
    return 1.0


def cubic(progress: float) -> float:
    """Fast at first, slow near the target (Zhu & Gupta 2017, "To prune, or not to prune")."""
    ramp = min(progress / RAMP_END, 1.0)
    stair = round(ramp * STAIRS) / STAIRS
    return float(1.0 - (1.0 - stair) ** 3)


SCHEDULES: dict[str, Schedule] = {"one_shot": one_shot, "cubic": cubic}

ITERATIVE = "iterative"
"""The schedule of rounds: each prunes an equal share of the target, retrains and is validated (Han et al. 2015)."""
