"""A task in three small protocols: what a model learns from, how it is judged, and how it is served.

Six methods make a task: `model`, `fingerprint`, `batches`, `loss`, `score` and `workloads`; and it says its `name` and
`metrics`. All the rest has a default. Whoever needs one of the three asks for that one.
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
"""What is trained."""

S = TypeVar("S", bound=Served, default=Any)
"""What answers for it."""

C = TypeVar("C", default=Any)
"""What a task is told."""


@dataclass(kw_only=True)
class Training:
    """How models are trained; part of a task's config.

    After a linear warm-up the learning rate is constant, so that a run of 4 epochs is the beginning of a run of 8,
    or falls to zero with what is left of the stage.

    Attributes:
        learning_rate: of Adam.
        tuning_rate: of Adam where a model is trained on that was trained before; None: the same.
        warmup: updates until the learning rate is reached.
        decay: whether it falls linearly from there to zero at the end of a stage.
        epochs: of the dense model, at most; 0 where it comes trained.
        evaluate_every: updates, rounded up to whole epochs, between two looks at validation data while the dense
            model trains.
        patience: looks without improvement after which the best state so far is taken.
    """

    learning_rate: float = 0.005
    tuning_rate: float | None = None
    warmup: int = 20
    decay: bool = False
    epochs: int = 400
    evaluate_every: int = 60
    patience: int = 4

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            AutopruneError: with the path of the entry.
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
"""Entries of `Training` that say when the training of a dense model ends, and nothing where that comes trained."""


class Learning(ABC, Generic[M]):
    """What a model learns from.

    Attributes:
        name: as in the config.
        metric: what `validate` measures, by name.
        base: what the dense model is made with when a recipe says nothing.
        training: how models are trained.
        recovers: what misses a requirement by no larger share before it is trained may meet it afterwards.
        report: called with a message about long work in progress; set by whoever watches.
        pause: called between the batches of long work; likewise, to look at the clock.
    """

    name: str
    metric: str
    base: Mapping[str, Any] = {}
    training: Training = Training()
    recovers: float = 0.15
    report: Callable[[str], None] = staticmethod(lambda message: None)
    pause: Callable[[], None] = staticmethod(lambda: None)

    def describe(self) -> str:
        """The task's data in a line, for people."""
        return self.name

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when data or settings change what a recipe gives; part of every cache key."""

    @abstractmethod
    def model(self, base: Mapping[str, Any], *, seed: int) -> M:
        """A model that is not trained, or comes trained; `base` overrides `self.base`.

        Raises:
            RecipeError: a value of `base` cannot be.
        """

    def ready(self) -> None:
        """Computes what every training reads and takes long, once for all of them, and keeps it on disk."""

    @abstractmethod
    def batches(self) -> Sequence[Any]:
        """One epoch of training batches, in an order drawn from torch's global generator."""

    @abstractmethod
    def loss(self, model: M, batch: Any) -> Tensor:
        """The loss of one batch, a scalar."""

    def context(self, *, seed: int, device: torch.device) -> Context:
        """What steps may know beside the weights."""
        return Context(seed=seed, device=device)

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """A space or a recipe without what this task's model can never do; said in `describe`."""
        return dict(recipe)

    def stand_in(self, base: Mapping[str, Any]) -> dict[str, Any] | None:
        """An untrained recipe that does about as well as a dense model made with `base`; None where there is none.

        By it a search sees whether training that model is worth it.
        """
        return None

    def initialize(self, model: M, *, seed: int) -> None:
        """Gives a fresh dense model the weights that training starts from; by default those it was made with."""

    def settle(self, model: M) -> None:
        """Folds what only the loss knows (a normalisation, say) into the weights; called after training ends."""

    @abstractmethod
    def validate(self, model: M) -> float:
        """`metric` on validation data, for a model in training, as it stands (it may have to be settled first)."""


class Judging(ABC, Generic[S]):
    """How a model is judged by its answers.

    Attributes:
        metrics: all metrics that are reported, by name; larger is better.
        slices: columns of the rows that split them, each with the slices it splits them into.
        perturbations: ways to make the same requests harder, by name; each is reported as one more slice.
        asides: ways to ask the test data that tell something else than how good a model is, such as what it gains by
            knowing more than the baseline, and what each tells; it is one more slice, which no requirement counts.
        unit: the column of the rows that counts as one observation of a slice (a user, a pair, …).
        looks_closer: whether a closer look asks more than a look does.
        looks_in_haste: whether looks are at what is made in haste (`Context.hasty`), and only closer ones are not.
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
        """The name of the metric that `quality` means, e.g. `ndcg@20`; the first unless a task says otherwise."""
        return next(iter(self.metrics))

    @property
    def main_metrics(self) -> tuple[str, ...]:
        """What must not be lost: `metric`, then the main metric of every other benchmark that there is data for."""
        return (self.metric,)

    @property
    def looked_at(self) -> tuple[str, ...]:
        """The metrics that looks ask, beside those of which something is required."""
        return self.main_metrics

    @abstractmethod
    def score(self, served: S, split: str, perturbation: str | None = None) -> pd.DataFrame:
        """Rows that every metric, slice and interval is computed from.

        Args:
            split: `validation` (what the search sees) or `test`.
            perturbation: one of `perturbations` or `asides`: what is asked instead; perhaps of some of the units only.
        """

    def look(self, served: S, *, closer: bool = False) -> pd.DataFrame:
        """Rows as `score` gives them, on a part of validation that is quickly asked: by default all of it.

        A search looks thousands of times. The part is the same for every model, and drawn so that it is as hard as
        the whole.

        Args:
            closer: asks a larger part, or all, if `looks_closer`: a few dozen recipes that promise most are looked at
                once more.
        """
        del closer
        return self.score(served, "validation")

    def near(self, rows: pd.DataFrame) -> dict[str, float]:
        """How near what answered a look was to the dense model, by the main metric it foretells: finite, 1 at most.

        Chance hardly touches it, and where it is lost the metric is (`autoprune.fronts.shrinkage`).

        Args:
            rows: as `look` gives them, whole.
        """
        del rows
        return {}


class Serving(ABC, Generic[M, S]):
    """How a model becomes an artifact, and what is asked of it in use.

    Attributes:
        workload_names: what `workloads` returns; the first is what `latency_ms` means.
        workload_items: of each of these how many texts (users) a request asks for, where a rate is to be told.
        runtimes: what can answer, by name; the first does when a recipe says nothing.
        stores_vectors: whether users store what the models give, a vector of each text.
    """

    workload_names: tuple[str, ...] = ("single",)
    workload_items: Mapping[str, int] = {}
    runtimes: tuple[str, ...] = ("torch",)
    stores_vectors: bool = False

    def beside(self) -> Beside:
        """What lies beside every artifact of this task; by default nothing."""
        return Beside(values={}, tensors={})

    def parts(self, model: M, runtime: str = "") -> Parts:
        """What an artifact of `model` consists of: by default its settings, and its tables packed.

        Args:
            runtime: one of `runtimes`; empty: the first.
        """
        tables, tensors = model.packed()
        manifest = {**model.settings(), "tables": tables}
        return Parts(manifest=manifest, tensors=tensors, beside=self.beside(), entropy=model.entropy)

    @abstractmethod
    def workloads(self, served: S) -> dict[str, Callable[[], object]]:
        """What is timed, by name, in the order of `workload_names`.

        Each call is one request, and ends when its answer is in the memory of the CPU.
        """


class Task(Learning[M], Judging[S], Serving[M, S]):
    """Everything the search must know about a model's purpose."""

    def validate(self, model: M) -> float:
        served: Any = serve(self.parts(model))  # the row of the family says of what kind it is
        served.pause = self.pause
        return self.metrics[self.metric](self.score(served, "validation"))


@dataclass(frozen=True, kw_only=True)
class TaskMaker(Generic[C]):
    """How the tasks of one name are configured and made.

    Attributes:
        config: a dataclass whose fields, types and defaults are the entries of the config's section.
        make: from such a config.
        idle: entries that change nothing beside the others of a config, dotted, and why; nobody is left to believe that
            they do.
        located: entries that say where something lies, dotted. What lies there is part of the task's fingerprint, so
            that a study goes on wherever it is moved.
    """

    config: type[C]
    make: Callable[[C], Task]
    idle: Callable[[C], Mapping[str, str]] = lambda config: {}
    located: tuple[str, ...] = ()
