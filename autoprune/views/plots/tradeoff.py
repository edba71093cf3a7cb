"""The plot of quality against a cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.pareto import nondominated
from autoprune.fronts.promises import Promises
from autoprune.fronts.requirements import is_cost
from autoprune.record.point import Point
from autoprune.views import looks
from autoprune.views.intervals import telling
from autoprune.views.layers import LAYERS, layers
from autoprune.views.marks import BLACK, BLUE, GREY, ORANGE, SKY
from autoprune.views.plots.common import or_none, plain_layout, plotly, ratio_of, reading_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PURPLE = "#cc79a7"
"""A colour of the same palette."""


class Style(NamedTuple):
    """How the candidates of a layer are drawn: mark, colour, size in pixels, opacity, text in the legend."""

    mark: str
    colour: str
    pixels: int
    opacity: float
    legend: str

    @property
    def hollow(self) -> bool:
        """Whether candidates that are not verified are drawn hollow; ticks and crosses cannot be."""
        return self.mark not in ("line-ns", "x-thin")


STYLES = {
    "rejected": Style("line-ns", GREY, 9, 0.9, "rejected early (not fully measured)"),
    "infeasible": Style("x-thin", GREY, 6, 0.75, "infeasible"),
    "feasible": Style("circle", SKY, 6, 0.8, "feasible, beaten"),
    "presets": Style("square", ORANGE, 9, 1.0, "presets"),
    "fell": Style("triangle-down", PURPLE, 11, 1.0, "fell when verified"),
    "front": Style("circle", BLUE, 10, 1.0, "front"),
    "baseline": Style("diamond", BLACK, 12, 1.0, "baseline"),
}
"""The style of each layer, see `autoprune.views.layers`."""


def tradeoff(front: Front, cost: str = "size_bytes") -> Figure:
    """Quality against a cost, both as ratios to the baseline; bars are 95 % intervals of a re-measurement.

    Fallen candidates are at their verified values, with a line from the search's values. Rejected candidates were not
    fully measured: they are ticks in a strip below the plot. If the cost is the size, faint dots in the background are
    looks, which are not measurements, and a thin line joins the best of them.

    Args:
        cost: `size_bytes`, `vector_bytes`, `latency_ms` or `latency_ms.WORKLOAD`.

    Raises:
        AutopruneError: plotly is not installed, or `cost` was not measured.
    """
    go = plotly()
    if cost not in front.record.baseline.found:
        known = ", ".join(name for name in front.record.names if is_cost(name) and name != "memory_bytes")
        raise AutopruneError(f"cost {cost!r} is unknown; there are {known}.")
    members = layers(front)
    figure = go.Figure(layout=plain_layout(f"quality against {_label(cost)}"))
    range_ = _frame(members)
    places: list[tuple[float, float]] = []
    if cost == "size_bytes" and front.promises:
        best = _add_looks(figure, front, front.promises)
        places += [place for place in best if place[1] >= range_[0]]
    for layer in LAYERS:
        points = [point for point in members[layer] if _at(point, cost) is not None]
        if layer == "fell":
            _add_line(figure, layer, _falls(points, cost), {"width": 1.2, "dash": "dot"})
        elif layer == "front":
            _add_line(figure, layer, _steps(front, points, cost), {"width": 2, "shape": "hv"})
        if layer == "rejected":
            _add_points(figure, layer, points, cost, heights=[0.0] * len(points))
        else:
            heights = [ratio_of(point, "quality") for point in points]
            places += zip([ratio_of(point, cost) for point in points], heights, strict=True)
            _add_points(figure, layer, points, cost, heights=heights)
    figure.update_layout(
        xaxis=_axis(f"{_label(cost)}, ratio to the baseline", [x for x, _ in places], log=cost.endswith("_bytes")),
        yaxis={
            "title": {"text": f"quality ({escape(front.record.metric)}), ratio"},
            "ticksuffix": "x",
            "domain": [0.09 if members["rejected"] else 0.0, 1],
            "zeroline": False,
            "range": range_,
        },
        yaxis2={"domain": [0, 0.06], "range": [-1, 1], "visible": False, "fixedrange": True},
    )
    for axis in ("v", "h"):
        getattr(figure, f"add_{axis}line")(1, line={"width": 1, "dash": "dot", "color": GREY})
    return figure


def _add_looks(figure: Figure, front: Front, promises: Promises) -> list[tuple[float, float]]:
    """Draws looks and the line through the best; returns the points of the line."""
    dots, edge = looks.places(looks.drawn(front), promises), looks.edge(front, promises)
    best = looks.places(edge, promises)
    for kind, at, style in (
        ("points", dots, {"mode": "markers", "marker": {"color": GREY, "size": 3}, "opacity": 0.5}),
        ("line", best, {"mode": "lines", "line": {"color": GREY, "width": 1, "shape": "hv"}, "showlegend": False}),
    ):
        figure.add_scatter(
            x=[float(f"{x:.4g}") for x, _ in at],
            y=[float(f"{y:.4g}") for _, y in at],
            name="looks (in memory, not measured)",
            legendgroup="looks",
            hoverinfo="skip",
            meta={"layer": "looks", "kind": kind},
            **style,
        )
    figure.data[-1].update(
        text=[
            f"a look: {escape(look.summary)}<br>promises quality {y:.3f}x at size {x:.3f}x"
            for look, (x, y) in zip(edge, best, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )
    return best


def _add_line(
    figure: Figure, layer: str, line: Sequence[tuple[float | None, float | None]], style: Mapping[str, Any]
) -> None:
    figure.add_scatter(
        x=[x for x, _ in line],
        y=[y for _, y in line],
        mode="lines",
        line={"color": STYLES[layer].colour, **style},
        hoverinfo="skip",
        showlegend=False,
        legendgroup=layer,
        meta={"layer": layer, "kind": "line"},
    )


def _add_points(figure: Figure, layer: str, points: Sequence[Point], cost: str, *, heights: Sequence[float]) -> None:
    """Draws the marks of a layer, with bars; rejected candidates have no quality, so no height and no bar for it."""
    style, rug = STYLES[layer], layer == "rejected"
    figure.add_scatter(
        x=[ratio_of(point, cost) for point in points],
        y=heights,
        mode="markers",
        name=style.legend,
        legendgroup=layer,
        opacity=style.opacity,
        yaxis="y2" if rug else "y",
        customdata=[point.number for point in points],
        text=[_hover(point, cost) for point in points],
        hovertemplate="%{text}<extra></extra>",
        marker={
            "symbol": [style.mark if point.verified or not style.hollow else f"{style.mark}-open" for point in points],
            "color": style.colour,
            "size": style.pixels,
            "line": {"width": 1.6, "color": style.colour},
        },
        error_x=_bars(points, cost),
        error_y=_bars([] if rug else points, "quality"),
        meta={"layer": layer, "kind": "points", "mark": style.mark, "hollow": style.hollow},
    )


def _at(point: Point, cost: str) -> float | None:
    return or_none(reading_of(point, cost))


def _label(cost: str) -> str:
    name, _, workload = cost.partition(".")
    return {"size_bytes": "size", "vector_bytes": "stored vectors", "latency_ms": "latency"}.get(name, name) + (
        f" ({escape(workload)})" if workload else ""
    )


def _bars(points: Sequence[Point], name: str) -> dict[str, Any]:
    """Error bars: the 95 % intervals of verified readings, not below 0; none if an interval says nothing."""
    above, below = [], []
    for point in points:
        reading = point.verified.get(name)
        low, high = (telling(reading) if reading else None) or (0.0, 0.0)
        above.append(high - reading.ratio if reading and high else 0.0)
        below.append(reading.ratio - low if reading and high else 0.0)
    style = {"type": "data", "symmetric": False, "thickness": 1, "width": 2}
    return {**style, "array": above, "arrayminus": below, "visible": any(above)}


def _hover(point: Point, cost: str) -> str:
    split = "test" if point.verified else "validation"
    summary = point.candidate.summary if point.number else "the dense model"
    quality, rejected = _at(point, "quality"), point.candidate.rejected
    lines = [
        f"<b>#{point.number}</b> {escape(summary)}",
        f"rejected: {escape(rejected)}" if rejected or quality is None else f"quality {quality:.3f}x ({split})",
        f"{_label(cost)} {ratio_of(point, cost):.3f}x",
    ]
    return "<br>".join(lines)


def _steps(front: Front, points: Sequence[Point], cost: str) -> list[tuple[float, float]]:
    """The points of the front (perhaps with the baseline) that no other beats in this plot, sorted by the cost."""
    if any(not point.number for point in front):
        points = [front.record.baseline, *points]
    places = [(ratio_of(point, cost), ratio_of(point, "quality")) for point in points]
    return sorted(places[at] for at in nondominated(places, maximise=[False, True]))


def _falls(points: Sequence[Point], cost: str) -> list[tuple[float | None, float | None]]:
    """Lines from the search's values to the verified ones, with a gap after each."""
    line: list[tuple[float | None, float | None]] = []
    for point in points:
        before = (point.found[cost].ratio, point.found["quality"].ratio)
        line += [before, (ratio_of(point, cost), ratio_of(point, "quality")), (None, None)]
    return line


def _frame(members: dict[str, list[Point]]) -> list[float]:
    """The range of the quality axis, with bars: it cuts off feasible and infeasible candidates far below the front."""
    named = [point for layer in ("baseline", "front", "fell", "presets") for point in members[layer]]
    rest = [ratio_of(point, "quality") for layer in ("feasible", "infeasible") for point in members[layer]]
    bars, values = _bars(named, "quality"), [ratio_of(point, "quality") for point in named]
    ends = [value + above for value, above in zip(values, bars["array"], strict=True)]
    ends += [value - below for value, below in zip(values, bars["arrayminus"], strict=True)]
    low, high = min(ends), max([*ends, *rest])
    margin = 0.05 * max(0.1, max(ends) - low)
    return [low - margin, high + margin]


def _axis(title: str, values: Sequence[float], *, log: bool) -> dict[str, Any]:
    """An x axis: logarithmic if `log`, or if the largest value is over four times the smallest."""
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
