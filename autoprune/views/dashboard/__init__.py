"""A study in optuna-dashboard: a read-only mirror that follows the archive."""

from autoprune.views.dashboard.mirror import mirror
from autoprune.views.dashboard.server import Dashboard, serve

__all__ = ["Dashboard", "mirror", "serve"]
