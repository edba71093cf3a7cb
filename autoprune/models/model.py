"""What every model of autoprune can do: name its axes, hide and cut along them, and say how it ships."""

from __future__ import annotations

import copy
import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.models.axis import Axis
from autoprune.models.context import Context
from autoprune.models.table import FLOAT_BITS, Linear, Table
from autoprune.packing.arrays import numpy_of

Watch = Callable[[str, Tensor], Tensor]
"""Sees what an axis carries or a map is fed, by name, and returns what goes on instead.

`ffn.3`: [inputs, places, neurons]; `heads.3`: [inputs, heads, places, dimensions of a head]; `layers.3`: what layer 3
is given, `layers.end`: what comes out of the last, [inputs, places, hidden]; `maps.up_3`: what a linear map is fed,
[inputs, places, dimensions], or [inputs, dimensions] where there are no places any more; `sums.down_3`: the
sum of a map's answers and what they are added to. A place that holds nothing is all zeros.
"""


def unchanged(_: str, values: Tensor) -> Tensor:
    """The watch that lets everything pass."""
    return values


class Model(nn.Module):
    """A module whose parameters live in named tables, coupled by axes.

    A step computes what matters along an axis; the model alone knows how to cut it.

    Args:
        tables: by name.
        axes: what can be cut.
        groups: the names by which a recipe speaks of tables, each with those it means; by default every table has
            its own.

    Attributes:
        points: whether removed rows are answered by the nearest that stays; None: they cannot be.
        one_width: whether its kernels take of what is looked up row-wise codes of one width a table alone.
        stored_bits: of each dimension of a vector that it gives, where whoever uses it stores these.
        entropy: whether the files of its artifact are entropy-coded.
    """

    points: bool | None = None
    one_width: bool = False
    stored_bits: int = FLOAT_BITS
    entropy: bool = False

    def __init__(
        self,
        tables: Mapping[str, Table],
        axes: tuple[Axis, ...],
        *,
        groups: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        super().__init__()
        self._tables = nn.ModuleDict()
        self._tables._modules.update(tables)  # the front door refuses `items` and other names of its own
        self._groups = groups or {name: (name,) for name in tables}
        self.axes = {axis.name: axis for axis in axes}

    def twin(self) -> Self:
        """A copy that shares its tensors with this model, for whatever changes it without writing into them."""
        shared: dict[int, Tensor] = {id(held): held for held in self.buffers()}
        shared |= {
            id(held): nn.Parameter(held.detach(), requires_grad=held.requires_grad) for held in self.parameters()
        }
        return copy.deepcopy(self, shared)

    def own(self) -> Self:
        """A copy whose tensors are its own, to train."""
        return copy.deepcopy(self)

    def settle(self) -> None:
        """Makes what was only planned so far, for steps that have to see all of it."""

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def tables(self) -> dict[str, Table]:
        """The tables by name, linear maps included."""
        return {name: table for name, table in self._tables.items() if isinstance(table, Table)}

    @property
    def lookups(self) -> dict[str, Table]:
        """The tables whose rows stand for ids: embedding tables in the narrow sense."""
        return {name: table for name, table in self.tables.items() if not isinstance(table, Linear)}

    @property
    def has_maps(self) -> bool:
        """Whether it has linear maps as well."""
        return len(self.lookups) < len(self.tables)

    @property
    def groups(self) -> dict[str, dict[str, Table]]:
        """The tables by the name a recipe calls them by; several may share one."""
        tables = self.tables
        return {
            group: {name: tables[name] for name in names if name in tables} for group, names in self._groups.items()
        }

    @property
    def products(self) -> int:
        """Multiplications that a request takes, by shapes alone: of a transformer for each token, with its weights."""
        return sum(table.rows * table.dim for table in self.tables.values() if isinstance(table, Linear))

    def content(self) -> bytes:
        """SHA-256 of all that it holds: weights, masks, what is hidden, which tables are coded."""
        found = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            if not isinstance(tensor, Tensor):  # what a module keeps by `get_extra_state`
                continue
            found.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
            found.update(tensor.detach().cpu().contiguous().view(-1).numpy().data)
        found.update(repr([name for name, table in self.tables.items() if table.coded is not None]).encode())
        return found.digest()

    def axes_of(self, kind: str) -> dict[str, Axis]:
        """The axes of one kind, by the name they go by within the kind (`item` for `rows.item`)."""
        return {name.removeprefix(f"{kind}."): axis for name, axis in self.axes.items() if axis.kind == kind}

    def standing_axes(self, kind: str) -> dict[str, Axis]:
        """As `axes_of`, without the axes of what is hidden itself (the heads of a layer): it will be cut."""
        return self.axes_of(kind)

    def rows_axis(self, table: str) -> Axis | None:
        """The axis along which a table can lose rows, or None."""
        return next((axis for axis in self.axes_of("rows").values() if (table, 0) in axis.pairs), None)

    def protected(self, axis: Axis) -> Tensor:
        """Positions along an axis that must stay whatever they seem to matter: int64 [n]."""
        return torch.empty(0, dtype=torch.long)

    def with_needed(self, axis: Axis, importance: Tensor) -> Tensor:
        """How much positions along an axis matter, where some are of no use without others: these matter more.

        Args:
            importance: float64 [size], of each by itself.
        """
        return importance

    def vectors(self, axis: Axis, context: Context) -> list[tuple[Tensor, Tensor | None]]:
        """What an axis of kind `dim` holds the dimensions of, and how often each vector occurs.

        Returns:
            (float32 [n, size], float32 [n]) pairs, one for each coupled table; None where it is not known how often.
        """
        found = []
        for name, _ in axis.pairs:
            rows, table = self.rows_axis(name), self.tables[name]
            counts = context.frequency.get(rows.name) if rows else None
            often = None if counts is None else counts.to(table.index.device)[table.index].float()
            found.append((table.weights().detach(), often))
        return found

    def moments(self, axis: Axis, context: Context) -> list[Tensor]:
        """The sum of the outer products of the vectors with themselves, of each coupled table: float64 [size, size]."""
        doubles = [held.detach().double() for held, _ in self.vectors(axis, context)]
        return [held.T @ held for held in doubles]

    def squares(self, axis: Axis, context: Context) -> list[Tensor]:
        """The squared length of each dimension, of each coupled table: float32 [size]."""
        return [held.detach().square().sum(0) for held, _ in self.vectors(axis, context)]

    def calibrate(self, inputs: Sequence[Any], watch: Watch = unchanged, *, batch: int = 32) -> Tensor:
        """The vectors of inputs, float32 [n, size], differentiable; of those that `Context.calibration` holds.

        Args:
            inputs: any number.
            watch: sees, and may change, what each axis carries and each map is fed.
            batch: how many inputs go through the model at a time.
        """
        raise NotImplementedError("a model of tables alone takes no inputs, so its context has no calibration")

    def size(self, axis: Axis) -> int:
        """How many positions the axis still has."""
        name, dimension, width = axis.runs[0]
        table = self._table(name)
        return (table.rows if dimension == 0 else table.dim) // width

    def numbers(self, axis: Axis) -> list[int]:
        """The original number of each position; dimensions, which turns mix, are numbered as they stand."""
        name, dimension, width = axis.runs[0]
        if dimension == 0:
            return [row // width for row in self._table(name).index[::width].tolist()]
        return list(range(self.size(axis)))

    def standing(self, axis: Axis) -> Tensor:
        """Positions along the axis that are not hidden: int64, ascending."""
        name, dimension, width = axis.runs[0]
        table = self._table(name)
        mask = table.row_mask if dimension == 0 else table.dim_mask
        return mask[::width].nonzero()[:, 0]

    def hide(self, axis: Axis, keep: Tensor) -> None:
        """Hides all but `keep` (int64 positions) until they are cut; training goes on with the same shapes."""
        for name, dimension, width in axis.runs:
            table = self._table(name)
            mask = torch.zeros_like(table.row_mask if dimension == 0 else table.dim_mask)
            mask[covered(keep, width)] = True
            if dimension == 0:
                table.row_mask = mask
            else:
                table.dim_mask = mask

    def cut(self, axis: Axis, keep: Tensor) -> None:
        """Keeps `keep` (int64 positions, ascending) in every coupled table."""
        for name, dimension, width in axis.runs:
            table = self._table(name)
            if dimension == 0:
                table.cut_rows(covered(keep, width))
            else:
                table.cut_dims(covered(keep, width))

    def rotate(self, axis: Axis, rotation: Tensor) -> None:
        """Turns the coupled tables by one orthogonal matrix; dot products between them stay as they are."""
        for name, _ in axis.pairs:
            self._table(name).rotate(rotation)

    def turns_freely(self, axis: Axis) -> bool:
        """Whether turning an axis costs nothing when the model answers: no product that it does not do anyway."""
        return False

    def unstorable(self, bits: int) -> str:
        """Why what it gives cannot be stored in so many bits for each dimension; empty if it can."""
        return "nobody stores what this model gives; leave the stage out"

    def packed(self) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray[Any, Any]]]:
        """The tables as they ship: what a manifest says of each, by name, and their arrays (`user.codes`).

        A table's bias lies beside it, as `name.bias`.
        """
        entries: dict[str, dict[str, Any]] = {}
        tensors: dict[str, np.ndarray[Any, Any]] = {}
        for name, table in self.tables.items():
            stored = table.packed()
            entries[name] = stored.entry
            tensors |= {f"{name}.{key}": tensor for key, tensor in stored.tensors.items()}
            if table.bias is not None:
                tensors[f"{name}.bias"] = numpy_of(table.bias)
        return entries, tensors

    def _table(self, name: str) -> Table:
        table = self._tables[name]
        assert isinstance(table, Table), "only tables are kept"
        return table

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What an artifact of this model must say beside its tables (JSON values)."""


def covered(positions: Tensor, width: int) -> Tensor:
    """The single rows or columns that positions of a width cover: int64 [n * width]."""
    if width == 1:
        return positions
    return (positions[:, None] * width + torch.arange(width, device=positions.device)).flatten()
