"""The search from Python: the same words as on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from autoprune.config import compose_config
from autoprune.config import search as run_config
from autoprune.progress import Progress
from autoprune.record import Front, Record


def search(*overrides: str, report: Callable[[Progress], None] = lambda progress: None) -> Front:
    """Runs a study, or goes on with one that was stopped, and returns its front.

    Args:
        overrides: as on the command line, e.g. "task=movielens", "study.trials=40".
        report: called whenever a candidate is finished.

    Raises:
        AutopruneError: an override cannot be; nothing is written then.

    Example:
        front = autoprune.search("task=movielens", "study.name=careful", "study.trials=10")
        front.pick(prefer="size").save("deploy")
    """
    return run_config(compose_config(overrides), overrides, report=report).front()


def open_study(name: str, *, runs: str | os.PathLike[str] = "runs") -> Record:
    """A study that was run before: `open_study("careful").front()` is its front.

    Raises:
        AutopruneError: there is no such study.
    """
    return Record(Path(runs) / name)
