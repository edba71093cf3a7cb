"""What cannot be told apart: a compact letter display of paired comparisons (Piepho 2004)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoprune.record.point import Point

APART = 1.96
"""Standard errors of a paired difference beyond which two candidates are told apart: 95 %."""

Matrix = np.ndarray[tuple[int, int], np.dtype[np.bool_]]


def apart(points: Sequence[Point]) -> Matrix:
    """Which pairs differ in quality by more than chance, by their paired bootstrap: [points, points].

    Args:
        points: verified ones; of one without draws nothing is known, and it is told apart from all.
    """
    found = np.ones((len(points), len(points)), dtype=bool)
    known = [at for at, point in enumerate(points) if point.draws]
    if known:
        values = np.array([points[at].verified["quality"].ratio for at in known])
        shared = np.atleast_2d(np.cov(np.array([points[at].draws for at in known])))
        own = np.diag(shared)
        spread = np.sqrt(np.maximum(0.0, own[:, None] + own[None, :] - 2 * shared))
        found[np.ix_(known, known)] = np.abs(values[:, None] - values[None, :]) > APART * spread
    return found


def letters(points: Sequence[Point]) -> dict[int, str]:
    """Letters by number: points share one if and only if they cannot be told apart.

    Args:
        points: verified ones, best first; letters follow this order.
    """
    differ = apart(points)
    groups = [frozenset(range(len(points)))] if points else []
    for one in range(len(points)):
        for other in range(one + 1, len(points)):
            if differ[one, other]:
                groups = _absorb([smaller for group in groups for smaller in _without(group, one, other)])
    groups = _sweep(groups)
    found = {point.number: "" for point in points}
    for place, group in enumerate(sorted(groups, key=sorted)):
        for at in sorted(group):
            found[points[at].number] += _letter(place)
    return found


def _without(group: frozenset[int], one: int, other: int) -> list[frozenset[int]]:
    return [group - {one}, group - {other}] if {one, other} <= group else [group]


def _absorb(groups: list[frozenset[int]]) -> list[frozenset[int]]:
    """The groups that no other one contains."""
    distinct = list(dict.fromkeys(groups))
    return [group for group in distinct if not any(group < other for other in distinct)]


def _sweep(groups: list[frozenset[int]]) -> list[frozenset[int]]:
    """The same pairs in fewer letters: nobody stays in a group whose others they all share another one with."""
    for place in range(len(groups)):
        for member in sorted(groups[place], reverse=True):
            others = groups[:place] + groups[place + 1 :]
            homes = [group for group in others if member in group]
            if homes and all(any(mate in home for home in homes) for mate in groups[place] - {member}):
                groups = [*groups[:place], groups[place] - {member}, *groups[place + 1 :]]
    return _absorb([group for group in groups if group])


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else _letter(number // 26 - 1) + chr(ord("a") + number % 26)
