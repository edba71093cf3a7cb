"""Which points cannot be told apart: a compact letter display of paired comparisons (Piepho 2004)."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from autoprune.record.point import Point

APART = 1.96
"""Standard errors of a paired difference beyond which two candidates are told apart: 95 %."""

LETTERS = string.ascii_lowercase + "".join(char for char in map(chr, range(ord("α"), 0x2000)) if char.islower())
"""Latin, then Greek, then others. Every group has one character: pairs of characters would look like two groups."""

Matrix = np.ndarray[tuple[int, int], np.dtype[np.bool_]]

Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]


def apart(points: Sequence[Point]) -> Matrix:
    """Which pairs differ in quality by more than chance, by their paired bootstrap: [points, points].

    If few units differ from the baseline's, the bootstrap varies too little. The error of each point is widened for
    that. The spread of a pair is widened by the larger of its two points' factors.

    Args:
        points: verified points; one without draws counts as different from all others.
    """
    differ = np.ones((len(points), len(points)), dtype=bool)
    drawn = [at for at, point in enumerate(points) if point.draws]
    if drawn:
        quality = [points[at].verified["quality"] for at in drawn]
        values, errors = (
            np.array(column) for column in zip(*((reading.ratio, reading.error) for reading in quality), strict=True)
        )
        covariance = np.atleast_2d(np.cov(np.array([points[at].draws for at in drawn])))
        variance = np.diag(covariance)
        spread = np.sqrt(np.maximum(0.0, variance[:, None] + variance[None, :] - 2 * covariance))
        widening = np.fmax(1.0, np.divide(errors, np.sqrt(variance), out=np.ones_like(variance), where=variance > 0))
        # Draws have five digits and do not show a difference in the sixth, but its error is known.
        least = np.where(variance > 0, 0.0, np.nan_to_num(errors))
        spread = np.maximum(spread * _pairwise_max(widening), _pairwise_max(least))
        differ[np.ix_(drawn, drawn)] = np.abs(values[:, None] - values[None, :]) > APART * spread
    return differ


def _pairwise_max(values: Numbers) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The larger value of each pair: [n, n]."""
    larger: np.ndarray[tuple[int, int], np.dtype[np.float64]] = np.maximum(values[:, None], values[None, :])
    return larger


def letters(points: Sequence[Point]) -> dict[int, str]:
    """The letters of each point, by number: two points share a letter if and only if they cannot be told apart.

    Args:
        points: verified points, best first; letters follow this order.
    """
    differ = apart(points)
    groups = [frozenset(range(len(points)))] if points else []
    for first in range(len(points)):
        for second in range(first + 1, len(points)):
            if differ[first, second]:
                groups = _absorb([part for group in groups for part in _separate(group, first, second)])
    groups = _sweep(groups)
    by_number = {point.number: "" for point in points}
    for place, group in enumerate(sorted(groups, key=sorted)):
        for at in sorted(group):
            by_number[points[at].number] += LETTERS[place]
    return by_number


def _separate(group: frozenset[int], first: int, second: int) -> list[frozenset[int]]:
    """A group split in two, so that neither holds both members."""
    return [group - {first}, group - {second}] if {first, second} <= group else [group]


def _absorb(groups: list[frozenset[int]]) -> list[frozenset[int]]:
    """The groups that are not part of another."""
    distinct = list(dict.fromkeys(groups))
    return [group for group in distinct if not any(group < other for other in distinct)]


def _sweep(groups: list[frozenset[int]]) -> list[frozenset[int]]:
    """The same pairs in fewer letters: a member leaves a group if it shares other groups with all other members."""
    for place in range(len(groups)):
        for member in sorted(groups[place], reverse=True):
            others = groups[:place] + groups[place + 1 :]
            homes = [group for group in others if member in group]
            if homes and all(any(mate in home for home in homes) for mate in groups[place] - {member}):
                groups = [*groups[:place], groups[place] - {member}, *groups[place + 1 :]]
    return _absorb([group for group in groups if group])
