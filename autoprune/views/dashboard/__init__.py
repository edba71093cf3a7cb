"""A study in optuna-dashboard: a mirror of the archive that follows it and that nobody can change."""

from autoprune.views.dashboard.mirror import mirror
from autoprune.views.dashboard.server import Dashboard, serve

__all__ = ["Dashboard", "mirror", "serve"]
