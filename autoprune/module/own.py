"""The class that a user writes to search their own module, in a file of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar

import pandas as pd
from torch import Tensor, nn

from autoprune.tasks.metric import Metric

Rows = pd.DataFrame | Mapping[str, Any]
"""Columns by name, all of the same length."""


class ModuleTask(ABC):
    """A task around any `nn.Module`: how to load it, train it, score it and time it.

    Every process of a study constructs the task anew, with the arguments in `task.options` (and `data=` if
    `task.data.path` is set), and must get the same task each time. Draw random numbers from torch's generator: it is
    seeded before each call.

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
        metrics: functions of the rows of `score`, by name; larger is better. `quality` means the first one.
        slices: columns that split the rows, each with the slices that it splits them into.
        tables: paths of the embeddings to compress (`"encoder.items"`); None: all.
        cut: names of the tables that may lose rows and dimensions (`"encoder_items"`); None: those of 256 rows or more.
        linears: paths of the `nn.Linear` layers whose weights may be quantised too (`"mlp.0"`).
        perturbations: ways in which `perturb` can make the same requests harder; each is measured like a slice.
        workload_names: the names that `workloads` returns, in order; `latency_ms` means the first one.
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
        """The module: trained, or untrained if `task.training.epochs` trains it first."""

    @abstractmethod
    def batches(self) -> Iterable[Any]:
        """One epoch of training batches, in an order drawn from torch's generator.

        All batches of an epoch are in memory during training. If the data is large, return indices and look the data
        up in `loss`.
        """

    @abstractmethod
    def loss(self, module: Any, batch: Any) -> Tensor:
        """The loss of one batch, a scalar with a gradient."""

    @abstractmethod
    def score(self, module: Any, split: str) -> Rows:
        """The rows from which all metrics and slices are computed.

        Args:
            module: in evaluation mode, without gradients.
            split: `validation` (what the search sees) or `test`.

        Returns:
            The columns that metrics and slices name, as a mapping from names to arrays or as a DataFrame. A column
            `unit` says which rows form one observation, such as a user; without it each row is one.
        """

    @abstractmethod
    def workloads(self, module: Any) -> dict[str, Callable[[], object]]:
        """The timed requests by name, in the order of `workload_names`: each call is one request."""

    def look(self, module: Any) -> Rows:
        """Rows like those of `score`, on a part of validation that is fast to score; by default all of it."""
        return self.score(module, "validation")

    def perturb(self, module: Any, split: str, perturbation: str) -> Rows:
        """Rows like those of `score`, with the same requests made harder in one of the ways in `perturbations`."""
        raise NotImplementedError(f"perturb() must be defined, because perturbations names {perturbation!r}")

    def fingerprint(self) -> str:
        """A text that changes with any data that neither the training batches nor `task.data.path` contain."""
        return ""
