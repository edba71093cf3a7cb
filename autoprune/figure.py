"""The picture of a front: quality kept, against size and against latency. The one file that knows matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autoprune.archive import TRIAL
from autoprune.errors import AutopruneError
from autoprune.measurement import Reading
from autoprune.pareto import nondominated
from autoprune.record import Front, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, BROWN, BLACK, GREY = "#0072b2", "#d55e00", "#7a3600", "#000000", "#999999"
"""Of Okabe and Ito's palette, which the colour-blind tell apart; marks differ in shape as well."""

INCHES, DPI = (8.0, 4.4), 200
"""1600 pixels wide: sharp at half of that, where the smallest letters are 11 pixels high."""

PANELS = (
    ("size_bytes", "size: model bytes / baseline's (log scale)", "log"),
    ("latency_ms", "latency: ms of a request / baseline's", "linear"),
)
"""A reading, the label of its axis, and the axis' scale."""

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
    hollow. The line joins the points of the front that no other one beats in the panel.

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
        left.annotate(f"{below} more below", (0.02, 0.02), xycoords="axes fraction", fontsize=7.5, color="#555555")
    split = "on test data" if record.baseline.verified else "on validation data"
    held = ", ".join(item.text for item in front.requirements.items) or "no requirements"
    measured = sum(not point.candidate.rejected for point in record.points)
    figure.suptitle(f"{record.name}: {len(front)} on the front of {measured} candidates, {split}\n{held}", fontsize=10)
    handles, words = left.get_legend_handles_labels()
    figure.legend(handles, words, loc="outside lower center", ncols=min(len(words), 4), fontsize=8, frameon=False)
    figure.draw_without_rendering()  # labels look for room, so everything else must have its place
    for axes, (name, _, _) in zip((left, right), PANELS, strict=True):
        _label(axes, front, name)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG."""
    figure.savefig(path, format="png")


def shown(point: Point) -> dict[str, Reading]:
    """The readings a point is drawn at: those on test data if it was verified."""
    return point.verified or point.found


def _draw(axes: Axes, front: Front, name: str) -> None:
    baseline, on_front, presets, others = _groups(front)
    axes.axhline(1, color=BLACK, linewidth=0.6, linestyle=":", zorder=1)
    axes.axvline(1, color=BLACK, linewidth=0.6, linestyle=":", zorder=1)
    line = _unbeaten([baseline, *on_front] if baseline in front.points else on_front, name)
    xs, ys = _places(line, name)
    axes.plot(xs, ys, color=BLUE, linewidth=1.4, drawstyle="steps-post", zorder=2, gid="line")
    for points, label, colour, mark, size, alpha in (
        (others, "candidates", GREY, "o", 4.0, 0.55),
        (presets, "presets", ORANGE, "s", 5.5, 1.0),
        (on_front, "front", BLUE, "o", 6.0, 1.0),
        ([baseline], "baseline", BLACK, "D", 6.0, 1.0),
    ):
        for verified in (True, False):
            kept = [point for point in points if bool(point.verified) == verified]
            if not kept:
                continue
            xs, ys = _places(kept, name)
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


def _times(value: float, _: object) -> str:
    return f"{value:g}x"


def _log_ticks(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 1000 else (1.0,)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _groups(front: Front) -> tuple[Point, list[Point], list[Point], list[Point]]:
    """The baseline, the rest of the front, the presets beside it, and all others that have a quality."""
    measured = [point for point in front.record.points[1:] if not point.candidate.rejected]
    chosen = {point.candidate.number for point in front}
    on_front = [point for point in measured if point.candidate.number in chosen]
    rest = [point for point in measured if point.candidate.number not in chosen]
    presets = [point for point in rest if point.candidate.name != TRIAL]
    return front.record.baseline, on_front, presets, [point for point in rest if point.candidate.name == TRIAL]


def _places(points: Sequence[Point], name: str) -> tuple[list[float], list[float]]:
    found = [shown(point) for point in points]
    return [readings[name].ratio for readings in found], [readings["quality"].ratio for readings in found]


def _unbeaten(points: Sequence[Point], name: str) -> list[Point]:
    """The points that no other one beats in quality and the reading, by the reading."""
    compared = list(zip(*_places(points, name), strict=True))
    kept = [points[at] for at in nondominated(compared, maximise=[False, True])]
    return sorted(kept, key=lambda point: shown(point)[name].ratio)


def _frame(axes: Axes, front: Front) -> int:
    """Cuts the quality axis where only candidates beside the front lie below it; returns how many do."""
    baseline, on_front, presets, others = _groups(front)
    named = [shown(point)["quality"].ratio for point in (baseline, *on_front, *presets)]
    rest = [shown(point)["quality"].ratio for point in others]
    margin = 0.08 * max(0.1, max(named) - min(named))
    lowest, highest = min(named) - margin, max([*named, *rest]) + margin
    axes.set_ylim(lowest if any(value < lowest for value in rest) else min([*named, *rest]) - margin, highest)
    return sum(value < lowest for value in rest)


def _label(axes: Axes, front: Front, name: str) -> None:
    """Names the baseline and the presets, each on the side that is least crowded by marks.

    A name that would cover another is left out; front.csv has them all.
    """
    baseline, on_front, _, others = _groups(front)
    named = [baseline, *(point for point in front.record.points[1:] if point.candidate.name != TRIAL)]
    marks = zip(*_places([*named, *on_front, *others], name), strict=True)
    taken = [_pixels(axes, place) for place in marks]
    em = DPI / 72 * 7.5
    labels: list[tuple[float, float, float]] = []
    for point in named:
        (x,), (y,) = _places([point], name)
        across, up = _pixels(axes, (x, y))
        half = 0.3 * em * len(point.candidate.name)
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
            point.candidate.name,
            (x, y),
            xytext=(dx * 5, dy * 6),
            textcoords="offset points",
            ha=alignment,
            va="center" if dx else ("bottom" if dy > 0 else "top"),
            fontsize=7.5,
            color=BLACK if point is baseline else BROWN,
            zorder=5,
        )


def _pixels(axes: Axes, place: tuple[float, float]) -> tuple[float, float]:
    across, up = axes.transData.transform(place)
    return float(across), float(up)
