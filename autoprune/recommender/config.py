"""The configuration of recommender tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoprune.errors import AutopruneError, unknown
from autoprune.recommender.data.columns import Columns
from autoprune.tasks.task import LOOKED_AT, Training

WIDEST = 4096

TRAINED_HERE = ("dim", "noise", "temperature", "popularity", "training.epochs", *LOOKED_AT)
"""Settings of the training of a dense model, which do not apply to a given trained model."""

SCORES = ("dot", "cosine")
"""How a trained model may score two rows."""


@dataclass(kw_only=True)
class FoldIn:
    """How users without a row get a vector, see `autoprune.recommender.strangers.Strangers`.

    Attributes:
        ridge: how strongly vectors are drawn to the average.
        steps: number of further steps down the training loss.
        alpha: None: vectors come from the training loss; else from a ridge regression, in which all items have this
            weight.
    """

    ridge: float = 6.0
    steps: int = 2
    alpha: float | None = None

    def settings(self, *, temperature: float | None = None) -> dict[str, float]:
        """The settings that an artifact stores; `temperature` is that of the training, if it is known."""
        if self.alpha is not None:
            return {"ridge": self.ridge, "alpha": self.alpha}
        if temperature is None:
            return {"ridge": self.ridge}
        return {"ridge": self.ridge, "temperature": temperature, "steps": self.steps}


@dataclass(kw_only=True)
class ModelFiles:
    """The files of tables that were trained elsewhere, and what they mean.

    Attributes:
        path: a folder, or a file with several arrays; the other attributes are names within it.
        user, item: the tables; None: found by name or shape.
        user_ids, item_ids: an array or a file with the ids of the rows; None: found by name or in the tables.
        user_bias, item_bias: an array each; None: found by name, or there is none.
        global_bias: a number, or the name of an array; None: found by name, or there is none.
        score: `dot` or `cosine`; None: dot.
    """

    path: str | None = None
    user: str | None = None
    item: str | None = None
    user_ids: str | None = None
    item_ids: str | None = None
    user_bias: str | None = None
    item_bias: str | None = None
    global_bias: str | None = None
    score: str | None = None


@dataclass(kw_only=True)
class RecommenderConfig:
    """The configuration of a recommender task, except for its data.

    Attributes:
        model: tables that were trained elsewhere, used instead of training a dense model; their fine-tuning does not
            depend on `dim`, `noise`, `temperature` and `popularity`.
        dim: width of the dense model.
        metric: the metric of `quality`.
        metrics: the metrics to report: `ndcg@K`, `recall@K`, `hit_rate@K`.
        users_per_update: batch size of training.
        items_per_update: about how many items compete in a batch: its own and sampled ones; all if the catalogue has no
            more.
        noise: length of the Gaussian noise added to user vectors of length 1 in training.
        temperature: divides the cosines in the loss.
        popularity: an item's row grows in length with this power of its count; 0: all rows have the same length.
        training: epochs, learning rate, early stopping.
        fold_in: how users without a row are served.
    """

    model: ModelFiles = field(default_factory=ModelFiles)
    dim: int = 64
    metric: str = "ndcg@20"
    metrics: list[str] = field(default_factory=lambda: ["ndcg@20", "recall@20", "hit_rate@20"])
    users_per_update: int = 512
    items_per_update: int = 16_384
    noise: float = 0.0
    temperature: float = 0.12
    popularity: float = 0.05
    training: Training = field(default_factory=lambda: Training(tuning_rate=0.001))
    fold_in: FoldIn = field(default_factory=FoldIn)

    def idle(self) -> dict[str, str]:
        """Dotted names of settings without effect → why they have none."""
        reasons = {}
        if self.model.path is not None:
            here = "it is for models that are trained here, and changes nothing of the tables of task.model"
            reasons = dict.fromkeys((*TRAINED_HERE, "fold_in.steps"), here)
            if self.training.tuning_rate is not None:
                reasons["training.learning_rate"] = f"{here}, whose rate is task.training.tuning_rate"
        if self.fold_in.alpha is not None:
            reasons["fold_in.steps"] = "task.fold_in.alpha serves by a ridge regression, which takes no steps"
        return reasons

    def check(self) -> None:
        """Checks the values.

        Raises:
            AutopruneError: a value is out of range.
        """
        self.training.check()
        given = [name for name, value in vars(self.model).items() if value is not None]
        if given and self.model.path is None:
            raise AutopruneError(f"task.model.{given[0]}: the folder or file with it must be given: task.model=FOLDER.")
        if self.model.score not in (None, *SCORES):
            raise unknown("task.model.score", self.model.score, SCORES)
        if self.training.epochs < 1:
            raise AutopruneError(f"task.training.epochs >= 1 must hold, but got {self.training.epochs}.")
        for name in ("alpha", "ridge", "steps"):
            if not 0 <= (getattr(self.fold_in, name) or 0) < math.inf:
                raise AutopruneError(f"task.fold_in.{name} >= 0 must hold, but got {getattr(self.fold_in, name)}.")
        if not 1 <= self.dim <= WIDEST:
            raise AutopruneError(f"task.dim: 1 <= dim <= {WIDEST} must hold, but got {self.dim}.")
        for name in ("users_per_update", "items_per_update"):
            if getattr(self, name) < 1:
                raise AutopruneError(f"task.{name} >= 1 must hold, but got {getattr(self, name)}.")
        if not 0 <= self.popularity <= 1:
            raise AutopruneError(f"task.popularity: 0 <= power <= 1 must hold, but got {self.popularity}.")
        if not (0 <= self.noise < math.inf and 0 < self.temperature < math.inf):
            raise AutopruneError(
                f"task.noise >= 0 and task.temperature > 0 must hold, but got {self.noise} and {self.temperature}."
            )


@dataclass(kw_only=True)
class MovielensData:
    """How MovieLens is split: `per_user`, `global` or `random`; `seed` is of random splits and of equal times."""

    split: str = "per_user"
    seed: int = 0


@dataclass(kw_only=True)
class MovielensConfig(RecommenderConfig):
    """The config of `task=movielens`."""

    name: str = "movielens"
    data: MovielensData = field(default_factory=MovielensData)


@dataclass(kw_only=True)
class InteractionsData:
    """Where interactions come from and how they are read.

    Attributes:
        path: a table, or a folder of train, test and perhaps valid.
        columns: the table's columns, by name or position; None: by their usual names.
        header: whether the first row of a text names the columns; None: judged by its content.
        min_rating: rows with a lower rating are left out; None: every row counts.
        split: `per_user`, `global` or `random`; None: depends on the data.
        seed: of random splits, and of the order of interactions with the same time.
    """

    path: str | None = None
    columns: Columns = field(default_factory=Columns)
    header: bool | None = None
    min_rating: float | None = None
    split: str | None = None
    seed: int = 0


@dataclass(kw_only=True)
class InteractionsConfig(RecommenderConfig):
    """The config of `task=interactions`."""

    name: str = "interactions"
    data: InteractionsData = field(default_factory=InteractionsData)

    def idle(self) -> dict[str, str]:
        reasons = super().idle()
        if self.data.min_rating is None:
            reasons["data.columns.rating"] = "ratings are read for task.data.min_rating alone, which is not given"
        if self.data.split == "random":
            reasons["data.columns.timestamp"] = "task.data.split=random uses no times"
        return reasons
