"""Unstructured pruning: sets the single weights with the smallest absolute values to zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.axis import removes_nothing, sparsity_by_name
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.table import Table
from autoprune.steps.step import Step, check_choice, removed

SCOPES = ("global", "table")


def magnitude_masks(weights: list[Tensor], sparsity: float, *, min_per_row: int = 0) -> list[Tensor]:
    """Which weights stay when the smallest absolute values of all tables together are removed.

    Args:
        weights: float32 [rows, dim] each.
        sparsity: fraction removed; exactly round(sparsity * total) weights go, and of equal ones the first.
        min_per_row: how many of the largest weights of every row always stay (Tran et al. 2024, "A Thorough
            Performance Benchmarking on Lightweight Embedding-based Recommender Systems").

    Returns:
        bool [rows, dim] for each table; True: the weight stays.

    Raises:
        ValueError: `min_per_row` leaves fewer weights than must be removed.
    """
    total = sum(table.numel() for table in weights)
    count = removed(total, sparsity)
    spare = sum(len(table) * max(table.shape[1] - min_per_row, 0) for table in weights)
    if count > spare:
        raise ValueError(f"{count} of {total} weights cannot go: min_per_row={min_per_row} leaves {spare} to remove")
    sizes = [_protected(table.detach().abs(), min_per_row).flatten() for table in weights]
    keep = ~smallest(torch.cat(sizes), count)
    masks = torch.split(keep, [table.numel() for table in weights])
    return [mask.view(table.shape) for mask, table in zip(masks, weights, strict=True)]


def smallest(size: Tensor, count: int) -> Tensor:
    """A bool mask, [n], of exactly the `count` smallest entries of `size`; of equal ones the first."""
    if count == 0:
        return torch.zeros(len(size), dtype=torch.bool, device=size.device)
    # numpy's introselect is several times faster than torch.kthvalue or topk on millions of values
    threshold = float(np.partition(size.cpu().numpy(), count - 1)[count - 1])
    chosen = size < threshold
    ties = (size == threshold).nonzero()[:, 0]
    chosen[ties[: count - int(chosen.sum())]] = True
    return chosen


def _protected(size: Tensor, min_per_row: int) -> Tensor:
    if min_per_row == 0:
        return size
    largest = size.topk(min(min_per_row, size.shape[1]), dim=1).indices
    return size.scatter(1, largest, torch.inf)


@dataclass(frozen=True, kw_only=True)
class Magnitude(Step):
    """Prunes single weights by absolute value (Han et al. 2015), at once or along a schedule (Zhu & Gupta 2017).

    Attributes:
        sparsity: fraction of the weights removed: one number, or with scope `table` a mapping from table to number.
        scope: `global` ranks the weights of all tables together, `table` those of each table separately.
        min_per_row: how many weights of every row stay at least.
    """

    name: ClassVar[str] = "magnitude"
    rank: ClassVar[int] = 1

    sparsity: float | Mapping[str, float]
    scope: str = "global"
    min_per_row: int = 0

    def idle(self) -> bool:
        return removes_nothing(self.sparsity)

    def check(self, model: Model) -> None:
        check_choice("scope", self.scope, SCOPES)
        if isinstance(self.min_per_row, bool) or not isinstance(self.min_per_row, int) or self.min_per_row < 0:
            raise RecipeError(("min_per_row",), f"a whole number >= 0 must be given, but got {self.min_per_row!r}.")
        sparsities = sparsity_by_name(self.sparsity, model.groups, path=("sparsity",))
        if self.scope == "global" and isinstance(self.sparsity, Mapping):
            raise RecipeError(("sparsity",), "scope global takes one number; to name tables, set scope: table.")
        tables = [
            (name, table, sparsities[group]) for group in sparsities for name, table in model.groups[group].items()
        ]
        for name, table, sparsity in tables:
            dim = table.dim
            highest = 1 - min(self.min_per_row, dim) / dim
            if sparsity > highest:
                raise RecipeError(
                    ("sparsity",),
                    f"sparsity <= {highest:.4g} must hold where {self.min_per_row} of {dim} dimensions of every row of "
                    f"table {name!r} stay, but got {sparsity}; lower it or min_per_row.",
                )

    def advance(self, model: Model, context: Context, reached: float) -> None:
        sparsities = sparsity_by_name(self.sparsity, model.groups, path=("sparsity",))
        if self.scope == "global":
            self._prune(list(model.tables.values()), next(iter(sparsities.values())) * reached)
            return
        for name, sparsity in sparsities.items():
            for table in model.groups[name].values():
                self._prune([table], sparsity * reached)

    def _prune(self, tables: list[Table], sparsity: float) -> None:
        # Hidden positions of an axis will be cut: they neither count nor take part in the ranking.
        live = [torch.outer(table.row_mask, table.dim_mask) for table in tables]
        pruned = sum(int((area & ~table.mask).sum()) for area, table in zip(live, tables, strict=True))
        if pruned >= removed(sum(int(area.sum()) for area in live), sparsity):
            return  # the schedule has not reached its next whole weight
        weights = [table.weights().detach()[table.row_mask][:, table.dim_mask] for table in tables]
        try:
            masks = magnitude_masks(weights, sparsity, min_per_row=self.min_per_row)
        except ValueError as error:
            raise RecipeError(("sparsity",), f"{error}; lower one of the two.") from error
        for table, area, mask in zip(tables, live, masks, strict=True):
            full_mask = table.mask.clone()
            full_mask[area] = mask.flatten()
            table.prune(full_mask)

    def aspects(self) -> frozenset[str]:
        return frozenset({self.name, "zeros"})
