"""Plots of the progress of a search, of the parameters that mattered, and of the finalists' slices."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from autoprune.fronts.front import Front
from autoprune.fronts.pareto import beats, hypervolume
from autoprune.measure.measurement import WHOLE
from autoprune.measure.reading import Reading, reading_name
from autoprune.record.archive import TRIAL
from autoprune.views.effects import importance
from autoprune.views.marks import BLUE, GREEN, ORANGE
from autoprune.views.plots.common import or_none, plain_layout, plotly, ratio_of, reading_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FINALISTS = 40
"""Rows of the heat map at most; a longer front is thinned."""

DEEP = 0.3
"""The loss or gain, as a share of the baseline, that has the deepest colour of the heat map."""


def progress(front: Front) -> Figure:
    """Hypervolume of the front over the number of candidates, by the search's measurements.

    `customdata` are the seconds of work until then.

    Raises:
        AutopruneError: plotly is not installed.
    """
    go = plotly()
    grown = growth(front)
    figure = go.Figure(layout=plain_layout("hypervolume of the front, as the search went on"))
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


def growth(front: Front) -> list[tuple[int, float, float]]:
    """(candidates, seconds of work, hypervolume) whenever it grew, and at the end; by the search's measurements."""
    record, objectives = front.record, front.record.objectives
    feasible = {point.number for point in front.feasible}
    kept: list[dict[str, Reading]] = []
    seconds, volume = 0.0, 0.0
    steps = [(0, 0.0, 0.0)]
    for count, point in enumerate(record.points, start=1):
        seconds += point.candidate.seconds
        if point.number in feasible and not any(beats(other, point.found, objectives) for other in kept):
            kept = [other for other in kept if not beats(point.found, other, objectives)] + [point.found]
            grown = hypervolume(kept, objectives, floor=front.floor)
            if grown > volume:
                volume = grown
                steps.append((count, round(seconds, 1), volume))
    return [*steps, (len(record.points), round(seconds, 1), volume)]


def mattered(front: Front, most: int = 12) -> Figure:
    """Which parameters of the recipe explain quality, size and latency; see `autoprune.views.effects`.

    Args:
        most: how many parameters are shown: those that explain most of any objective.

    Raises:
        AutopruneError: plotly is not installed.
    """
    go = plotly()
    shares = importance(front.record)
    names = dict.fromkeys(name for by_name in shares.values() for name in by_name)
    ranked = sorted(names, key=lambda name: -max(by_name.get(name, 0.0) for by_name in shares.values()))[:most]
    figure = go.Figure(layout=plain_layout("what mattered: share of the variance explained by each parameter alone"))
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
    """Every slice of the finalists relative to the baseline's: vermilion lost, blue gained, white unchanged.

    Raises:
        AutopruneError: plotly is not installed.
    """
    go = plotly()
    record = front.record
    fallen = [fall.point for fall in front.falls]
    presets = [point for point in front.finalists if point.candidate.name != TRIAL]
    kept = {point.number: point for point in [*front.thinned(FINALISTS), *presets, *fallen[:FINALISTS]]}
    points = [
        point for point in sorted(kept.values(), key=lambda one: -ratio_of(one, "quality")) if "quality" in point.found
    ]
    names = [WHOLE, *slices(front)]
    values = [[or_none(reading_of(point, reading_name(record.metric, name))) for name in names] for point in points]
    figure = go.Figure(layout=plain_layout(f"{escape(record.metric)} of the finalists by slice, ratio to the baseline"))
    figure.add_heatmap(
        z=values,
        x=[escape(name) for name in names],
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


def slices(front: Front) -> list[str]:
    """The slices and perturbations on which the study's metric was measured, without the whole."""
    known = front.record.baseline.candidate.latest().quality[front.record.metric]
    return [name for name in known if name != WHOLE]
