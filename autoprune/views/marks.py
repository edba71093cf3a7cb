"""What stands beside a candidate wherever a front is shown: pick, knee, the profiles that pick it; and the colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autoprune.fronts.front import Front
from autoprune.record.point import Point

BLUE, ORANGE, GREEN, SKY, BLACK, GREY = "#0072b2", "#d55e00", "#009e73", "#56b4e9", "#000000", "#999999"
"""Of Okabe and Ito's palette, which the colour-blind tell apart; marks differ in shape as well."""


def initials(names: Iterable[str]) -> dict[str, str]:
    """The shortest beginning of each name that no other has, as capitals."""
    names, found = list(names), {}
    for one in names:
        length = 1
        while any(other != one and other[:length] == one[:length] for other in names) and length < len(one):
            length += 1
        found[one] = one[:length].upper()
    return found


def pickers(picks: Mapping[str, Point | None]) -> dict[int, list[str]]:
    """The profiles that pick a candidate, by its number.

    Args:
        picks: by profile, as `Front.picks` gives them.
    """
    found: dict[int, list[str]] = {}
    for profile, point in picks.items():
        if point is not None:
            found.setdefault(point.number, []).append(profile)
    return found


def marks(front: Front, picks: Mapping[str, Point | None], *, short: bool) -> dict[int, str]:
    """What stands beside candidates in a table, by number: `pick knee balanced`.

    Args:
        front: that is not empty.
        picks: by profile.
        short: whether profiles are told by their initials.
    """
    found: dict[int, list[str]] = {front.pick().number: ["pick"]}
    if front.knee:
        found.setdefault(front.knee.number, []).append("knee")
    letters = initials(picks)
    for number, profiles in pickers(picks).items():
        found.setdefault(number, []).extend(letters[name] if short else name for name in profiles)
    return {number: " ".join(told) for number, told in found.items()}


def ringed(front: Front) -> list[tuple[Point, str]]:
    """What a picture rings, each with its label: what profiles pick and the knee; nothing where there is one point."""
    knee = front.knee
    picked = [point for point in front.picks().values() if point] if len(front) > 1 else []
    numbered = {point.number: point for point in [*picked, *([knee] if knee else [])] if point.number}
    return [
        (point, f"{number}{' knee' if knee and number == knee.number else ''}") for number, point in numbered.items()
    ]
