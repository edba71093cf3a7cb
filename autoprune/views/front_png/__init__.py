"""The picture of a front: quality kept, against size and against latency. The one room that knows matplotlib."""

from autoprune.views.front_png.figure import PANELS, front_figure, save

__all__ = ["PANELS", "front_figure", "save"]
