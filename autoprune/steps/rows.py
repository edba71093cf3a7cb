"""Structured pruning of tables: whole rows (users, items, words) go, and their ids with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from autoprune.context import Context
from autoprune.errors import RecipeError
from autoprune.models.axis import removes_nothing, sparsity_by_name
from autoprune.models.model import Model
from autoprune.steps.importance import row_frequency, row_norm
from autoprune.steps.step import Step, check_choice, removed

IMPORTANCES = ("frequency", "norm", "both")


def most_important(importance: Tensor, count: int) -> Tensor:
    """Positions of the `count` largest entries, ascending; of equal ones the first stay.

    Args:
        importance: [n], any number type.
    """
    order = importance.argsort(descending=True, stable=True)
    return order[:count].sort().values


@dataclass(frozen=True, kw_only=True)
class Rows(Step):
    """Removes the rows that matter least.

    A removed item is never recommended. A removed user keeps being served: their vector is found from their
    history by ridge regression (see `autoprune.runtime.recommender`).

    Attributes:
        sparsity: fraction of the rows removed; one number for every row axis, or a mapping from axis
            (`item`, `user`) to number. At least one row stays.
        importance: `frequency`, the number of occurrences in the training data; `norm`, the length of the row;
            `both`, their product.
    """

    name: ClassVar[str] = "rows"
    moves_zeros: ClassVar[bool] = True

    sparsity: float | Mapping[str, float]
    importance: str = "frequency"

    def idle(self) -> bool:
        return removes_nothing(self.sparsity)

    def sized(self) -> bool:
        return self.importance == "frequency"  # others depend on weights, and ids compress as they come

    def check(self, model: Model) -> None:
        check_choice("importance", self.importance, IMPORTANCES)
        axes = model.axes_of("rows")
        if not axes:
            raise RecipeError((), f"the model has no axis of rows. It has: {', '.join(model.axes) or 'none'}.")
        for name, sparsity in sparsity_by_name(self.sparsity, axes, path=("sparsity",)).items():
            size = model.tables[axes[name].parts[0][0]].original_rows
            if removed(size, sparsity) >= size:
                raise RecipeError(
                    ("sparsity",), f"at least one row must stay, but {sparsity} of {size} {name} rows leaves none."
                )

    def advance(self, model: Model, context: Context, reached: float) -> None:
        for name, sparsity in sparsity_by_name(self.sparsity, model.axes_of("rows"), path=("sparsity",)).items():
            axis = model.axes_of("rows")[name]
            table = model.tables[axis.parts[0][0]]
            stay = max(1, table.rows - removed(table.rows, sparsity * reached))
            if stay < int(table.row_mask.sum()):
                model.hide(axis, most_important(self._importance(model, axis.parts[0][0], context), stay))

    def _importance(self, model: Model, table: str, context: Context) -> Tensor:
        if self.importance == "norm":
            return row_norm(model, table)
        frequency = row_frequency(model, table, context)
        return frequency if self.importance == "frequency" else frequency * row_norm(model, table)

    def convert(self, model: Model, context: Context) -> None:
        for axis in model.axes_of("rows").values():
            keep = model.tables[axis.parts[0][0]].row_mask.nonzero()[:, 0]
            model.cut(axis, keep)
