"""One table of vectors, and the map from the vectors that it was given to those that it holds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from autoprune.models.axis import Axis
from autoprune.models.model import Model
from autoprune.models.table import Table
from autoprune.vectors.served import TABLE


class VectorTable(Model):
    """Vectors that are looked up and searched.

    Axes: `dim` and `rows.vectors`.

    Args:
        vectors: float32 [rows, width]; shared, as nothing but training writes into tensors, and it trains copies.
        similarity: one of `autoprune.vectors.similarity.SIMILARITIES`.

    Attributes:
        projection: float32 [width, dim]; what is searched for is multiplied by it. Its columns are orthonormal.
    """

    projection: Tensor

    def __init__(self, vectors: Tensor, *, similarity: str) -> None:
        rows, width = vectors.shape
        super().__init__(
            {TABLE: Table(rows, width)},
            (
                Axis(name="dim", kind="dim", pairs=((TABLE, 1),)),
                Axis(name=f"rows.{TABLE}", kind="rows", pairs=((TABLE, 0),)),
            ),
        )
        self.tables[TABLE].weight = nn.Parameter(vectors)
        self.register_buffer("projection", torch.eye(width))
        self.similarity, self.points = similarity, False

    @property
    def products(self) -> int:
        return self.tables[TABLE].rows * self.tables[TABLE].dim

    def rotate(self, axis: Axis, rotation: Tensor) -> None:
        super().rotate(axis, rotation)
        self.projection = self.projection @ rotation

    def cut(self, axis: Axis, keep: Tensor) -> None:
        super().cut(axis, keep)
        if axis.kind == "dim":
            self.projection = self.projection[:, keep]

    @property
    def turned(self) -> bool:
        """Whether its vectors are others than those it was given, but for what coding did to them."""
        width = len(self.projection)
        return self.projection.shape[1] < width or not torch.equal(self.projection.cpu(), torch.eye(width))

    def turns_freely(self, axis: Axis) -> bool:
        return self.turned  # what is searched for is projected anyway

    def settings(self) -> dict[str, Any]:
        return {"kind": "vectors", "similarity": self.similarity, "width": len(self.projection)}
