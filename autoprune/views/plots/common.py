"""What all plots share: the import of plotly, the layout, the values at which a candidate is drawn."""

from __future__ import annotations

import math
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.measure.reading import Reading
from autoprune.record.point import Point


def plotly() -> Any:
    """The module `plotly.graph_objects`.

    Raises:
        AutopruneError: plotly is not installed.
    """
    try:
        import plotly.graph_objects
    except ImportError as error:
        raise AutopruneError(f"a plot needs plotly ({error}): pip install 'autoprune[plots]'") from error
    return plotly.graph_objects


def script() -> str:
    """The source of plotly.js, which comes with plotly.

    Raises:
        AutopruneError: plotly is not installed.
    """
    plotly()
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def plain_layout(title: str) -> dict[str, Any]:
    """The part of the layout that all plots share."""
    return {
        "template": "none",
        "title": {"text": title, "font": {"size": 15}, "x": 0.01},
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "margin": {"l": 70, "r": 16, "t": 44, "b": 52},
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "y": -0.2},
    }


def reading_of(point: Point, name: str) -> Reading | None:
    """The verified reading, or the search's if there is none."""
    return point.known.get(name) or point.found.get(name)


def or_none(reading: Reading | None) -> float | None:
    """The ratio of a reading; None if there is none."""
    return None if reading is None or math.isnan(reading.ratio) else reading.ratio


def ratio_of(point: Point, name: str) -> float:
    """The ratio at which a candidate is drawn; nan if there is none."""
    reading = reading_of(point, name)
    return math.nan if reading is None else reading.ratio
