"""What a user writes to have a module of theirs searched: one class, in a file of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar

import pandas as pd
from torch import Tensor, nn

from autoprune.tasks.metric import Metric

Rows = pd.DataFrame | Mapping[str, Any]
"""Columns by name, equally long."""


class ModuleTask(ABC):
    """A task around any `nn.Module`: how it is loaded, what it learns from, how it is scored and asked.

    It is made anew in every process that works for a study, from what `task.options` says (and `data=` where
    `task.data.path` is given), and must be the same each time. Random numbers come from torch's generator, which is
    seeded for it.

    Example:
        class Clicks(autoprune.ModuleTask):
            metrics = {"auc": autoprune.metrics.Auc()}

            def load(self):
                return Model()

            def batches(self):
                return torch.randperm(len(self.train)).split(1024)

            def loss(self, module, batch): ...

            def score(self, module, split): ...

            def workloads(self, module):
                return {"single": lambda: module(one_request)}

    Attributes:
        metrics: by name, each a function of the rows of `score`; larger is better, the first is what `quality` means.
        slices: columns of the rows that split them, each with the slices it splits them into.
        tables: paths of the embeddings that are made smaller (`"encoder.items"`); None: all that there are.
        cut: names of the tables that may lose rows and dimensions (`"encoder_items"`); None: those of 256 rows or more.
        linears: paths of the `nn.Linear` whose weights may lose bits too (`"mlp.0"`).
        perturbations: ways to make the same requests harder, which `perturb` knows; each is one more slice.
        workload_names: what `workloads` returns; the first is what `latency_ms` means.
    """

    metrics: ClassVar[Mapping[str, Metric]]
    slices: Mapping[str, tuple[str, ...]] = {}
    tables: Collection[str] | None = None
    cut: Collection[str] | None = None
    linears: Collection[str] = ()
    perturbations: tuple[str, ...] = ()
    workload_names: tuple[str, ...] = ("single",)

    @abstractmethod
    def load(self) -> nn.Module:
        """A module, trained, or fresh where `task.training.epochs` trains it first."""

    @abstractmethod
    def batches(self) -> Iterable[Any]:
        """One epoch of training batches, in an order drawn from torch's generator."""

    @abstractmethod
    def loss(self, module: Any, batch: Any) -> Tensor:
        """The loss of one batch, a scalar with a gradient."""

    @abstractmethod
    def score(self, module: Any, split: str) -> Rows:
        """Rows that every metric and slice is computed from.

        Args:
            module: in evaluation mode, without gradients.
            split: `validation` (what the search sees) or `test`.

        Returns:
            The columns that metrics and slices name, as a mapping from names to arrays or as a DataFrame; and perhaps
            `unit`, which says what counts as one observation, such as a user; without it each row is one.
        """

    @abstractmethod
    def workloads(self, module: Any) -> dict[str, Callable[[], object]]:
        """What is timed, by name, in the order of `workload_names`: each call is one request."""

    def look(self, module: Any) -> Rows:
        """Rows as `score` gives them, on a part of validation that is quickly asked: by default all of it."""
        return self.score(module, "validation")

    def perturb(self, module: Any, split: str, perturbation: str) -> Rows:
        """Rows as `score` gives them, with the same requests made harder, in one of the ways of `perturbations`."""
        raise NotImplementedError(f"perturb() must be defined, for perturbations names {perturbation!r}")

    def fingerprint(self) -> str:
        """Changes when data changes that neither the training batches nor `task.data.path` show."""
        return ""
