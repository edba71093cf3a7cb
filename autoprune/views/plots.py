"""Plots of a front that can be pointed at, for the report and for notebooks. The one file that knows plotly.

    from autoprune import open_study, plots
    front = open_study("demo").front()
    plots.tradeoff(front, "size_bytes").show()      # also "latency_ms", "latency_ms.batch"
    plots.progress(front), plots.mattered(front), plots.slice_map(front)

Each returns a `plotly.graph_objects.Figure`. Where a candidate was verified it is drawn filled, at its values on test
data; otherwise hollow, at those of the search on validation data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.pareto import beats, hypervolume, nondominated
from autoprune.measure.measurement import WHOLE
from autoprune.measure.reading import Reading, reading_name
from autoprune.record.archive import TRIAL
from autoprune.record.point import Point
from autoprune.views.effects import importance

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BLUE, ORANGE, PURPLE, GREEN, SKY, BLACK, GREY = (
    "#0072b2",
    "#d55e00",
    "#cc79a7",
    "#009e73",
    "#56b4e9",
    "#000000",
    "#999999",
)
"""Of Okabe and Ito's palette, which the colour-blind tell apart; marks differ in shape as well."""

LAYERS: dict[str, tuple[str, str, int, float, str]] = {
    "rejected": ("line-ns", GREY, 9, 0.9, "rejected early (not measured whole)"),
    "infeasible": ("x-thin", GREY, 6, 0.75, "infeasible"),
    "feasible": ("circle", SKY, 6, 0.8, "feasible, beaten"),
    "presets": ("square", ORANGE, 9, 1.0, "presets"),
    "fell": ("triangle-down", PURPLE, 11, 1.0, "fell when verified"),
    "front": ("circle", BLUE, 10, 1.0, "front"),
    "baseline": ("diamond", BLACK, 12, 1.0, "baseline"),
}
"""Layer → (mark, colour, size in pixels, opacity, what it holds), from the one at the back to the one in front.

A candidate is in one of them: a preset on the front is in `front`, one beside it in `presets`."""

FINALISTS = 40
"""Rows of the heat map at most; a longer front is thinned."""

DEEP = 0.3
"""A slice that lost or won this share of the baseline has the deepest colour of the heat map."""


def tradeoff(front: Front, cost: str = "size_bytes") -> Figure:
    """Quality against a cost, both as ratios to the baseline; bars are 95 % intervals of a re-measurement.

    What fell stands where the verification found it, with a line from where the search had seen it. Rejected
    candidates were not measured whole: they are ticks in a strip of their own below the plot.

    Args:
        cost: `size_bytes`, `latency_ms` or `latency_ms.WORKLOAD`.

    Raises:
        AutopruneError: plotly is not installed, or nothing called `cost` was measured.
    """
    go = _plotly()
    if cost not in front.record.baseline.found:
        known = ", ".join(name for name in front.record.names if name.split(".")[0] in ("size_bytes", "latency_ms"))
        raise AutopruneError(f"nothing called {cost!r} is measured as a cost; there are {known}.")
    members = layers(front)
    figure = go.Figure(layout=_layout(f"quality against {_label(cost)}"))
    places: list[tuple[float, float]] = []
    for layer, (mark, colour, pixels, opacity, words) in LAYERS.items():
        points = [point for point in members[layer] if _at(point, cost) is not None]
        rug = layer == "rejected"
        if layer in ("fell", "front"):
            line = _falls(points, cost) if layer == "fell" else _steps(front, points, cost)
            style = {"color": colour, "width": 2 if layer == "front" else 1.2}
            style |= {"shape": "hv"} if layer == "front" else {"dash": "dot"}
            figure.add_scatter(
                x=[x for x, _ in line], y=[y for _, y in line], mode="lines", line=style, hoverinfo="skip",
                showlegend=False, legendgroup=layer, meta={"layer": layer, "part": "line"},
            )  # fmt: skip
        xs = [_ratio(point, cost) for point in points]
        ys = [0.0 if rug else _ratio(point, "quality") for point in points]
        places += [] if rug else zip(xs, ys, strict=True)
        hollow = not rug and mark != "x-thin"
        figure.add_scatter(
            x=xs, y=ys, mode="markers", name=words, legendgroup=layer, opacity=opacity,
            yaxis="y2" if rug else "y", customdata=[point.number for point in points],
            text=[_hover(point, cost) for point in points], hovertemplate="%{text}<extra></extra>",
            marker={
                "symbol": [mark if point.verified or not hollow else f"{mark}-open" for point in points],
                "color": colour, "size": pixels, "line": {"width": 1.6, "color": colour},
            },
            error_x=_bars(points, cost), error_y=_bars([] if rug else points, "quality"),
            meta={"layer": layer, "part": "points", "mark": mark, "hollow": hollow},
        )  # fmt: skip
    figure.update_layout(
        xaxis=_axis(f"{_label(cost)}, ratio to the baseline", [x for x, _ in places], log=cost == "size_bytes"),
        yaxis={
            "title": {"text": f"quality ({escape(front.record.metric)}), ratio"},
            "ticksuffix": "x",
            "domain": [0.09 if members["rejected"] else 0.0, 1],
            "zeroline": False,
            "range": _frame(members),
        },
        yaxis2={"domain": [0, 0.06], "range": [-1, 1], "visible": False, "fixedrange": True},
    )
    for axis in ("v", "h"):
        getattr(figure, f"add_{axis}line")(1, line={"width": 1, "dash": "dot", "color": GREY})
    return figure


def progress(front: Front) -> Figure:
    """Hypervolume of the front over the number of candidates, by the search's measurements.

    `customdata` are the seconds of work after which each candidate was there.

    Raises:
        AutopruneError: plotly is not installed.
    """
    go = _plotly()
    grown = growth(front)
    figure = go.Figure(layout=_layout("hypervolume of the front, as the search went on"))
    figure.add_scatter(
        x=[count for count, _, _ in grown],
        y=[volume for _, _, volume in grown],
        customdata=[seconds for _, seconds, _ in grown],
        mode="lines",
        line={"color": BLUE, "width": 2, "shape": "hv"},
        hovertemplate="%{y:.3f} after %{x} candidates, %{customdata:.0f} s of work<extra></extra>",
        showlegend=False,
    )
    figure.update_layout(
        xaxis={"title": {"text": "candidates"}, "rangemode": "tozero"},
        yaxis={"title": {"text": "hypervolume (validation)"}, "rangemode": "tozero"},
    )
    return figure


def mattered(front: Front, most: int = 12) -> Figure:
    """Which parameters of the recipe explain quality, size and latency; see `autoprune.views.effects`.

    Args:
        most: parameters shown: those that explain most of anything.

    Raises:
        AutopruneError: plotly is not installed.
    """
    go = _plotly()
    shares = importance(front.record)
    names = dict.fromkeys(name for by_name in shares.values() for name in by_name)
    ranked = sorted(names, key=lambda name: -max(by_name.get(name, 0.0) for by_name in shares.values()))[:most]
    figure = go.Figure(layout=_layout("what mattered: share of the variance explained by each parameter alone"))
    for objective, colour, pattern in (("quality", BLUE, ""), ("size", ORANGE, "/"), ("latency", GREEN, ".")):
        if objective in shares:
            figure.add_bar(
                x=[shares[objective].get(name, 0.0) for name in reversed(ranked)],
                y=[escape(name) for name in reversed(ranked)],
                orientation="h",
                name=objective,
                marker={"color": colour, "pattern": {"shape": pattern}},
                hovertemplate=f"%{{y}}: %{{x:.1%}} of the variance of {objective}<extra></extra>",
            )
    figure.update_layout(
        barmode="group",
        height=140 + 46 * len(ranked),
        xaxis={"title": {"text": "epsilon squared"}, "tickformat": ".0%", "rangemode": "tozero"},
        yaxis={"automargin": True},
        legend={"traceorder": "reversed", "orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    return figure


def slice_map(front: Front) -> Figure:
    """Every slice of the finalists against the baseline's: vermilion lost, blue won, white as before.

    Raises:
        AutopruneError: plotly is not installed.
    """
    go = _plotly()
    record = front.record
    fallen = [fall.point for fall in front.falls]
    presets = [point for point in front.finalists if point.candidate.name != TRIAL]
    kept = {point.number: point for point in [*front.thinned(FINALISTS), *presets, *fallen[:FINALISTS]]}
    points = [point for point in sorted(kept.values(), key=lambda one: -_ratio(one, "quality")) if _scored(point)]
    parts = [WHOLE, *slices(front)]
    values = [[_or_none(_reading(point, reading_name(record.metric, part))) for part in parts] for point in points]
    figure = go.Figure(layout=_layout(f"{escape(record.metric)} of the finalists by slice, ratio to the baseline"))
    figure.add_heatmap(
        z=values,
        x=[escape(part) for part in parts],
        y=[f"#{point.number}{'' if point.verified else ' (validation)'}" for point in points],
        text=[["" if value is None else f"{value:.2f}" for value in row] for row in values],
        texttemplate="%{text}",
        zmid=1,
        zmin=1 - DEEP,
        zmax=1 + DEEP,
        xgap=1,
        ygap=1,
        colorscale=[[0, ORANGE], [0.5, "#ffffff"], [1, BLUE]],
        colorbar={"ticksuffix": "x", "thickness": 12},
        hovertemplate="%{y}, %{x}: %{z:.3f}x<extra></extra>",
        customdata=[point.number for point in points],
    )
    figure.update_layout(
        height=150 + 24 * len(points),
        xaxis={"side": "top", "type": "category", "showgrid": False},
        yaxis={"autorange": "reversed", "type": "category", "automargin": True, "showgrid": False},
        margin={"t": 90},
    )
    return figure


def script() -> str:
    """plotly.js, as plotly brings it along.

    Raises:
        AutopruneError: plotly is not installed.
    """
    _plotly()
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def layers(front: Front) -> dict[str, list[Point]]:
    """Every candidate of a study in one of `LAYERS`."""
    chosen, feasible = {point.number for point in front}, {point.number for point in front.feasible}
    fallen = {fall.point.number for fall in front.falls}
    found: dict[str, list[Point]] = {layer: [] for layer in LAYERS}
    for point in front.record.points:
        if point.candidate.rejected or "quality" not in point.found:
            layer = "rejected"
        elif point.number in (0, *fallen, *chosen):
            layer = "baseline" if not point.number else "fell" if point.number in fallen else "front"
        elif point.candidate.name != TRIAL:
            layer = "presets"
        else:
            layer = "feasible" if point.number in feasible else "infeasible"
        found[layer].append(point)
    return found


def slices(front: Front) -> list[str]:
    """The slices and perturbations that the study's metric was measured on, without the whole."""
    parts = front.record.baseline.candidate.latest().quality[front.record.metric]
    return [part for part in parts if part != WHOLE]


def growth(front: Front) -> list[tuple[int, float, float]]:
    """(candidates, seconds of work, hypervolume) wherever it grew, and at the end; by the search's measurements."""
    record, objectives = front.record, front.record.objectives
    feasible = {point.number for point in front.feasible}
    kept: list[dict[str, Reading]] = []
    seconds, volume = 0.0, 0.0
    found = [(0, 0.0, 0.0)]
    for count, point in enumerate(record.points, start=1):
        seconds += point.candidate.seconds
        if point.number in feasible and not any(beats(other, point.found, objectives) for other in kept):
            kept = [other for other in kept if not beats(point.found, other, objectives)] + [point.found]
            grown = hypervolume(kept, objectives, floor=front.floor)
            if grown > volume:
                volume = grown
                found.append((count, round(seconds, 1), volume))
    return [*found, (len(record.points), round(seconds, 1), volume)]


def _plotly() -> Any:
    try:
        import plotly.graph_objects
    except ImportError as error:
        raise AutopruneError(f"a plot needs plotly ({error}): pip install 'autoprune[plots]'") from error
    return plotly.graph_objects


def _reading(point: Point, name: str) -> Reading | None:
    """As verified, or as searched where the verification says nothing of it."""
    return point.known.get(name) or point.found.get(name)


def _at(point: Point, cost: str) -> float | None:
    return _or_none(_reading(point, cost))


def _or_none(reading: Reading | None) -> float | None:
    return None if reading is None or math.isnan(reading.ratio) else reading.ratio


def _ratio(point: Point, name: str) -> float:
    reading = _reading(point, name)
    return math.nan if reading is None else reading.ratio


def _scored(point: Point) -> bool:
    return "quality" in point.found


def _label(cost: str) -> str:
    name, _, workload = cost.partition(".")
    return {"size_bytes": "size", "latency_ms": "latency"}.get(name, name) + (
        f" ({escape(workload)})" if workload else ""
    )


def _bars(points: Sequence[Point], name: str) -> dict[str, Any]:
    """The 95 % interval of what was verified, never below 0; nothing elsewhere."""
    above, below = [], []
    for point in points:
        reading = point.verified.get(name)
        low, high = (reading.interval if reading else None) or (0.0, 0.0)
        above.append(high - reading.ratio if reading and high else 0.0)
        below.append(reading.ratio - low if reading and high else 0.0)
    style = {"type": "data", "symmetric": False, "thickness": 1, "width": 2}
    return {**style, "array": above, "arrayminus": below, "visible": any(above)}


def _hover(point: Point, cost: str) -> str:
    split = "test" if point.verified else "validation"
    words = point.candidate.summary if point.number else "the dense model"
    quality, rejected = _at(point, "quality"), point.candidate.rejected
    lines = [
        f"<b>#{point.number}</b> {escape(words)}",
        f"rejected: {escape(rejected)}" if rejected or quality is None else f"quality {quality:.3f}x ({split})",
        f"{_label(cost)} {_ratio(point, cost):.3f}x",
    ]
    return "<br>".join(lines)


def _steps(front: Front, points: Sequence[Point], cost: str) -> list[tuple[float, float]]:
    """The points of the front that no other beats in this plot, by the cost; the baseline among them if it is on it."""
    if any(not point.number for point in front):
        points = [front.record.baseline, *points]
    places = [(_ratio(point, cost), _ratio(point, "quality")) for point in points]
    return sorted(places[at] for at in nondominated(places, maximise=[False, True]))


def _falls(points: Sequence[Point], cost: str) -> list[tuple[float | None, float | None]]:
    """From where the search saw each to where it was verified, with a gap after each."""
    found: list[tuple[float | None, float | None]] = []
    for point in points:
        before = (point.found[cost].ratio, point.found["quality"].ratio)
        found += [before, (_ratio(point, cost), _ratio(point, "quality")), (None, None)]
    return found


def _frame(members: dict[str, list[Point]]) -> list[float]:
    """The range of the quality axis, bars and all: cut where nothing lies below but what is beside the front."""
    named = [point for layer in ("baseline", "front", "fell", "presets") for point in members[layer]]
    rest = [_ratio(point, "quality") for layer in ("feasible", "infeasible") for point in members[layer]]
    bars, values = _bars(named, "quality"), [_ratio(point, "quality") for point in named]
    ends = [value + above for value, above in zip(values, bars["array"], strict=True)]
    ends += [value - below for value, below in zip(values, bars["arrayminus"], strict=True)]
    low, high = min(ends), max([*ends, *rest])
    margin = 0.05 * max(0.1, max(ends) - low)
    return [low - margin, high + margin]


def _layout(title: str) -> dict[str, Any]:
    return {
        "template": "none",
        "title": {"text": title, "font": {"size": 15}, "x": 0.01},
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "margin": {"l": 70, "r": 16, "t": 44, "b": 52},
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "y": -0.2},
    }


def _axis(title: str, values: Sequence[float], *, log: bool) -> dict[str, Any]:
    """Logarithmic if asked to, or where some values are many times the others."""
    low, high = min(values), max(values)
    axis: dict[str, Any] = {"title": {"text": title}, "zeroline": False, "ticksuffix": "x"}
    axis |= {"anchor": "free", "position": 0}  # below the strip of the rejected
    if not log and high <= 4 * low:
        return axis
    steps = (1, 2, 5) if high / low < 1000 else (1,)
    ticks = [step * 10.0**power for power in range(-6, 5) for step in steps]
    return {
        **axis,
        "type": "log",
        "tickvals": ticks,
        "ticktext": [f"{tick:g}x" for tick in ticks],
        "range": [math.log10(low) - 0.08, math.log10(high) + 0.08],
    }
