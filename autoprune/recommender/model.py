"""Matrix factorisation: a user table, an item table, and their dot product."""

from __future__ import annotations

from typing import Any

import torch

from autoprune.models.axis import Axis
from autoprune.models.model import Model
from autoprune.models.table import Table


class Factorization(Model):
    """Scores every item for a user by the dot product of their rows, plus biases if the tables have any.

    Axes: `dim` (columns of both tables), `rows.user`, `rows.item`.

    Args:
        user, item: tables of the same width.
        fold_in: how users without a row get a vector; settings of `autoprune.recommender.strangers.Strangers`.
        constant: added to every score.
    """

    def __init__(self, user: Table, item: Table, *, fold_in: dict[str, float], constant: float = 0.0) -> None:
        super().__init__(
            {"user": user, "item": item},
            (
                Axis(name="dim", kind="dim", pairs=(("user", 1), ("item", 1))),
                Axis(name="rows.user", kind="rows", pairs=(("user", 0),)),
                Axis(name="rows.item", kind="rows", pairs=(("item", 0),)),
            ),
        )
        self.fold_in, self.constant = fold_in, constant

    @property
    def products(self) -> int:
        return self.tables["item"].rows * self.tables["item"].dim

    def turns_freely(self, axis: Axis) -> bool:
        return True  # users and items are rotated together, so dot products stay

    def settings(self) -> dict[str, Any]:
        constant = {"constant": self.constant} if self.constant else {}
        return {"kind": "recommender", "fold_in": self.fold_in, **constant}


def random_factorization(
    users: int, items: int, dim: int, *, init_std: float, fold_in: dict[str, float], seed: int
) -> Factorization:
    """A dense model with random weights.

    Args:
        users, items, dim: the shape of the tables.
        init_std: standard deviation of the weights.
        fold_in: see `Factorization`.
        seed: of the weights.
    """
    model = Factorization(Table(users, dim), Table(items, dim), fold_in=fold_in)
    draw = torch.Generator().manual_seed(seed)
    for table in model.tables.values():
        torch.nn.init.normal_(table.weight, std=init_std, generator=draw)
    return model
