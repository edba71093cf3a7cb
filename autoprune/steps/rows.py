"""Structured pruning of tables: removes whole rows (users, items, words) and their ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.axis import Axis, removes_nothing, sparsity_by_name
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.steps.importance import row_frequency, row_norm
from autoprune.steps.step import Step, check_choice, removed

IMPORTANCES = ("frequency", "norm", "both")


def most_important(importance: Tensor, count: int) -> Tensor:
    """Positions of the `count` largest entries, ascending; of equal ones the first.

    Args:
        importance: [n], any number type.
    """
    entries, dropped = importance.cpu().numpy(), len(importance) - count
    # introselect: on millions of rows several times as fast as sorting, with less memory
    least = np.partition(entries, dropped)[dropped] if count else np.inf
    keep = entries > least
    ties = np.flatnonzero(entries == least)
    keep[ties[: count - int(keep.sum())]] = True
    return torch.from_numpy(np.flatnonzero(keep)).to(importance.device)


@dataclass(frozen=True, kw_only=True)
class Rows(Step):
    """Removes the rows that matter least.

    A removed item is never recommended. A removed user is still served: their vector is computed from their history
    (see `autoprune.recommender.strangers`), and later training optimises the items for that. A removed vocabulary piece
    is read as smaller pieces that stay (see `autoprune.encoder.tokenizer`).

    Attributes:
        sparsity: fraction of the rows removed: one number for all row axes, or a mapping from axis (`item`, `user`,
            `vocab`) to number. At least one row stays, and all rows that the model protects (in a vocabulary the
            special tokens and the ASCII characters).
        importance: `frequency`, the number of occurrences in the training data; `norm`, the length of the row;
            `both`, their product.
        points: whether the nearest remaining row answers for a removed one; only for models of vectors and words.
    """

    name: ClassVar[str] = "rows"
    plans: ClassVar[bool] = True

    sparsity: float | Mapping[str, float]
    importance: str = "frequency"
    points: bool = False

    def parameters(self) -> dict[str, Any]:
        parameters = super().parameters()
        return parameters if self.points else {name: value for name, value in parameters.items() if name != "points"}

    def summary(self) -> str:
        return f"{super().summary()}{' pointing' * self.points}"

    def idle(self) -> bool:
        return removes_nothing(self.sparsity)

    def check(self, model: Model) -> None:
        check_choice("importance", self.importance, IMPORTANCES)
        if type(self.points) is not bool or (self.points and model.points is None):
            raise RecipeError(
                ("points",),
                f"rows of this model cannot be answered by others, but got {self.points!r}; leave points out."
                if model.points is None
                else f"true or false must be given, but got {self.points!r}.",
            )
        axes = model.axes_of("rows")
        if not axes:
            raise RecipeError((), f"the model has no axis of rows. It has: {', '.join(model.axes) or 'none'}.")
        for name, sparsity in sparsity_by_name(self.sparsity, axes, path=("sparsity",)).items():
            size = model.tables[axes[name].pairs[0][0]].original_rows
            least = max(1, len(model.protected(axes[name])))
            if size - removed(size, sparsity) < least:
                raise RecipeError(
                    ("sparsity",),
                    f"at least {least} of the {size} {name} rows must stay, but {sparsity} leaves "
                    f"{size - removed(size, sparsity)}.",
                )

    def advance(self, model: Model, context: Context, reached: float) -> None:
        for name, sparsity in sparsity_by_name(self.sparsity, model.axes_of("rows"), path=("sparsity",)).items():
            axis = model.axes_of("rows")[name]
            protected, size = model.protected(axis), model.size(axis)
            stay = max(1, len(protected), size - removed(size, sparsity * reached))
            if stay < len(model.standing(axis)):
                importance = self._importance(model, axis, context)
                importance[protected] = torch.inf
                model.hide(axis, most_important(importance, stay))

    def _importance(self, model: Model, axis: Axis, context: Context) -> Tensor:
        table = axis.pairs[0][0]
        if self.importance == "frequency":  # already counts rows that others need
            return row_frequency(model, table, context).double()
        norm = row_norm(model, table)
        own = norm if self.importance == "norm" else row_frequency(model, table, context) * norm
        return model.with_needed(axis, own.double())

    def convert(self, model: Model, context: Context) -> None:
        for axis in model.axes_of("rows").values():
            if len(model.standing(axis)) < model.size(axis):
                model.cut(axis, model.standing(axis))
        if self.points:
            model.points = True
