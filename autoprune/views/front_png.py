"""The picture of a front: quality kept, against size and against latency. The one file that knows matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.pareto import nondominated
from autoprune.record.archive import TRIAL
from autoprune.record.point import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, BROWN, PURPLE, BLACK, GREY = "#0072b2", "#d55e00", "#7a3600", "#a8437c", "#000000", "#999999"
"""Of Okabe and Ito's palette, which the colour-blind tell apart; marks differ in shape as well."""

INCHES, DPI = (8.0, 4.4), 200
"""1600 pixels wide: sharp at half of that, where the smallest letters are 11 pixels high."""

PANELS = (
    ("size_bytes", "size: model bytes / baseline's (log scale)", "log"),
    ("latency_ms", "latency: ms of a request / baseline's", "linear"),
)
"""A reading, the label of its axis, and the axis' scale."""

CROWD, CROWDED = 500, (2.2, 0.4)
"""More candidates than so many have marks of another size and opacity, or they cover everything."""

SIDES: tuple[tuple[int, int, Literal["left", "right", "center"]], ...] = (
    (1, 0, "left"),
    (-1, 0, "right"),
    (0, 1, "center"),
    (0, -1, "center"),
)
"""Where a label may stand beside its mark: direction in x and y, alignment."""


def front_figure(front: Front) -> Figure:
    """Two panels: ratios of quality to the baseline against those of size (log) and of latency.

    Where a candidate was verified it stands at its values on test data, filled; otherwise at those of the search,
    hollow. The line joins the points of the front that no other one beats in the panel. Bars are the intervals of a
    re-measurement; an arrow leads from where a point of the search's front was to where verification let it fall. What
    a profile picks has a ring and, where there is room, its number; so has the knee.

    Raises:
        AutopruneError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise AutopruneError(f"a picture needs matplotlib ({error}): pip install 'autoprune[plots]'") from error
    record = front.record
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, (name, label, scale) in zip((left, right), PANELS, strict=True):
        _draw(axes, front, name)
        axes.set_xscale(scale)
        axes.margins(x=0.12)
        axes.set_xlabel(label, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(color="#e5e5e5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_formatter(_times)
    _log_ticks(left)
    left.yaxis.set_major_formatter(_times)
    left.set_ylabel(f"quality: {record.metric} / baseline's", fontsize=9)
    left.set_title("quality against size", fontsize=10)
    right.set_title("quality against latency", fontsize=10)
    below = _frame(left, front)
    if below:
        left.annotate(
            f"{below} more below", (0.98, 0.02), xycoords="axes fraction", ha="right", fontsize=7.5, color="#555555"
        )
    split = "on test data" if record.baseline.verified else "on validation data"
    fell = f", {len(front.falls)} fell" if front.falls else ""
    held = ", ".join(item.text for item in front.requirements.items) or "no requirements"
    measured = sum(not point.candidate.rejected for point in record.points)
    figure.suptitle(
        f"{record.name}: {len(front)} on the front of {measured} candidates{fell}, {split}\n{held}", fontsize=10
    )
    handles, words = left.get_legend_handles_labels()
    figure.legend(handles, words, loc="outside lower center", ncols=min(len(words), 5), fontsize=7.5, frameon=False)
    figure.draw_without_rendering()  # labels look for room, so everything else must have its place
    for axes, (name, _, _) in zip((left, right), PANELS, strict=True):
        _label(axes, front, name)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG."""
    figure.savefig(path, format="png")


def _draw(axes: Axes, front: Front, name: str) -> None:
    baseline, on_front, presets, fallen, others = _groups(front)
    axes.axhline(1, color=BLACK, linewidth=0.6, linestyle=":", zorder=1)
    axes.axvline(1, color=BLACK, linewidth=0.6, linestyle=":", zorder=1)
    line = _unbeaten([baseline, *on_front] if baseline in front.points else on_front, name)
    xs, ys = _places(line, name)
    axes.plot(xs, ys, color=BLUE, linewidth=1.4, drawstyle="steps-post", zorder=2, gid="line")
    for points, label, colour, mark, size, alpha in (
        (others, "candidates", GREY, "o", *(CROWDED if len(others) > CROWD else (4.0, 0.55))),
        (presets, "presets", ORANGE, "s", 5.5, 1.0),
        (on_front, "front", BLUE, "o", 6.0, 1.0),
        ([baseline], "baseline", BLACK, "D", 6.0, 1.0),
    ):
        for verified in (True, False):
            xs, ys = _places([point for point in points if bool(point.verified) == verified], name)
            if not xs:
                continue
            axes.plot(
                xs,
                ys,
                linestyle="none",
                marker=mark,
                markersize=size,
                alpha=alpha,
                color=colour,
                markerfacecolor=colour if verified else "white",
                label=f"{label}, {'test' if verified else 'validation'}",
                zorder=3 if points is others else 4,
            )
    _draw_falls(axes, fallen, name)
    for points, colour in ((on_front, BLUE), (presets, ORANGE), (fallen, PURPLE)):
        _draw_bars(axes, points, name, colour)
    xs, ys = _places([point for point, _ in _picked(front)], name)
    axes.plot(
        xs,
        ys,
        linestyle="none",
        marker="o",
        markersize=9.5,
        color=BLACK,
        markerfacecolor="none",
        markeredgewidth=0.7,
        label="picks and knee" if xs else "_",
        zorder=4.5,
    )


def _draw_falls(axes: Axes, fallen: Sequence[Point], name: str) -> None:
    """What fell: crossed where it came to be, hollow where it was, and an arrow between them."""
    moved = [point for point in fallen if name in point.found and name in point.verified]
    if not moved:
        return
    before = [(point.found[name].ratio, point.found["quality"].ratio) for point in moved]
    after = list(zip(*_places(moved, name), strict=True))
    for start, end in zip(before, after, strict=True):
        arrow = {"arrowstyle": "->", "color": PURPLE, "linewidth": 0.7, "alpha": 0.8, "shrinkA": 2, "shrinkB": 3}
        axes.annotate("", end, xytext=start, arrowprops=arrow, zorder=3.5)
    for places, label, mark, size in ((before, "before it fell", "o", 3.5), (after, "fell, test", "x", 5.0)):
        xs, ys = zip(*places, strict=True)
        axes.plot(
            xs,
            ys,
            linestyle="none",
            marker=mark,
            markersize=size,
            color=PURPLE,
            markerfacecolor="white",  # crosses have no face
            label=label,
            zorder=4.2,
        )


def _draw_bars(axes: Axes, points: Sequence[Point], name: str, colour: str) -> None:
    """Where a re-measurement falls in 95 cases of 100, of what was verified."""
    placed = [point for point in points if name in point.verified]
    label = "95 % of re-measurements" if colour == BLUE else "_"
    bars = (("quality", name, axes.vlines, label), (name, "quality", axes.hlines, "_"))
    for along, across, draw, label in bars:
        spans = [
            (point.verified[across].ratio, *interval)
            for point in placed
            if (interval := point.verified[along].interval)
        ]
        if spans:
            at, low, high = zip(*spans, strict=True)
            draw(at, low, high, color=colour, linewidth=0.8, alpha=0.45, zorder=3.2, label=label)


def _times(value: float, _: object) -> str:
    return f"{value:g}x"


def _log_ticks(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _groups(front: Front) -> tuple[Point, list[Point], list[Point], list[Point], list[Point]]:
    """The baseline, the rest of the front, the presets beside it, what fell, and all others that have a quality."""
    measured = [point for point in front.record.points[1:] if not point.candidate.rejected]
    chosen = {point.number for point in front}
    fell = {fall.point.number for fall in front.falls}
    on_front = [point for point in measured if point.number in chosen]
    fallen = [point for point in measured if point.number in fell]
    rest = [point for point in measured if point.number not in chosen | fell]
    presets = [point for point in rest if point.candidate.name != TRIAL]
    others = [point for point in rest if point.candidate.name == TRIAL]
    return front.record.baseline, on_front, presets, fallen, others


def _picked(front: Front) -> list[tuple[Point, str]]:
    """What the profiles pick and the knee, each with its label; nothing where there is only one to pick."""
    knee = front.knee
    picked = [point for point in front.picks().values() if point] if len(front) > 1 else []
    numbered = {point.number: point for point in [*picked, *([knee] if knee else [])] if point.number}
    return [
        (point, f"{number}{' knee' if knee and number == knee.number else ''}") for number, point in numbered.items()
    ]


def _places(points: Sequence[Point], name: str) -> tuple[list[float], list[float]]:
    # What was timed on another machine than the baseline has no place among the latencies.
    found = [point.known for point in points if name in point.known]
    return [readings[name].ratio for readings in found], [readings["quality"].ratio for readings in found]


def _unbeaten(points: Sequence[Point], name: str) -> list[Point]:
    """The points that no other one beats in quality and the reading, by the reading."""
    placed = [point for point in points if name in point.known]
    compared = list(zip(*_places(placed, name), strict=True))
    kept = [placed[at] for at in nondominated(compared, maximise=[False, True])]
    return sorted(kept, key=lambda point: point.known[name].ratio)


def _frame(axes: Axes, front: Front) -> int:
    """Cuts the quality axis where only candidates beside the front lie below it; returns how many do."""
    baseline, on_front, presets, fallen, others = _groups(front)
    named = [point.known["quality"].ratio for point in (baseline, *on_front, *presets, *fallen)]
    rest = [point.known["quality"].ratio for point in others]
    margin = 0.08 * max(0.1, max(named) - min(named))
    bars = [interval[1] for point in (*on_front, *fallen) if (interval := point.known["quality"].interval)]
    lowest, highest = min(named) - margin, max([*named, *rest, *bars]) + margin
    axes.set_ylim(lowest if any(value < lowest for value in rest) else min([*named, *rest]) - margin, highest)
    return sum(value < lowest for value in rest)


def _label(axes: Axes, front: Front, name: str) -> None:
    """Names the baseline, the presets and what is picked, each on the side that is least crowded by marks.

    A name that would cover another is left out; front.csv has them all.
    """
    from matplotlib.patheffects import withStroke

    baseline, on_front, _, fallen, others = _groups(front)
    references = [baseline, *(point for point in front.record.points[1:] if point.candidate.name != TRIAL)]
    named = [(point, point.candidate.name, BLACK if point is baseline else BROWN) for point in references]
    named += [(point, label, BLUE) for point, label in _picked(front)]
    named = [(point, words, colour) for point, words, colour in named if name in point.known]
    marks = zip(*_places([*references, *on_front, *fallen, *others], name), strict=True)
    before = [(point.found[name].ratio, point.found["quality"].ratio) for point in fallen if name in point.found]
    taken = [_pixels(axes, place) for place in [*marks, *before]]
    em = DPI / 72 * 7.5
    labels: list[tuple[float, float, float]] = []
    for point, words, colour in named:
        (x,), (y,) = _places([point], name)
        across, up = _pixels(axes, (x, y))
        half = 0.3 * em * len(words)
        middles = [(across + dx * (half + 0.6 * em), up + dy * 1.1 * em) for dx, dy, _ in SIDES]
        crowds = [
            sum(abs(at[0] - other[0]) < half + em and abs(at[1] - other[1]) < em for other in taken)
            + len(taken) * (at[0] - half < axes.bbox.x0 or at[0] + half > axes.bbox.x1)  # rather on a mark than cut off
            for at in middles
        ]
        covers = [
            any(abs(at[0] - x) < half + other and abs(at[1] - y) < 1.1 * em for x, y, other in labels) for at in middles
        ]
        best = min(range(len(SIDES)), key=lambda side: (covers[side], crowds[side]))
        if covers[best]:
            continue
        labels.append((*middles[best], half))
        dx, dy, alignment = SIDES[best]
        axes.annotate(
            words,
            (x, y),
            xytext=(dx * 5, dy * 6),
            textcoords="offset points",
            ha=alignment,
            va="center" if dx else ("bottom" if dy > 0 else "top"),
            fontsize=7.5,
            color=colour,
            path_effects=[withStroke(linewidth=1.8, foreground="white")],
            zorder=5,
        )


def _pixels(axes: Axes, place: tuple[float, float]) -> tuple[float, float]:
    across, up = axes.transData.transform(place)
    return float(across), float(up)
