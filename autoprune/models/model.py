"""What every model of autoprune can do: name its axes, hide and cut along them, and say how it ships."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.models.axis import Axis
from autoprune.models.table import Table


class Model(nn.Module):
    """A module whose parameters live in named tables, coupled by axes.

    A step computes what matters along an axis; the model alone knows how to cut it.
    """

    def __init__(self, tables: dict[str, Table], axes: tuple[Axis, ...]) -> None:
        super().__init__()
        self._tables = nn.ModuleDict(tables)
        self.axes = {axis.name: axis for axis in axes}

    @property
    def tables(self) -> dict[str, Table]:
        """The tables by name."""
        return {name: table for name, table in self._tables.items() if isinstance(table, Table)}

    def axes_of(self, kind: str) -> dict[str, Axis]:
        """The axes of one kind, by the name they go by within the kind (`item` for `rows.item`)."""
        return {name.removeprefix(f"{kind}."): axis for name, axis in self.axes.items() if axis.kind == kind}

    def rows_axis(self, table: str) -> Axis | None:
        """The axis along which a table can lose rows, or None."""
        return next((axis for axis in self.axes_of("rows").values() if (table, 0) in axis.parts), None)

    def size(self, axis: Axis) -> int:
        """How many parts the axis still has."""
        table, dimension = axis.parts[0]
        return int(self.tables[table].weight.shape[dimension])

    def hide(self, axis: Axis, keep: Tensor) -> None:
        """Hides all but `keep` (int64 positions) until they are cut; training goes on with the same shapes."""
        for name, dimension in axis.parts:
            table = self.tables[name]
            mask = torch.zeros_like(table.row_mask if dimension == 0 else table.dim_mask)
            mask[keep] = True
            if dimension == 0:
                table.row_mask = mask
            else:
                table.dim_mask = mask

    def cut(self, axis: Axis, keep: Tensor) -> None:
        """Keeps the parts at `keep` (int64 positions, ascending) in every coupled table."""
        for name, dimension in axis.parts:
            table = self.tables[name]
            if dimension == 0:
                table.cut_rows(keep)
            else:
                table.cut_dims(keep)

    def rotate(self, axis: Axis, rotation: Tensor) -> None:
        """Turns the coupled tables by one orthogonal matrix; dot products between them stay as they are."""
        for name, _ in axis.parts:
            self.tables[name].rotate(rotation)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What an artifact of this model must say beside its tables (JSON values)."""
