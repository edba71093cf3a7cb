"""What recommender tasks can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoprune.errors import AutopruneError, unknown
from autoprune.recommender.data.columns import Columns
from autoprune.tasks.task import LOOKED_AT, Training

WIDEST = 4096

TRAINED_HERE = ("dim", "noise", "temperature", "popularity", "training.epochs", *LOOKED_AT)
"""What says how a dense model is trained here, and nothing of one that was brought."""

SCORES = ("dot", "cosine")
"""What a trained model's score can be of two rows."""


@dataclass(kw_only=True)
class FoldIn:
    """What serves users without a row, see `autoprune.recommender.strangers.Strangers`.

    Attributes:
        ridge: how much vectors are drawn to the average.
        steps: how many steps along the slope of that loss follow.
        alpha: None: they come of the loss of training; else of a ridge regression, in which all items have this weight.
    """

    ridge: float = 6.0
    steps: int = 2
    alpha: float | None = None

    def said(self, *, temperature: float | None = None) -> dict[str, float]:
        """What an artifact says of it; `temperature` is that of the training, where it is known."""
        if self.alpha is not None:
            return {"ridge": self.ridge, "alpha": self.alpha}
        if temperature is None:
            return {"ridge": self.ridge}
        return {"ridge": self.ridge, "temperature": temperature, "steps": self.steps}


@dataclass(kw_only=True)
class ModelFiles:
    """Where tables lie that were trained elsewhere, and what they mean.

    Attributes:
        path: a folder, or a file that holds several arrays; all else is named as it is called in there.
        user, item: the tables; None: by name, or by shape.
        user_ids, item_ids: what names their rows, an array or a file; None: by name, or the tables say it.
        user_bias, item_bias: an array each; None: by name, or there is none.
        global_bias: a number, or the name of an array; None: by name, or there is none.
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
    """What a recommender task can be told, beside where its data comes from.

    Attributes:
        model: tables that were trained elsewhere, in place of a dense model that is trained here; how they are trained
            on does not depend on `dim`, `noise`, `temperature` and `popularity`.
        dim: width of the dense model.
        metric: what `quality` means.
        metrics: what is reported: `ndcg@K`, `recall@K`, `hit_rate@K`.
        users_per_update: batch size of training.
        items_per_update: that a batch is trained against, about: its own, and others that are drawn; all if there are
            no more.
        noise: length of the Gaussian noise added to user vectors of length 1 while training.
        temperature: that cosines are divided by in the loss.
        popularity: power of an item's count that its row's length grows with; 0 for rows of one length.
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
        """What changes nothing beside the rest, dotted, and why."""
        found = {}
        if self.model.path is not None:
            here = "it is for models that are trained here, and changes nothing of the tables of task.model"
            found = dict.fromkeys((*TRAINED_HERE, "fold_in.steps"), here)
            if self.training.tuning_rate is not None:
                found["training.learning_rate"] = f"{here}, whose rate is task.training.tuning_rate"
        if self.fold_in.alpha is not None:
            found["fold_in.steps"] = "task.fold_in.alpha serves by a ridge regression, which takes no steps"
        return found

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            AutopruneError: with the path of the entry.
        """
        self.training.check()
        given = [name for name, value in vars(self.model).items() if value is not None]
        if given and self.model.path is None:
            raise AutopruneError(f"task.model.{given[0]}: task.model=FOLDER says where it lies, and must be given too.")
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
    """How MovieLens is split: `per_user`, `global` or `random`; `seed` draws it, and the order of equal times."""

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
        columns: which of the table's columns are what, by name or position; None: by their usual names.
        header: whether a text's first row names the columns; None: as it looks.
        min_rating: rows rated lower are left out; None: every row counts.
        split: `per_user`, `global` or `random`; None: by what the data has.
        seed: draws what is drawn, and the order of what has the same time.
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
        found = super().idle()
        if self.data.min_rating is None:
            found["data.columns.rating"] = "ratings are read for task.data.min_rating alone, which is not given"
        if self.data.split == "random":
            found["data.columns.timestamp"] = "task.data.split=random asks for no times"
        return found
