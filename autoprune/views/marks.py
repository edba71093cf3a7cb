"""The marks of candidates wherever a front is shown (pick, knee, the profiles that pick it), and the colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autoprune.fronts.front import Front
from autoprune.record.point import Point

BLUE, ORANGE, GREEN, SKY, BLACK, GREY = "#0072b2", "#d55e00", "#009e73", "#56b4e9", "#000000", "#999999"
"""Colours of Okabe and Ito's palette, which is safe for colour-blind readers; marks also differ in shape."""


def initials(names: Iterable[str]) -> dict[str, str]:
    """The shortest unique beginning of each name, in capitals."""
    names, beginnings = list(names), {}
    for one in names:
        length = 1
        while any(other != one and other[:length] == one[:length] for other in names) and length < len(one):
            length += 1
        beginnings[one] = one[:length].upper()
    return beginnings


def pickers(picks: Mapping[str, Point | None]) -> dict[int, list[str]]:
    """The profiles that pick a candidate, by its number.

    Args:
        picks: the pick of each profile, as `Front.picks` returns them.
    """
    profiles: dict[int, list[str]] = {}
    for profile, point in picks.items():
        if point is not None:
            profiles.setdefault(point.number, []).append(profile)
    return profiles


def marks(front: Front, picks: Mapping[str, Point | None], *, short: bool) -> dict[int, str]:
    """The marks of candidates in a table, by number: `pick knee balanced`.

    Args:
        front: a front that is not empty.
        picks: the pick of each profile.
        short: whether profiles are shown by their initials.
    """
    labels: dict[int, list[str]] = {front.pick().number: ["pick"]}
    if front.knee:
        labels.setdefault(front.knee.number, []).append("knee")
    letters = initials(picks)
    for number, profiles in pickers(picks).items():
        labels.setdefault(number, []).extend(letters[name] if short else name for name in profiles)
    return {number: " ".join(texts) for number, texts in labels.items()}


def ringed(front: Front) -> list[tuple[Point, str]]:
    """The points that a plot rings, with their labels: the picks and the knee; none if the front has one point."""
    knee = front.knee
    picked = [point for point in front.picks().values() if point] if len(front) > 1 else []
    numbered = {point.number: point for point in [*picked, *([knee] if knee else [])] if point.number}
    return [
        (point, f"{number}{' knee' if knee and number == knee.number else ''}") for number, point in numbered.items()
    ]
