"""The model around a user's own module."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from autoprune.errors import AutopruneError, nearest
from autoprune.models.axis import Axis
from autoprune.models.model import Model
from autoprune.models.table import Linear, Table
from autoprune.module.lookup import Lookup, Mapped
from autoprune.module.tables import fill, find_linears, find_tables, own_tensors, put, take_over
from autoprune.packing.arrays import numpy_of
from autoprune.packing.bits import narrow, pack_codes

FEWEST_ROWS = 256
"""Unless `cut` names tables, only those with as many rows lose rows or dimensions: days of a week stay as they are."""

FEWEST_DIMS = 4
"""Unless `cut` names tables, only those as wide lose dimensions: biases, tables of width 1, stay as they are."""

TAKEN = (
    *(torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.bool),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8),
)
"""Allowed dtypes of a module's other parameters and buffers: an artifact can store them and numpy has them."""


class Lifted(Table):
    """A table whose vectors keep their outer width when it is rotated or loses dimensions.

    Attributes:
        basis: lifts a row to a vector of the outer width: float32 [dim, outer width].
        turned: whether the table was rotated, so that the basis is more than a choice of columns.
    """

    basis: Tensor
    turned: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__(*weight.shape)
        self.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
        self.register_buffer("basis", torch.eye(weight.shape[1]))
        self.register_buffer("turned", torch.tensor(False))

    @property
    def device(self) -> torch.device:
        """The device of the table."""
        return self.weight.device

    @property
    def stands(self) -> Tensor:
        """Which original rows remain and are not hidden: bool [original rows]."""
        standing = torch.zeros(self.original_rows, dtype=torch.bool, device=self.device)
        standing[self.index[self.row_mask]] = True
        return standing

    @property
    def whole(self) -> Tensor | None:
        """None, because the table may be trained, cut and coded."""
        return None

    def move(self, device: torch.device) -> None:
        """Does nothing: the table moves with its model."""

    def vectors(self, ids: Tensor) -> Tensor:
        """The vectors of original rows, float32 [n, outer width], differentiable; zeros for removed rows."""
        unique_ids, inverse = torch.unique(ids, return_inverse=True)
        rows = self.rows_of(unique_ids)
        values = self.values(rows.clamp_min(0))
        if bool((rows < 0).any()):
            values = values * (rows >= 0)[:, None]
        return embedding(inverse, values @ self.basis if self.lifts else values)

    @property
    def lifts(self) -> bool:
        """Whether rows must be multiplied by the basis to get vectors of the outer width."""
        return bool(self.turned) or self.dim < self.basis.shape[1]

    def rotate(self, rotation: Tensor) -> None:
        super().rotate(rotation)
        self.basis, self.turned = rotation.T @ self.basis, torch.ones_like(self.turned)

    def cut_dims(self, keep: Tensor) -> None:
        super().cut_dims(keep)
        self.basis = self.basis[keep]


class Adopted(Model):
    """Any `nn.Module` whose embeddings read our tables; everything else in it stays as it is, and trains with them.

    Axes: `rows.NAME` and `dim.NAME` for each table that may be cut. Each table loses dimensions independently, since
    its vectors are lifted to their outer width. Other tables have a `rows.NAME` axis only for counting lookups; their
    rows cannot be cut.

    Args:
        module: changed in place; the caller must not use it afterwards.
        named: paths of the embeddings to replace; None: all.
        cut: names of the tables that may lose rows and dimensions; None: those of `FEWEST_ROWS` rows or more.
        linears: paths of linear layers whose weights may be quantised too.
        base: the arguments it was made with, if they are not the defaults.

    Raises:
        AutopruneError: there is no table, or one cannot be replaced.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        named: Collection[str] | None = None,
        cut: Collection[str] | None = None,
        linears: Collection[str] = (),
        base: Mapping[str, Any] | None = None,
    ) -> None:
        places, maps = find_tables(module, named), find_linears(module, linears)
        for path, tensor in own_tensors(module).items():
            if reason := _reason_against(tensor):
                raise AutopruneError(f"{path} of {type(module).__name__} cannot be taken over: {reason}.")
        tables = {place.name: Lifted(module.get_submodule(place.lookups[0]).weight) for place in places}  # type: ignore[arg-type]
        for name in cut or ():
            if name not in tables:
                raise AutopruneError(f"cut: there is no table {name!r}. {nearest(name, tables)}")
        may_be_cut = [place for place in places if (place.rows >= FEWEST_ROWS if cut is None else place.name in cut)]
        names_to_cut = {place.name for place in may_be_cut}
        axes = [
            Axis(name=f"rows.{name}", kind="rows" if name in names_to_cut else "fixed", pairs=((name, 0),))
            for name in tables
        ]
        axes += [
            Axis(name=f"dim.{place.name}", kind="dim", pairs=((place.name, 1),))
            for place in may_be_cut
            if place.dim >= FEWEST_DIMS or cut is not None
        ]
        duplicates = sorted(tables.keys() & maps.keys())
        if duplicates:
            raise AutopruneError(f"linears: {duplicates[0]} is already the name of a table; rename the submodule.")
        linear_tables = {name: _linear(module, path) for name, path in maps.items()}
        super().__init__({**tables, **linear_tables}, tuple(axes))
        self.places, self.maps, self.base = places, maps, dict(base or {})
        take_over(module, places)
        for name, path in maps.items():
            put(module, path, Mapped(linear_tables[name], module.get_submodule(path)))  # type: ignore[arg-type]
        self.module = module
        fill(module, places, self._lifted)

    @property
    def products(self) -> int:
        return sum(layer.weight.numel() for layer in self.module.modules() if isinstance(layer, nn.Linear | Mapped))

    @property
    def _lifted(self) -> dict[str, Lifted]:
        return {name: table for name, table in self.tables.items() if isinstance(table, Lifted)}

    def rows_axis(self, table: str) -> Axis | None:
        return self.axes.get(f"rows.{table}")

    def protected(self, axis: Axis) -> Tensor:
        """The padding row, if the axis is one of rows."""
        (name, dimension) = axis.pairs[0]
        lookups = self._lookups(name) if dimension == 0 else []
        padding_rows = [lookup.padding_idx for lookup in lookups if lookup.padding_idx is not None]
        index = self.tables[name].index
        return torch.isin(index, index.new_tensor(padding_rows)).nonzero()[:, 0]

    def _lookups(self, table: str) -> list[Lookup]:
        paths = [path for place in self.places if place.name == table for path in place.lookups]
        modules = [self.module.get_submodule(path) for path in paths]
        return [module for module in modules if isinstance(module, Lookup)]

    @contextmanager
    def counting(self) -> Iterator[dict[str, Tensor]]:
        """Counts lookups inside the `with`: how often each original row is looked up, int64 [rows], by table name."""
        counts = {name: torch.zeros(table.original_rows, dtype=torch.long) for name, table in self._lifted.items()}
        counts = {name: count.to(self.device) for name, count in counts.items()}
        for name, count in counts.items():
            for lookup in self._lookups(name):
                lookup.counts = count
        try:
            yield counts
        finally:
            for name in counts:
                for lookup in self._lookups(name):
                    lookup.counts = None

    def turns_freely(self, axis: Axis) -> bool:
        return bool(self._lifted[axis.pairs[0][0]].turned)  # vectors are multiplied by a matrix anyway

    def skeleton(self) -> nn.Module:
        """The module with empty lookups."""
        module = copy.deepcopy(self).module
        fill(module, self.places, dict.fromkeys(self.tables))
        for path in self.maps.values():
            linear = module.get_submodule(path)
            assert isinstance(linear, Mapped), "__init__ put it there"
            put(module, path, nn.Linear(linear.in_features, linear.out_features, bias=linear.bias is not None))
        return module

    def settings(self) -> dict[str, Any]:
        places = [{**asdict(place), "lookups": list(place.lookups), "tied": list(place.tied)} for place in self.places]
        settings: dict[str, Any] = {"kind": "module", "places": places}
        if self.maps:
            settings["maps"] = self.maps
        return {**settings, "base": self.base} if self.base else settings

    def around(self) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays stored besides the packed tables: `own:PATH`, and for cut tables `stands:NAME` and `basis:NAME`.

        The remaining rows are stored as bits; a basis that only chooses columns is stored as the column numbers.
        """
        tensors = {f"own:{path}": tensor.detach().clone() for path, tensor in own_tensors(self.module).items()}
        for name, table in self._lifted.items():
            if table.rows < table.original_rows:
                tensors[f"stands:{name}"] = pack_codes(table.stands.to(torch.uint8), 1)
            if table.lifts:
                columns = narrow(table.basis.argmax(1), table.basis.shape[1] - 1)
                tensors[f"basis:{name}"] = table.basis if table.turned else columns
        return {name: numpy_of(tensor) for name, tensor in tensors.items()}


def _linear(module: nn.Module, path: str) -> Linear:
    """The linear layer at a path, as our `Linear` table."""
    stood = module.get_submodule(path)
    assert isinstance(stood, nn.Linear), "find_linears checked it"
    table = Linear(*stood.weight.shape)
    table.weight = _copied(stood.weight)
    table.register_parameter("bias", None if stood.bias is None else _copied(stood.bias))
    return table


def _copied(parameter: Tensor) -> nn.Parameter:
    """A copy of a parameter, frozen if the parameter is."""
    return nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)


def _reason_against(tensor: Tensor) -> str:
    """Why a parameter or buffer outside the tables cannot be stored, and the way out; empty if it can."""
    dtype = str(tensor.dtype if tensor.layout is torch.strided else tensor.layout).removeprefix("torch.")
    if dtype == "float16" and tensor.requires_grad:  # most of its updates would round to zero
        return "float16 is not supported where it trains; use module.float(), or freeze it with requires_grad_(False)"
    if dtype in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return f"{dtype} is not supported; use module.float()"
    if tensor.layout is not torch.strided or tensor.dtype not in TAKEN:
        way_out = "store it as float32" if isinstance(tensor, nn.Parameter) else "register it with persistent=False"
        return f"{dtype} is not supported; {way_out}"
    return "it holds NaN" if tensor.is_floating_point() and bool(tensor.isnan().any()) else ""
