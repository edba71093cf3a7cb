"""Saves and restores Hydra's state, which is global to the process, around our own use of Hydra."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.version import VersionBase
from omegaconf.basecontainer import BaseContainer

HYDRAS_OWN = ("hydra", "_dummy_empty_config_.yaml")
"""The configs that Hydra itself registers."""

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Gives Hydra and OmegaConf in their initial state; restores afterwards what the calling program had set up."""
    Plugins.instance()  # imports the plugins, which register themselves once per process
    ours = (GlobalHydra, HydraConfig, JobRuntime, VersionBase, ConfigStore)
    with _ONE_AT_A_TIME:
        theirs: dict[type, Singleton] = {
            kind: Singleton._instances.pop(kind) for kind in ours if kind in Singleton._instances
        }
        resolvers = dict(BaseContainer._resolvers)
        registered: Any = theirs.get(ConfigStore)
        shipped = registered.repo.items() if registered else ()
        ConfigStore.instance().repo = {name: node for name, node in shipped if name in HYDRAS_OWN}
        try:
            yield
        finally:
            for kind in ours:
                Singleton._instances.pop(kind, None)
            Singleton._instances.update(theirs)
            BaseContainer._resolvers.clear()
            BaseContainer._resolvers.update(resolvers)
