"""The base of all models: axes along which it can be hidden and cut, and its form in an artifact."""

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
"""A hook that gets activations by name, and returns what replaces them.

`ffn.3`: [inputs, places, neurons]; `heads.3`: [inputs, heads, places, dimensions of a head]; `layers.3`: the input of
layer 3 and `layers.end`: the output of the last, [inputs, places, hidden]; `maps.up_3`: the input of a linear layer,
[inputs, places, dimensions], or [inputs, dimensions] after pooling; `sums.down_3`: the output of a linear layer plus
what it is added to. Padding is all zeros.
"""


def unchanged(_: str, values: Tensor) -> Tensor:
    """The watch that changes nothing."""
    return values


class Model(nn.Module):
    """A module whose parameters live in named tables, coupled by axes.

    A step computes what matters along an axis; the model knows how to cut it.

    Args:
        tables: by name.
        axes: what can be cut.
        groups: the names of tables in recipes, each with the tables that it means; by default every table has its own.

    Attributes:
        points: whether the nearest remaining row answers for a removed one; None: that is not possible.
        one_width: whether its kernels only read embedding tables with row-wise codes of one width per table.
        stored_bits: the bits of each dimension in which users store its vectors.
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
        self._tables._modules.update(tables)  # ModuleDict itself rejects `items` and other names of its methods
        self._groups = groups or {name: (name,) for name in tables}
        self.axes = {axis.name: axis for axis in axes}

    def twin(self) -> Self:
        """A copy that shares its tensors with this model, for changes that do not write into the tensors."""
        shared: dict[int, Tensor] = {id(tensor): tensor for tensor in self.buffers()}
        shared |= {
            id(weight): nn.Parameter(weight.detach(), requires_grad=weight.requires_grad)
            for weight in self.parameters()
        }
        return copy.deepcopy(self, shared)

    def own(self) -> Self:
        """A copy with its own tensors, to train."""
        return copy.deepcopy(self)

    def settle(self) -> None:
        """Computes everything that was only planned, for steps that need all of it."""

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    @property
    def tables(self) -> dict[str, Table]:
        """The tables by name, including linear layers."""
        return {name: table for name, table in self._tables.items() if isinstance(table, Table)}

    @property
    def lookups(self) -> dict[str, Table]:
        """The embedding tables, whose rows belong to ids, by name."""
        return {name: table for name, table in self.tables.items() if not isinstance(table, Linear)}

    @property
    def has_maps(self) -> bool:
        """Whether it also has linear layers."""
        return len(self.lookups) < len(self.tables)

    @property
    def groups(self) -> dict[str, dict[str, Table]]:
        """The tables by their names in recipes; several tables may share a name."""
        tables = self.tables
        return {
            group: {name: tables[name] for name in names if name in tables} for group, names in self._groups.items()
        }

    @property
    def products(self) -> int:
        """The multiplications by weights that a request takes, by the shapes of these; for a transformer, per token."""
        return sum(table.rows * table.dim for table in self.tables.values() if isinstance(table, Linear))

    def content(self) -> bytes:
        """SHA-256 of its content: weights, masks, what is hidden, and which tables are coded."""
        digest = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            if not isinstance(tensor, Tensor):  # from a module's `get_extra_state`
                continue
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().data)
        digest.update(repr([name for name, table in self.tables.items() if table.coded is not None]).encode())
        return digest.digest()

    def axes_of(self, kind: str) -> dict[str, Axis]:
        """The axes of one kind, by their names within the kind (`item` for `rows.item`)."""
        return {name.removeprefix(f"{kind}."): axis for name, axis in self.axes.items() if axis.kind == kind}

    def standing_axes(self, kind: str) -> dict[str, Axis]:
        """Like `axes_of`, without axes inside a hidden part, such as the heads of a hidden layer: they will be cut."""
        return self.axes_of(kind)

    def rows_axis(self, table: str) -> Axis | None:
        """The axis along which a table can lose rows, or None."""
        return next((axis for axis in self.axes_of("rows").values() if (table, 0) in axis.pairs), None)

    def protected(self, axis: Axis) -> Tensor:
        """Positions along an axis that must stay, however important they are: int64 [n]."""
        return torch.empty(0, dtype=torch.long)

    def with_needed(self, axis: Axis, importance: Tensor) -> Tensor:
        """The importance of positions along an axis, increased where other positions need them.

        Args:
            axis: of the positions.
            importance: float64 [size], of each position by itself.
        """
        return importance

    def vectors(self, axis: Axis, context: Context) -> list[tuple[Tensor, Tensor | None]]:
        """The vectors whose dimensions an axis of kind `dim` has, and how often each occurs.

        Returns:
            (float32 [n, size], float32 [n]) pairs, one for each coupled table; None if the frequency is unknown.
        """
        vectors = []
        for name, _ in axis.pairs:
            rows, table = self.rows_axis(name), self.tables[name]
            counts = context.frequency.get(rows.name) if rows else None
            frequency = None if counts is None else counts.to(table.index.device)[table.index].float()
            vectors.append((table.weights().detach(), frequency))
        return vectors

    def moments(self, axis: Axis, context: Context) -> list[Tensor]:
        """The sum of the outer products of vectors with themselves, for each coupled table: float64 [size, size]."""
        doubles = [vectors.detach().double() for vectors, _ in self.vectors(axis, context)]
        return [vectors.T @ vectors for vectors in doubles]

    def squares(self, axis: Axis, context: Context) -> list[Tensor]:
        """The squared length of each dimension, for each coupled table: float32 [size]."""
        return [vectors.detach().square().sum(0) for vectors, _ in self.vectors(axis, context)]

    def calibrate(self, inputs: Sequence[Any], watch: Watch = unchanged, *, batch: int = 32) -> Tensor:
        """The vectors of inputs like those in `Context.calibration`, float32 [n, size], differentiable.

        Args:
            inputs: any number of them.
            watch: a hook that gets, and may replace, the activations of axes and the inputs of linear layers.
            batch: how many inputs go through the model at a time.
        """
        raise NotImplementedError("a model of tables alone takes no inputs, so its context has no calibration")

    def size(self, axis: Axis) -> int:
        """How many positions an axis still has."""
        name, dimension, width = axis.runs[0]
        table = self._table(name)
        return (table.rows if dimension == 0 else table.dim) // width

    def numbers(self, axis: Axis) -> list[int]:
        """The original number of each position; dimensions, which rotations mix, are numbered in the current order."""
        name, dimension, width = axis.runs[0]
        if dimension == 0:
            return [row // width for row in self._table(name).index[::width].tolist()]
        return list(range(self.size(axis)))

    def standing(self, axis: Axis) -> Tensor:
        """The positions along an axis that are not hidden: int64, ascending."""
        name, dimension, width = axis.runs[0]
        table = self._table(name)
        mask = table.row_mask if dimension == 0 else table.dim_mask
        return mask[::width].nonzero()[:, 0]

    def hide(self, axis: Axis, keep: Tensor) -> None:
        """Hides all positions but `keep` (int64) until they are cut; shapes stay the same for training."""
        for name, dimension, width in axis.runs:
            table = self._table(name)
            mask = torch.zeros_like(table.row_mask if dimension == 0 else table.dim_mask)
            mask[covered(keep, width)] = True
            if dimension == 0:
                table.row_mask = mask
            else:
                table.dim_mask = mask

    def cut(self, axis: Axis, keep: Tensor) -> None:
        """Cuts all positions but `keep` (int64, ascending) out of every coupled table."""
        for name, dimension, width in axis.runs:
            table = self._table(name)
            if dimension == 0:
                table.cut_rows(covered(keep, width))
            else:
                table.cut_dims(covered(keep, width))

    def rotate(self, axis: Axis, rotation: Tensor) -> None:
        """Rotates the coupled tables by one orthogonal matrix; dot products between them stay the same."""
        for name, _ in axis.pairs:
            self._table(name).rotate(rotation)

    def turns_freely(self, axis: Axis) -> bool:
        """Whether rotating an axis is free when the model answers: it needs no additional product."""
        return False

    def unstorable(self, bits: int) -> str:
        """Why its vectors cannot be stored in so many bits per dimension; empty if they can."""
        return "users do not store the vectors of this model; leave the stage out"

    def packed(self) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray[Any, Any]]]:
        """The tables as they ship: the manifest's entry of each, by name, and their arrays (`user.codes`).

        The array of a bias is `name.bias`.
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
        assert isinstance(table, Table), "all modules are tables"
        return table

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The settings in the manifest of an artifact of this model, besides its tables (JSON values)."""


def covered(positions: Tensor, width: int) -> Tensor:
    """The rows or columns that belong to positions of a width: int64 [n * width]."""
    if width == 1:
        return positions
    return (positions[:, None] * width + torch.arange(width, device=positions.device)).flatten()
