"""Interactive plots of a front, for the report and for notebooks. Only this package imports plotly.

    import autoprune
    from autoprune.views import plots
    front = autoprune.front("demo")
    plots.tradeoff(front, "size_bytes").show()      # also "latency_ms", "latency_ms.batch"
    plots.progress(front), plots.mattered(front), plots.slice_map(front)

Each returns a `plotly.graph_objects.Figure`. Verified candidates are drawn filled, at their values on test data, others
hollow, at the search's values on validation data.
"""

from autoprune.views.plots.common import script
from autoprune.views.plots.study import growth, mattered, progress, slice_map, slices
from autoprune.views.plots.tradeoff import tradeoff

__all__ = ["growth", "mattered", "progress", "script", "slice_map", "slices", "tradeoff"]
