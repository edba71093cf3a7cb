"""Declarative pruning search for embedding models.

    import autoprune

    front = autoprune.search("task=movielens", "requirements.quality.drop=2%")
    print(front.to_frame())
    front.pick(prefer="size").save("deploy")
    autoprune.load("deploy").recommend(user=42, k=10)

Names are imported on first use, so that loading an artifact does not wait for the search code.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from autoprune.version import VERSION as __version__

if TYPE_CHECKING:
    from autoprune.api import front, open_study, search, verify_study
    from autoprune.artifacts.artifact import load
    from autoprune.errors import AutopruneError
    from autoprune.module.lookup import standing_rows
    from autoprune.module.own import ModuleTask

_ATTRIBUTES = {
    "AutopruneError": "autoprune.errors",
    "ModuleTask": "autoprune.module.own",
    "front": "autoprune.api",
    "load": "autoprune.artifacts.artifact",
    "open_study": "autoprune.api",
    "search": "autoprune.api",
    "standing_rows": "autoprune.module.lookup",
    "verify_study": "autoprune.api",
}

_MODULES = {"metrics": "autoprune.metrics", "plots": "autoprune.views.plots", "testing": "autoprune.testing"}

__all__ = [
    "AutopruneError",
    "ModuleTask",
    "__version__",
    "front",
    "load",
    "open_study",
    "search",
    "standing_rows",
    "verify_study",
]


_SERVING = {"AutopruneError", "load"}
"""Names that need only the packages for serving."""


def __getattr__(name: str) -> Any:
    if name not in _ATTRIBUTES and name not in _MODULES:
        raise AttributeError(f"module 'autoprune' has no attribute {name!r}")
    if name not in _SERVING:
        from autoprune.extras import need

        need("torch", "search", f"autoprune.{name}")
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    return getattr(importlib.import_module(_ATTRIBUTES[name]), name)
