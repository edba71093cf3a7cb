"""A task in three parts: what a model learns from, how it is judged, and how it is served.

A task needs six methods, `model`, `fingerprint`, `batches`, `loss`, `score` and `workloads`, and the attributes `name`
and `metrics`. Everything else has a default. Code that needs one part only takes that part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic

import pandas as pd
import torch
from torch import Tensor
from typing_extensions import TypeVar

from autoprune.artifacts.served import Beside, Parts, Served, serve
from autoprune.errors import AutopruneError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.tasks.metric import Metric

M = TypeVar("M", bound=Model, default=Any)
"""The model that is trained."""

S = TypeVar("S", bound=Served, default=Any)
"""The loaded artifact that answers requests."""

C = TypeVar("C", default=Any)
"""The config of a task."""


@dataclass(kw_only=True)
class Training:
    """How models are trained; part of a task's config.

    After a linear warm-up, the learning rate is constant, so a run of 4 epochs is the beginning of a run of 8. With
    `decay` it falls to zero until the end of the stage.

    Attributes:
        learning_rate: of Adam.
        tuning_rate: of Adam for a model that was trained before; None: the same.
        warmup: updates until the learning rate is reached.
        decay: whether it falls linearly from there to zero at the end of a stage.
        epochs: the most epochs of the dense model; 0 if it is already trained.
        evaluate_every: updates between two evaluations on validation data while the dense model trains, rounded up to
            whole epochs.
        patience: evaluations without improvement after which the training ends and the best state is kept.
    """

    learning_rate: float = 0.005
    tuning_rate: float | None = None
    warmup: int = 20
    decay: bool = False
    epochs: int = 400
    evaluate_every: int = 60
    patience: int = 4

    def check(self) -> None:
        """Checks the values.

        Raises:
            AutopruneError: a value is out of range; the message has the path of the entry.
        """
        if not 0 < self.learning_rate <= 1:
            raise AutopruneError(f"task.training.learning_rate: 0 < rate <= 1 must hold, but got {self.learning_rate}.")
        if self.tuning_rate is not None and not 0 < self.tuning_rate <= 1:
            raise AutopruneError(f"task.training.tuning_rate: 0 < rate <= 1 must hold, but got {self.tuning_rate}.")
        if self.epochs < 0:
            raise AutopruneError(f"task.training.epochs >= 0 must hold, but got {self.epochs}.")
        for name in ("warmup", "evaluate_every", "patience"):
            if getattr(self, name) < 1:
                raise AutopruneError(f"task.training.{name} >= 1 must hold, but got {getattr(self, name)}.")


LOOKED_AT = ("training.evaluate_every", "training.patience")
"""Entries of `Training` that decide when the training of a dense model ends; unused if the model is already trained."""


class Learning(ABC, Generic[M]):
    """What a model learns from.

    Attributes:
        name: as in the config.
        metric: the name of the metric that `validate` measures.
        base: the default settings of the dense model.
        training: how models are trained.
        recovers: a model that misses a requirement by at most this share may still meet it after training.
        report: called with a message about long work in progress; set by the caller.
        pause: called between the batches of long work, so that the caller can check the time; set by the caller.
    """

    name: str
    metric: str
    base: Mapping[str, Any] = {}
    training: Training = Training()
    recovers: float = 0.15
    report: Callable[[str], None] = staticmethod(lambda message: None)
    pause: Callable[[], None] = staticmethod(lambda: None)

    def describe(self) -> str:
        """The task's data in one line, for people."""
        return self.name

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes if data or settings change the result of a recipe; part of every cache key."""

    @abstractmethod
    def model(self, base: Mapping[str, Any], *, seed: int) -> M:
        """A new model, untrained or already trained; `base` overrides `self.base`.

        Raises:
            RecipeError: a value of `base` is not possible.
        """

    def ready(self) -> None:
        """Computes what every training needs and takes long, once for all trainings, and keeps it on disk."""

    @abstractmethod
    def batches(self) -> Sequence[Any]:
        """One epoch of training batches, in an order drawn from torch's global generator."""

    @abstractmethod
    def loss(self, model: M, batch: Any) -> Tensor:
        """The loss of one batch, a scalar."""

    def context(self, *, seed: int, device: torch.device) -> Context:
        """What steps may use besides the weights."""
        return Context(seed=seed, device=device)

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """A space or a recipe without anything that this task's model can never do; `describe` says what that is."""
        return dict(recipe)

    def stand_in(self, base: Mapping[str, Any]) -> dict[str, Any] | None:
        """An untrained recipe that does about as well as a dense model with the settings `base`; None if there is none.

        It shows a search whether training that dense model is worth the time.
        """
        return None

    def initialize(self, model: M, *, seed: int) -> None:
        """Gives a new dense model the weights that training starts from; by default it keeps its own."""

    def settle(self, model: M) -> None:
        """Folds what only the loss applies (a normalisation, say) into the weights; called after training."""

    @abstractmethod
    def validate(self, model: M) -> float:
        """`metric` on validation data, for a model in its current state of training (it may need `settle` first)."""


class Judging(ABC, Generic[S]):
    """How a model is judged by its answers.

    Attributes:
        metrics: all metrics that are reported, by name; larger is better.
        slices: the columns that split rows, each with the names of its slices.
        perturbations: the names of ways to make the same requests harder; each is reported as one more slice.
        asides: further ways to evaluate test data, with what each shows, such as what a model gains from more data than
            the baseline has. Each is one more slice, to which no requirement applies.
        unit: the column of the rows that has the unit (a user, a pair, …).
        looks_closer: whether a closer look uses more data than a look.
        looks_in_haste: whether looks, except closer ones, are at models built in haste (`Context.hasty`).
    """

    metrics: Mapping[str, Metric]
    slices: Mapping[str, tuple[str, ...]] = {}
    perturbations: tuple[str, ...] = ()
    asides: Mapping[str, str] = {}
    unit: str = "unit"
    looks_closer: bool = False
    looks_in_haste: bool = False

    @cached_property
    def metric(self) -> str:
        """The name of the metric that `quality` means, e.g. `ndcg@20`; by default the first."""
        return next(iter(self.metrics))

    @property
    def main_metrics(self) -> tuple[str, ...]:
        """`metric`, then the main metric of every other labelled benchmark."""
        return (self.metric,)

    @property
    def looked_at(self) -> tuple[str, ...]:
        """The metrics that looks compute, besides the required ones."""
        return self.main_metrics

    @abstractmethod
    def score(self, served: S, split: str, perturbation: str | None = None) -> pd.DataFrame:
        """The rows from which every metric, slice and interval is computed.

        Args:
            served: the loaded artifact.
            split: `validation` (for the search) or `test`.
            perturbation: one of `perturbations` or `asides`; may leave out some units. None: the unchanged requests.
        """

    def look(self, served: S, *, closer: bool = False) -> pd.DataFrame:
        """Rows like those of `score`, on a part of validation data that is quick to evaluate; by default all of it.

        A search takes thousands of looks. The part is the same for every model, and as hard as the whole.

        Args:
            served: the model.
            closer: whether to use a larger part, or all, if `looks_closer`; for the few dozen most promising recipes.
        """
        del closer
        return self.score(served, "validation")

    def near(self, rows: pd.DataFrame) -> dict[str, float]:
        """How near a look's answers are to the dense model's, for each main metric that this predicts; at most 1.

        Chance hardly affects it, and its loss predicts that of the metric (`autoprune.fronts.shrinkage`).

        Args:
            rows: all rows that `look` returned.
        """
        del rows
        return {}


class Serving(ABC, Generic[M, S]):
    """How a model becomes an artifact, and which requests it serves.

    Attributes:
        workload_names: the names that `workloads` returns; `latency_ms` is that of the first.
        workload_items: how many texts (users) a request of a workload has, if a rate should be shown.
        runtimes: the names of what can run the model; the first is the default of a recipe.
        stores_vectors: whether users store the vectors of the models, one for each text.
    """

    workload_names: tuple[str, ...] = ("single",)
    workload_items: Mapping[str, int] = {}
    runtimes: tuple[str, ...] = ("torch",)
    stores_vectors: bool = False

    def beside(self) -> Beside:
        """The `beside` part of every artifact of this task; by default empty."""
        return Beside(values={}, tensors={})

    def parts(self, model: M, runtime: str = "") -> Parts:
        """The parts of an artifact of `model`: by default its settings and its packed tables.

        Args:
            model: to be served.
            runtime: one of `runtimes`; empty: the first.
        """
        tables, tensors = model.packed()
        manifest = {**model.settings(), "tables": tables}
        return Parts(manifest=manifest, tensors=tensors, beside=self.beside(), entropy=model.entropy)

    @abstractmethod
    def workloads(self, served: S) -> dict[str, Callable[[], object]]:
        """The requests to time, by name, in the order of `workload_names`.

        Each call is one request, and returns when its answer is in the memory of the CPU.
        """


class Task(Learning[M], Judging[S], Serving[M, S]):
    """Everything that a search needs to know about a model and its purpose."""

    def validate(self, model: M) -> float:
        served: Any = serve(self.parts(model))  # the family determines its type
        served.pause = self.pause
        return self.metrics[self.metric](self.score(served, "validation"))


@dataclass(frozen=True, kw_only=True)
class TaskMaker(Generic[C]):
    """How the tasks of one name are configured and made.

    Attributes:
        config: a dataclass whose fields, types and defaults are the entries of the config's section.
        make: makes a task from that config.
        idle: the dotted names of entries that have no effect because of other entries, and why; users are told.
        located: the dotted names of entries that are paths. The files there are part of the task's fingerprint, the
            paths are not, so a study can continue after its data was moved.
    """

    config: type[C]
    make: Callable[[C], Task]
    idle: Callable[[C], Mapping[str, str]] = lambda config: {}
    located: tuple[str, ...] = ()
