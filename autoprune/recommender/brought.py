"""The recommender task whose dense model somebody else trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import AutopruneError, RecipeError
from autoprune.machine import memory
from autoprune.packing.biased import asking
from autoprune.recommender.config import RecommenderConfig
from autoprune.recommender.data.interactions import Interactions
from autoprune.recommender.matching import Matched
from autoprune.recommender.model import Factorization
from autoprune.recommender.task import COPIES, INITIAL_RMS, RecommenderTask

CALIBRATED_SCORES = 2**23
"""At most so many scores are used to fit the temperature of the softmax."""

TEMPERATURES = 2.0 ** np.arange(-12, 13)
SHARPENED = 2.0 ** (np.arange(-4, 5) / 5)
"""Inverse temperatures to try, and factors to try next around the best of them."""


class BroughtTask(RecommenderTask):
    """Recommends by tables that were trained elsewhere.

    These tables are the dense model. Fine-tuning uses a softmax over all items, as for models that are trained here,
    but on the scores themselves instead of cosines. The scores are divided by the temperature that explains the
    training data best (Guo et al. 2017, "On Calibration of Modern Neural Networks"). The learning rate is meant for
    weights as large as those of models that are trained here, and is scaled in proportion to the weights.
    """

    def __init__(self, name: str, data: Interactions, config: RecommenderConfig, brought: Matched) -> None:
        super().__init__(name, data, config)
        self._brought = brought
        self.base = {"dim": brought.dim}
        rate = self.training.tuning_rate or self.training.learning_rate
        rate *= min(_rms(brought, side) for side in brought.rows) / INITIAL_RMS
        self.training = dataclasses.replace(self.training, epochs=0, tuning_rate=rate)

    def describe(self) -> str:
        tables = " and ".join(f"{int((rows >= 0).sum()):,} {side}s" for side, rows in self._brought.rows.items())
        notes = [f"the dense model comes trained: {tables} x {self._brought.dim}", *self._brought.trained.notes]
        return "; ".join([super().describe(), *notes, *self._brought.notes])

    def fingerprint(self) -> str:
        return f"{super().fingerprint()} {self._brought.trained.fingerprint()}"

    def model(self, base: Mapping[str, Any], *, seed: int) -> Factorization:
        dim = base.get("dim", self._brought.dim)
        if dim != self._brought.dim:
            raise RecipeError(
                ("base", "dim"),
                f"the tables of task.model have {self._brought.dim} dimensions, and a dense model of another width "
                f"cannot be made from them, but got {dim!r}; leave it out, and cut dimensions by prune.dims.",
            )
        needed = sum(len(rows) for rows in self._brought.rows.values()) * dim * 4 * COPIES
        if needed > memory():
            raise AutopruneError(
                f"task.model: training its tables needs {needed / 1e9:,.1f} GB, but the "
                f"machine has {memory() / 1e9:,.1f} GB."
            )
        user, item = (self._brought.table(side) for side in ("user", "item"))
        fold_in = self.config.fold_in.settings()
        return Factorization(user, item, fold_in=fold_in, constant=self._brought.trained.constant)

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """The space with the width of the tables as the only width of the dense model."""
        base = recipe.get("base")
        if not isinstance(base, Mapping) or not isinstance(base.get("dim"), Mapping):
            return dict(recipe)
        return {**recipe, "base": {**base, "dim": {"any_of": [self._brought.dim]}}}

    def stand_in(self, base: Mapping[str, Any]) -> None:
        return None

    def initialize(self, model: Factorization, *, seed: int) -> None:
        pass

    def settle(self, model: Factorization) -> None:
        pass

    def settled(self, model: Factorization, name: str, rows: Tensor) -> Tensor:
        return rows

    def compared_users(self, model: Factorization, users: Tensor) -> Tensor:
        return (users if model.tables["item"].bias is None else asking(users)) * self._sharpness

    def compared_items(self, model: Factorization, items: Tensor, rows: Tensor | None) -> Tensor:
        bias, chosen = model.tables["item"].bias, slice(None) if rows is None else rows
        return items[chosen] if bias is None else torch.cat([items[chosen], bias[chosen, None]], dim=1)

    @cached_property
    def _sharpness(self) -> float:
        """The inverse temperature with which the dense model explains the training data best."""
        model = self.model({}, seed=0)
        user, item = model.tables["user"], model.tables["item"]
        most = max(CALIBRATED_SCORES // item.rows, 16)
        with_row = self._trainable[user.rows_of(self._trainable) >= 0]
        users = torch.from_numpy(np.random.default_rng(0).permutation(with_row.numpy())[:most])
        owner, seen = self.data.train.take(users)
        seen = item.rows_of(seen)
        owner, seen = owner[seen >= 0], seen[seen >= 0]
        with torch.no_grad():
            scores = user.weight[user.rows_of(users)] @ item.weight.T
            scores = scores if item.bias is None else scores + item.bias
            counts = torch.bincount(owner, minlength=len(users)).float()
            seen_scores = float(scores[owner, seen].sum())

            def likelihood(sharpness: float) -> float:
                return sharpness * seen_scores - float(torch.logsumexp(scores * sharpness, 1) @ counts)

            best = max(TEMPERATURES.tolist(), key=likelihood)
            return float(max((best * SHARPENED).tolist(), key=likelihood))


def _rms(brought: Matched, side: str) -> float:
    """Root mean square of the weights of a table."""
    vectors = getattr(brought.trained, side).table.vectors
    return float(np.sqrt(np.einsum("ij,ij->", vectors, vectors, dtype=np.float64) / vectors.size))
