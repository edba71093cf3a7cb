"""L1 and group lasso: training shrinks weights towards zero, and those that reach it are pruned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.axis import Axis
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import Table
from autoprune.steps.step import Step, check_choice

GROUPS = ("weights", "dims", "rows")


def soft_threshold(weights: Tensor, threshold: float) -> Tensor:
    """The proximal operator of threshold * |w|: every weight moves towards zero by `threshold` and stops there."""
    return weights.sign() * (weights.abs() - threshold).clamp_min(0.0)


def group_scale(norms: Tensor, size: float, threshold: float) -> Tensor:
    """The factor of each group in the proximal operator of threshold * sqrt(size) * |group| (Yuan & Lin 2006).

    Args:
        norms: float32 [groups], the norm of each group.
        size: the number of weights in a group.
    """
    return (1.0 - threshold * math.sqrt(size) / norms.clamp_min(1e-12)).clamp_min(0.0)


def _root_mean_square(table: Table) -> float:
    """The root mean square of the weights that are not zero yet."""
    weights = table.weights().detach()
    return math.sqrt(float(weights.square().sum() / (weights != 0).sum().clamp_min(1)))


@dataclass(frozen=True, kw_only=True)
class L1(Step):
    """L1 on lookup tables while a stage trains, then pruning of what became zero.

    Under Adam the gradient of an L1 penalty gives no exact zeros, so the penalty acts as a proximal step after every
    update, decoupled from Adam's scaling as weight decay is in AdamW (Parikh & Boyd 2014, "Proximal Algorithms",
    section 4.2; Yun et al. 2021, "Adaptive Proximal Gradient Methods for Structured Neural Networks").

    Attributes:
        strength: an update moves weights towards zero by learning rate * strength * the root mean square of their
            table. So one number means the same for tables of any scale, and shrinking all rows together, which cosines
            ignore, cannot accelerate.
        groups: what shrinks: single `weights` (Tibshirani 1996), or whole `dims` or `rows` (group lasso, Yuan & Lin
            2006), which are cut once they are zero. At least one dimension and one row stay, and rows that the model
            protects do not shrink.
    """

    name: ClassVar[str] = "l1"
    rank: ClassVar[int] = 1
    only_trains: ClassVar[bool] = True

    strength: float
    groups: str = "weights"

    def idle(self) -> bool:
        return self.strength == 0 and self.strength is not False

    def summary(self) -> str:
        return f"l1 {self.groups} {self.strength:.2g}"

    def check(self, model: Model) -> None:
        check_choice("groups", self.groups, GROUPS)
        if self.groups == "dims" and not self._dims(model):
            raise RecipeError(
                ("groups",), "no lookup table has an axis of dimensions; choose groups=weights or groups=rows."
            )
        number = isinstance(self.strength, int | float) and not isinstance(self.strength, bool)
        if not number or not 0 <= self.strength < math.inf:
            raise RecipeError(("strength",), f"0 <= strength < inf must hold, but got {self.strength!r}.")

    def shrink(self, model: Model, learning_rate: float) -> None:
        share = learning_rate * self.strength
        with torch.no_grad():
            if self.groups == "dims":
                for axis in self._dims(model):
                    self._shrink_dims([model.tables[name] for name, _ in axis.pairs], share)
                return
            if self.groups == "rows":  # not protected ones: as zeros they would cost quality and save nothing
                for axis in model.axes_of("rows").values():
                    self._shrink_rows(model.tables[axis.pairs[0][0]], model.protected(axis), share)
                return
            for table in model.lookups.values():
                table.weight.copy_(soft_threshold(table.weight, share * _root_mean_square(table)))

    def _shrink_rows(self, table: Table, protected: Tensor, share: float) -> None:
        lengths = torch.linalg.vector_norm(table.weights(), dim=1)
        scale = group_scale(lengths, table.dim, share * _root_mean_square(table))
        scale[protected] = 1.0
        table.weight.mul_(scale[:, None])

    def _shrink_dims(self, tables: list[Table], share: float) -> None:
        # Divided by each table's root mean square, the coupled columns are one group of sum(rows) weights.
        scales = [max(_root_mean_square(table), 1e-12) for table in tables]
        squares = [table.weights().square().sum(0) / scale**2 for table, scale in zip(tables, scales, strict=True)]
        scale = group_scale(torch.stack(squares).sum(0).sqrt(), sum(table.rows for table in tables), share)
        for table in tables:
            table.weight.mul_(scale)

    def convert(self, model: Model, context: Context) -> None:
        if self.groups == "weights":
            for table in model.lookups.values():
                table.prune(table.mask & (table.weight != 0))
            return
        for axis in self._dims(model) if self.groups == "dims" else model.axes_of("rows").values():
            dimension = axis.pairs[0][1]
            lengths = torch.stack([model.tables[name].weights().norm(dim=1 - dimension) for name, _ in axis.pairs])
            standing = lengths.amax(0) > 0
            standing[0] |= not standing.any()
            standing[model.protected(axis)] = True
            model.cut(axis, standing.nonzero()[:, 0])

    def _dims(self, model: Model) -> list[Axis]:
        return [axis for axis in model.axes_of("dim").values() if all(name in model.lookups for name, _ in axis.pairs)]

    def aspects(self) -> frozenset[str]:
        return frozenset({self.name, "zeros"} if self.groups == "weights" else {self.name})
