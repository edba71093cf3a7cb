"""The figure with its two panels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.pareto import nondominated
from autoprune.fronts.promises import Promises
from autoprune.record.point import Point
from autoprune.views import looks
from autoprune.views.front_png.labels import label
from autoprune.views.front_png.places import Groups, groups, places
from autoprune.views.intervals import telling
from autoprune.views.marks import BLACK, BLUE, GREY, ORANGE, ringed
from autoprune.views.phrases import required

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PURPLE = "#a8437c"
"""Darker than the palette's purple, because the marks are thin."""

INCHES, DPI = (8.0, 4.4), 200
"""1600 pixels wide, to be sharp when shown at half of that; the smallest letters are then 11 pixels high."""

PANELS = (
    ("size_bytes", "size: model bytes / baseline's (log scale)", "log"),
    ("latency_ms", "latency: ms of a request / baseline's", "linear"),
)
"""The reading of each panel, the label of its axis, and the scale."""

CROWD, CROWDED = 500, (2.2, 0.4)
"""Above so many candidates, marks have this size and opacity, so that they do not cover everything."""


def front_figure(front: Front) -> Figure:
    """Two panels: ratios of quality to the baseline against ratios of size (log) and of latency.

    Verified candidates are filled, at their values on test data; others are hollow, at the search's values. The line
    joins the points of the front that no other beats in the panel. Bars are the intervals of a re-measurement. An arrow
    leads from a fallen point's search values to its verified ones. Picks and the knee have a ring and, if there is
    room, their number. Faint dots in the background are looks.

    Raises:
        AutopruneError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise AutopruneError(f"a picture needs matplotlib ({error}): pip install 'autoprune[plots]'") from error
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    drawn = groups(front)
    for axes, (name, description, scale) in zip((left, right), PANELS, strict=True):
        _draw(axes, front, drawn, name)
        _style(axes, description, scale)
    _log_ticks(left)
    left.yaxis.set_major_formatter(_times)
    left.set_ylabel(f"quality: {front.record.metric} / baseline's", fontsize=9)
    left.set_title("quality against size", fontsize=10)
    right.set_title("quality against latency", fontsize=10)
    below = _frame(left, drawn)
    if front.promises:
        _draw_looks(left, front, front.promises)
    if below:
        left.annotate(
            f"{below} more below", (0.98, 0.02), xycoords="axes fraction", ha="right", fontsize=7.5, color="#555555"
        )
    figure.suptitle(_title(front), fontsize=10)
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 5), fontsize=7.5, frameon=False)
    figure.draw_without_rendering()  # labels are placed where there is room, so everything else comes first
    for axes, (name, _, _) in zip((left, right), PANELS, strict=True):
        label(axes, front, drawn, name, em=DPI / 72 * 7.5)
    return figure


def _style(axes: Axes, description: str, scale: str) -> None:
    axes.set_xscale(scale)
    axes.margins(x=0.12)
    axes.set_xlabel(description, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(_times)


def _title(front: Front) -> str:
    record = front.record
    split = "on test data" if record.baseline.verified else "on validation data"
    fell = f", {len(front.falls)} fell" if front.falls else ""
    measured = sum(not point.candidate.rejected for point in record.points)
    counts = f"{len(front)} on the front of {measured} candidates{fell}, {split}"
    return f"{record.name}: {counts}\n{required(front)}"


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG."""
    figure.savefig(path, format="png")


def _draw(axes: Axes, front: Front, drawn: Groups, name: str) -> None:
    baseline, on_front, presets, fallen, others = drawn
    axes.axhline(1, color=BLACK, linewidth=0.6, linestyle=":", zorder=1)
    axes.axvline(1, color=BLACK, linewidth=0.6, linestyle=":", zorder=1)
    line = _unbeaten([baseline, *on_front] if baseline in front.points else on_front, name)
    xs, ys = places(line, name)
    axes.plot(xs, ys, color=BLUE, linewidth=1.4, drawstyle="steps-post", zorder=2, gid="line")
    for points, group, colour, mark, size, alpha in (
        (others, "candidates", GREY, "o", *(CROWDED if len(others) > CROWD else (4.0, 0.55))),
        (presets, "presets", ORANGE, "s", 5.5, 1.0),
        (on_front, "front", BLUE, "o", 6.0, 1.0),
        ([baseline], "baseline", BLACK, "D", 6.0, 1.0),
    ):
        for verified in (True, False):
            xs, ys = places([point for point in points if bool(point.verified) == verified], name)
            if xs:
                _mark(
                    axes, xs, ys,
                    marker=mark, markersize=size, alpha=alpha, color=colour,
                    markerfacecolor=colour if verified else "white",
                    label=f"{group}, {'test' if verified else 'validation'}",
                    zorder=3 if points is others else 4,
                )  # fmt: skip
    _draw_falls(axes, fallen, name)
    for points, colour in ((on_front, BLUE), (presets, ORANGE), (fallen, PURPLE)):
        _draw_bars(axes, points, name, colour)
    xs, ys = places([point for point, _ in ringed(front)], name)
    _mark(
        axes, xs, ys,
        marker="o", markersize=9.5, color=BLACK, markerfacecolor="none", markeredgewidth=0.7,
        label="picks and knee" if xs else "_", zorder=4.5,
    )  # fmt: skip


def _draw_looks(axes: Axes, front: Front, promises: Promises) -> None:
    """Draws looks within the range of the quality axis; a thin line joins the best."""
    lowest, _ = axes.get_ylim()
    dots = [place for place in looks.places(looks.drawn(front), promises) if place[1] >= lowest]
    best = [place for place in looks.places(looks.edge(front, promises), promises) if place[1] >= lowest]
    if best:
        xs, ys = zip(*dots, strict=True)
        _mark(axes, xs, ys, marker=".", markersize=1.5, alpha=0.3, color=GREY, zorder=1.5, label="looks, not measured")
        axes.plot(*zip(*best, strict=True), color=GREY, linewidth=0.6, drawstyle="steps-post", zorder=1.6)


def _mark(axes: Axes, xs: Sequence[float], ys: Sequence[float], **style: Any) -> None:
    """Draws marks without a line."""
    axes.plot(xs, ys, linestyle="none", **style)


def _draw_falls(axes: Axes, fallen: Sequence[Point], name: str) -> None:
    """Draws fallen points: hollow at the search's values, a cross at the verified ones, an arrow between them."""
    moved = [point for point in fallen if name in point.found and name in point.verified]
    if not moved:
        return
    before = [(point.found[name].ratio, point.found["quality"].ratio) for point in moved]
    after = list(zip(*places(moved, name), strict=True))
    for start, end in zip(before, after, strict=True):
        arrow = {"arrowstyle": "->", "color": PURPLE, "linewidth": 0.7, "alpha": 0.8, "shrinkA": 2, "shrinkB": 3}
        axes.annotate("", end, xytext=start, arrowprops=arrow, zorder=3.5)
    for ends, group, mark, size in ((before, "before it fell", "o", 3.5), (after, "fell, test", "x", 5.0)):
        xs, ys = zip(*ends, strict=True)
        style = {"marker": mark, "markersize": size, "markerfacecolor": "white"}  # crosses cannot be filled
        _mark(axes, xs, ys, color=PURPLE, label=group, zorder=4.2, **style)


def _draw_bars(axes: Axes, points: Sequence[Point], name: str, colour: str) -> None:
    """Draws the 95 % intervals of verified points."""
    placed = [point for point in points if name in point.verified]
    legend = "95 % of re-measurements" if colour == BLUE else "_"
    bars = (("quality", name, axes.vlines, legend), (name, "quality", axes.hlines, "_"))
    for along, across, draw, group in bars:
        spans = [
            (point.verified[across].ratio, *interval)
            for point in placed
            if (interval := telling(point.verified[along]))
        ]
        if spans:
            at, low, high = zip(*spans, strict=True)
            draw(at, low, high, color=colour, linewidth=0.8, alpha=0.45, zorder=3.2, label=group)


def _times(value: float, _: object) -> str:
    return f"{value:g}x"


def _log_ticks(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _unbeaten(points: Sequence[Point], name: str) -> list[Point]:
    """The points that no other beats in quality and the reading, sorted by the reading."""
    placed = [point for point in points if name in point.known]
    compared = list(zip(*places(placed, name), strict=True))
    kept = [placed[at] for at in nondominated(compared, maximise=[False, True])]
    return sorted(kept, key=lambda point: point.known[name].ratio)


def _frame(axes: Axes, drawn: Groups) -> int:
    """Cuts off candidates far below the front from the quality axis; returns how many."""
    baseline, on_front, presets, fallen, others = drawn
    named = [point.known["quality"].ratio for point in (baseline, *on_front, *presets, *fallen)]
    rest = [point.known["quality"].ratio for point in others]
    margin = 0.08 * max(0.1, max(named) - min(named))
    bars = [interval[1] for point in (*on_front, *fallen) if (interval := telling(point.known["quality"]))]
    lowest, highest = min(named) - margin, max([*named, *rest, *bars]) + margin
    axes.set_ylim(lowest if any(value < lowest for value in rest) else min([*named, *rest]) - margin, highest)
    return sum(value < lowest for value in rest)
