"""The picture of a front: quality against size and latency. Only this package imports matplotlib."""

from autoprune.views.front_png.figure import PANELS, front_figure, save

__all__ = ["PANELS", "front_figure", "save"]
