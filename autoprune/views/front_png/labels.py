"""Labels next to the marks, where there is room for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from autoprune.fronts.front import Front
from autoprune.record.archive import TRIAL
from autoprune.views.front_png.places import Groups, places
from autoprune.views.marks import BLACK, BLUE, ringed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BROWN = "#7a3600"
"""A dark orange, for text."""

SIDES: tuple[tuple[int, int, Literal["left", "right", "center"]], ...] = (
    (1, 0, "left"),
    (-1, 0, "right"),
    (0, 1, "center"),
    (0, -1, "center"),
)
"""The possible sides of a label: direction in x and y, alignment."""


Place = tuple[float, float]


def label(axes: Axes, front: Front, drawn: Groups, name: str, *, em: float) -> None:
    """Labels the baseline, the presets and the picks, each on the side that is least crowded by marks.

    A label that would cover another is left out; front.csv has all names.

    Args:
        axes: the panel, on which everything else is drawn.
        drawn: the candidates on it.
        name: the panel's reading.
        em: height of the letters, in pixels.
    """
    references = [drawn.baseline, *(one for one in front.record.points if one.number and one.candidate.name != TRIAL)]
    named = [(one, one.candidate.name, BLACK if one is drawn.baseline else BROWN) for one in references]
    named += [(point, text, BLUE) for point, text in ringed(front)]
    marks = zip(*places([*references, *drawn.on_front, *drawn.fallen, *drawn.others], name), strict=True)
    before = [(one.found[name].ratio, one.found["quality"].ratio) for one in drawn.fallen if name in one.found]
    taken = [_pixels(axes, place) for place in [*marks, *before]]
    labels: list[tuple[float, float, float]] = []
    for point, text, colour in named:
        for x, y in zip(*places([point], name), strict=True):
            half = 0.3 * em * len(text)
            side = _free_side(axes, _pixels(axes, (x, y)), half, em, taken=taken, labels=labels)
            if side is not None:
                _write(axes, text, (x, y), colour, side)


def _free_side(
    axes: Axes, mark: Place, half: float, em: float, *, taken: list[Place], labels: list[tuple[float, float, float]]
) -> int | None:
    """The least crowded side of a mark for a label; None if it would cover another label on every side.

    Args:
        mark: position in pixels.
        half: half of the label's width.
        taken: positions of all marks.
        labels: centres and half widths of the labels so far; the new one is added.
    """
    middles = [(mark[0] + dx * (half + 0.6 * em), mark[1] + dy * 1.1 * em) for dx, dy, _ in SIDES]
    crowds = [
        sum(abs(at[0] - other[0]) < half + em and abs(at[1] - other[1]) < em for other in taken)
        + len(taken) * (at[0] - half < axes.bbox.x0 or at[0] + half > axes.bbox.x1)  # rather cover a mark
        for at in middles
    ]
    covers = [
        any(abs(at[0] - x) < half + other and abs(at[1] - y) < 1.1 * em for x, y, other in labels) for at in middles
    ]
    best = min(range(len(SIDES)), key=lambda side: (covers[side], crowds[side]))
    if covers[best]:
        return None
    labels.append((*middles[best], half))
    return best


def _write(axes: Axes, text: str, place: Place, colour: str, side: int) -> None:
    from matplotlib.patheffects import withStroke

    dx, dy, alignment = SIDES[side]
    axes.annotate(
        text,
        place,
        xytext=(dx * 5, dy * 6),
        textcoords="offset points",
        ha=alignment,
        va="center" if dx else ("bottom" if dy > 0 else "top"),
        fontsize=7.5,
        color=colour,
        path_effects=[withStroke(linewidth=1.8, foreground="white")],
        zorder=5,
    )


def _pixels(axes: Axes, place: Place) -> Place:
    across, up = axes.transData.transform(place)
    return float(across), float(up)
