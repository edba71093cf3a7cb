"""A task of the six methods that a task must define, its model and what serves it: vectors whose products are known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from autoprune.artifacts.served import Parts, Served
from autoprune.families import Family
from autoprune.models.axis import Axis
from autoprune.models.model import Model
from autoprune.models.table import Table
from autoprune.tasks.metric import MeanMetric
from autoprune.tasks.task import Task, TaskMaker

THINGS, DIM, PAIRS = 60, 8, 400


class Vectors(Model):
    """One table."""

    def __init__(self, rows: int, dim: int, *, seed: int) -> None:
        super().__init__({"thing": Table(rows, dim)}, (Axis(name="dim", kind="dim", pairs=(("thing", 1),)),))
        draw = torch.Generator().manual_seed(seed)
        torch.nn.init.normal_(self.tables["thing"].weight, std=0.5, generator=draw)

    def settings(self) -> dict[str, Any]:
        return {"kind": "products"}


class Products(Served):
    """Answers with the products of two rows."""

    def __init__(self, parts: Parts, *, device: str = "cpu", prefer: str | None = None) -> None:
        self._table = parts.tables()["thing"]

    @property
    def memory_bytes(self) -> int:
        return self._table.memory_bytes

    @property
    def example(self) -> str:
        return "model.products([0], [1])"

    def products(self, ones: Sequence[int], others: Sequence[int]) -> np.ndarray[Any, Any]:
        left, right = (self._table.decode(np.asarray(at)) for at in (ones, others))
        return (left * right).sum(1)


class Closeness(MeanMetric):
    """1 where a product is right."""

    def per_unit(self, rows: pd.DataFrame) -> pd.Series:
        return pd.Series(1 / (1 + rows["error"].to_numpy() ** 2), index=rows["unit"].to_numpy())


class MinimalTask(Task[Vectors, Products]):
    """Pairs of things, and what their product should be."""

    name = "products"
    metrics: Mapping[str, Closeness] = {"closeness": Closeness()}

    def __init__(self, *, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        true = draw.normal(size=(THINGS, DIM)) / DIM**0.5
        self.pairs = {split: draw.integers(THINGS, size=(PAIRS, 2)) for split in ("train", "validation", "test")}
        self.wanted = {split: (true[at[:, 0]] * true[at[:, 1]]).sum(1) for split, at in self.pairs.items()}

    def model(self, base: Mapping[str, Any], *, seed: int) -> Vectors:
        return Vectors(THINGS, DIM, seed=seed)

    def fingerprint(self) -> str:
        return hashlib.sha256(b"".join(wanted.tobytes() for wanted in self.wanted.values())).hexdigest()

    def batches(self) -> Sequence[Tensor]:
        return torch.split(torch.randperm(PAIRS), 100)

    def loss(self, model: Vectors, batch: Tensor) -> Tensor:
        ones, others = torch.from_numpy(self.pairs["train"])[batch].T
        table, wanted = model.tables["thing"], torch.from_numpy(self.wanted["train"])[batch]
        return ((table.values(ones) * table.values(others)).sum(1) - wanted).square().mean()

    def score(self, served: Products, split: str, perturbation: str | None = None) -> pd.DataFrame:
        ones, others = self.pairs[split].T
        return pd.DataFrame({"unit": np.arange(PAIRS), "error": served.products(ones, others) - self.wanted[split]})

    def workloads(self, served: Products) -> dict[str, Callable[[], object]]:
        return {"single": lambda: served.products([0], [1])}


@dataclass(kw_only=True)
class ProductsConfig:
    """What the task can be told."""

    name: str = "products"
    seed: int = 0


PRODUCTS = TaskMaker(config=ProductsConfig, make=lambda config: MinimalTask(seed=config.seed))

MINIMAL = Family(kind="products", serves="minimal_task:Products", tasks={"products": "minimal_task:PRODUCTS"})
"""Its row."""
