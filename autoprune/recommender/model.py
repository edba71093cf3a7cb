"""Matrix factorisation: a user table, an item table, and their dot product."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autoprune.models.axis import Axis
from autoprune.models.model import Model
from autoprune.models.table import Table


class Factorization(Model):
    """Scores every item for a user by the dot product of their rows.

    Axes: `dim` (columns of both tables), `rows.user`, `rows.item`.

    Args:
        users, items, dim: the dense shape.
        init_std: standard deviation of the initial weights.
        fold_in: {alpha, ridge} of the regression that finds the vector of a user without a row.
        seed: of the initial weights.
    """

    def __init__(
        self, users: int, items: int, dim: int, *, init_std: float, fold_in: dict[str, float], seed: int
    ) -> None:
        super().__init__(
            {"user": Table(users, dim), "item": Table(items, dim)},
            (
                Axis(name="dim", kind="dim", pairs=(("user", 1), ("item", 1))),
                Axis(name="rows.user", kind="rows", pairs=(("user", 0),)),
                Axis(name="rows.item", kind="rows", pairs=(("item", 0),)),
            ),
        )
        self.fold_in = fold_in
        draw = torch.Generator().manual_seed(seed)
        for table in self.tables.values():
            torch.nn.init.normal_(table.weight, std=init_std, generator=draw)

    @property
    def products(self) -> int:
        return self.tables["item"].rows * self.tables["item"].dim

    def forward(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors of `users` (rows of the user table, int64 [n]) and of all items: [n, dim], [items, dim]."""
        return self.tables["user"].values(users), self.tables["item"].values()

    def settings(self) -> dict[str, Any]:
        return {"kind": "recommender", "fold_in": self.fold_in}
