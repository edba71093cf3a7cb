"""One table of vectors, and the projection from the original vectors to those that the table holds."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from autoprune.models.axis import Axis
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.models.planned import Planned
from autoprune.models.remembered import Remembered
from autoprune.packing.blocks import StoredBlocks
from autoprune.vectors.served import TABLE


class VectorTable(Model):
    """Vectors that are looked up and searched.

    Axes: `dim` and `rows.vectors`. The table is planned until something trains it.

    Args:
        vectors: float32 [rows, width]; shared, since only training writes into tensors, and it works on copies.
        similarity: one of `autoprune.vectors.similarity.SIMILARITIES`.
        known: results that were computed from these vectors before.

    Attributes:
        projection: float32 [width, dim], with orthonormal columns; queries are multiplied by it.
    """

    projection: Tensor

    def __init__(self, vectors: Tensor, *, similarity: str, known: Remembered | None = None) -> None:
        super().__init__(
            {TABLE: Planned(vectors, known=known)},
            (
                Axis(name="dim", kind="dim", pairs=((TABLE, 1),)),
                Axis(name=f"rows.{TABLE}", kind="rows", pairs=((TABLE, 0),)),
            ),
        )
        self.register_buffer("projection", torch.eye(vectors.shape[1]))
        self.similarity, self.points = similarity, False

    @property
    def products(self) -> int:
        return self.tables[TABLE].rows * self.tables[TABLE].dim

    def own(self) -> Self:
        if not self.planned:
            return copy.deepcopy(self)
        model = self.twin()
        model.settle()
        return model

    def settle(self) -> None:
        if self.planned:
            self._tables[TABLE] = self.planned.settled()

    @property
    def planned(self) -> Planned | None:
        """The table, while it is planned."""
        table = self.tables[TABLE]
        return table if isinstance(table, Planned) else None

    @property
    def made_while_written(self) -> dict[str, StoredBlocks]:
        """The table, if it is computed block by block while it is written."""
        return {TABLE: self.planned.stored()} if self.planned and self.planned.touched else {}

    def packed(self) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray[Any, Any]]]:
        stored = self.made_while_written
        return ({TABLE: stored[TABLE].entry}, {}) if stored else super().packed()

    def moments(self, axis: Axis, context: Context) -> list[Tensor]:
        return [self.planned.moment()] if self.planned else super().moments(axis, context)

    def squares(self, axis: Axis, context: Context) -> list[Tensor]:
        return [self.planned.moment().diagonal().float()] if self.planned else super().squares(axis, context)

    def rotate(self, axis: Axis, rotation: Tensor) -> None:
        super().rotate(axis, rotation)
        self.projection = self.projection @ rotation

    def cut(self, axis: Axis, keep: Tensor) -> None:
        super().cut(axis, keep)
        if axis.kind == "dim":
            self.projection = self.projection[:, keep]

    @property
    def turned(self) -> bool:
        """Whether its vectors were rotated or lost dimensions; coding does not count."""
        width = len(self.projection)
        return self.projection.shape[1] < width or not torch.equal(self.projection.cpu(), torch.eye(width))

    def turns_freely(self, axis: Axis) -> bool:
        return self.turned  # queries are projected anyway

    def settings(self) -> dict[str, Any]:
        return {"kind": "vectors", "similarity": self.similarity, "width": len(self.projection)}
