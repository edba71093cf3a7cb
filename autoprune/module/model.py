"""The model around a module of the user's own."""

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
"""Of a table that may lose rows and dimensions unless others are named: the days of a week are not thinned out."""

FEWEST_DIMS = 4
"""Of a table that may lose dimensions unless others are named: biases, in tables of width 1, may not."""

TAKEN = (
    *(torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.bool),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8),
)
"""Types of what a module holds beside its tables: those that an artifact can hold and numpy knows."""


class Lifted(Table):
    """A table whose vectors keep their outer width when it is turned or loses dimensions.

    Attributes:
        basis: what takes a row to a vector of the outer width: float32 [dim, outer width].
        turned: whether the basis is more than a choice of columns.
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
        """Where it is."""
        return self.weight.device

    @property
    def stands(self) -> Tensor:
        """Which original rows are there and not hidden: bool [original rows]."""
        found = torch.zeros(self.original_rows, dtype=torch.bool, device=self.device)
        found[self.index[self.row_mask]] = True
        return found

    def vectors(self, ids: Tensor) -> Tensor:
        """The vectors of original rows, float32 [n, outer width]; zeros of those that are gone; differentiable."""
        asked, inverse = torch.unique(ids, return_inverse=True)
        rows = self.rows_of(asked)
        values = self.values(rows.clamp_min(0))
        if bool((rows < 0).any()):
            values = values * (rows >= 0)[:, None]
        return embedding(inverse, values @ self.basis if self.lifts else values)

    @property
    def lifts(self) -> bool:
        """Whether rows are not vectors of the outer width as they are."""
        return bool(self.turned) or self.dim < self.basis.shape[1]

    def rotate(self, rotation: Tensor) -> None:
        super().rotate(rotation)
        self.basis, self.turned = rotation.T @ self.basis, torch.ones_like(self.turned)

    def cut_dims(self, keep: Tensor) -> None:
        super().cut_dims(keep)
        self.basis = self.basis[keep]


class Adopted(Model):
    """Any `nn.Module` whose embeddings look up tables of ours; all else in it is as it came, and trains with them.

    Axes: for each table that may lose some, `rows.NAME` and `dim.NAME`: dimensions go from one table alone, since
    vectors are lifted to their outer width. The rows of other tables are there to be counted, and cannot be cut.

    Args:
        module: taken over; whoever gives it has it no more.
        named: paths of the embeddings that are meant; None: all.
        cut: names of the tables that may lose rows and dimensions; None: those of `FEWEST_ROWS` rows or more.
        linears: paths of linear maps whose weights may lose bits as well.
        base: what it was made with, where that is not as always.

    Raises:
        AutopruneError: there is no table, or one cannot be taken over.
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
        for path, held in own_tensors(module).items():
            if reason := _reason_against(held):
                raise AutopruneError(f"{path} of {type(module).__name__} cannot be taken over: {reason}.")
        tables = {place.name: Lifted(module.get_submodule(place.lookups[0]).weight) for place in places}  # type: ignore[arg-type]
        for name in cut or ():
            if name not in tables:
                raise AutopruneError(f"cut: there is no table {name!r}. {nearest(name, tables)}")
        losing = [place for place in places if (place.rows >= FEWEST_ROWS if cut is None else place.name in cut)]
        thinned = {place.name for place in losing}
        axes = [
            Axis(name=f"rows.{name}", kind="rows" if name in thinned else "fixed", pairs=((name, 0),))
            for name in tables
        ]
        axes += [
            Axis(name=f"dim.{place.name}", kind="dim", pairs=((place.name, 1),))
            for place in losing
            if place.dim >= FEWEST_DIMS or cut is not None
        ]
        twice = sorted(tables.keys() & maps.keys())
        if twice:
            raise AutopruneError(f"linears: {twice[0]} is the name of a table already; rename the submodule.")
        layers = {name: _linear(module, path) for name, path in maps.items()}
        super().__init__({**tables, **layers}, tuple(axes))
        self.places, self.maps, self.base = places, maps, dict(base or {})
        take_over(module, places)
        for name, path in maps.items():
            put(module, path, Mapped(layers[name], module.get_submodule(path)))  # type: ignore[arg-type]
        self.module = module
        fill(module, places, self._lifted)

    @property
    def products(self) -> int:
        return sum(one.weight.numel() for one in self.module.modules() if isinstance(one, nn.Linear | Mapped))

    @property
    def _lifted(self) -> dict[str, Lifted]:
        return {name: table for name, table in self.tables.items() if isinstance(table, Lifted)}

    def rows_axis(self, table: str) -> Axis | None:
        return self.axes.get(f"rows.{table}")

    def protected(self, axis: Axis) -> Tensor:
        """Of an axis of rows, that of `padding_idx`."""
        (name, dimension) = axis.pairs[0]
        fixed = [one.padding_idx for one in self._lookups(name) if one.padding_idx is not None and dimension == 0]
        index = self.tables[name].index
        return torch.isin(index, index.new_tensor(fixed)).nonzero()[:, 0]

    def _lookups(self, table: str) -> list[Lookup]:
        paths = [path for place in self.places if place.name == table for path in place.lookups]
        found = [self.module.get_submodule(path) for path in paths]
        return [one for one in found if isinstance(one, Lookup)]

    @contextmanager
    def counting(self) -> Iterator[dict[str, Tensor]]:
        """Counts lookups meanwhile: how often each original row of a table is asked for, int64 [rows], by its name."""
        counts = {name: torch.zeros(table.original_rows, dtype=torch.long) for name, table in self._lifted.items()}
        counts = {name: held.to(self.device) for name, held in counts.items()}
        for name, held in counts.items():
            for lookup in self._lookups(name):
                lookup.counts = held
        try:
            yield counts
        finally:
            for name in counts:
                for lookup in self._lookups(name):
                    lookup.counts = None

    def turns_freely(self, axis: Axis) -> bool:
        return bool(self._lifted[axis.pairs[0][0]].turned)  # vectors are lifted by a matrix anyway

    def skeleton(self) -> nn.Module:
        """The module with lookups that are still to be filled."""
        module = copy.deepcopy(self).module
        fill(module, self.places, dict.fromkeys(self.tables))
        for path in self.maps.values():
            there = module.get_submodule(path)
            assert isinstance(there, Mapped), "as it was taken over"
            put(module, path, nn.Linear(there.in_features, there.out_features, bias=there.bias is not None))
        return module

    def settings(self) -> dict[str, Any]:
        places = [{**asdict(place), "lookups": list(place.lookups), "tied": list(place.tied)} for place in self.places]
        found: dict[str, Any] = {"kind": "module", "places": places}
        if self.maps:
            found["maps"] = self.maps
        return {**found, "base": self.base} if self.base else found

    def around(self) -> dict[str, np.ndarray[Any, Any]]:
        """What ships beside the packed tables: `own:PATH`, and of cut tables `stands:NAME` and `basis:NAME`.

        The rows that stand lie as bits, a basis that merely chooses columns as their numbers.
        """
        found = {f"own:{path}": held.detach().clone() for path, held in own_tensors(self.module).items()}
        for name, table in self._lifted.items():
            if table.rows < table.original_rows:
                found[f"stands:{name}"] = pack_codes(table.stands.to(torch.uint8), 1)
            if table.lifts:
                columns = narrow(table.basis.argmax(1), table.basis.shape[1] - 1)
                found[f"basis:{name}"] = table.basis if table.turned else columns
        return {name: numpy_of(held) for name, held in found.items()}


def _linear(module: nn.Module, path: str) -> Linear:
    """The linear map at a path as a table of ours."""
    stood = module.get_submodule(path)
    assert isinstance(stood, nn.Linear), "as it was found"
    found = Linear(*stood.weight.shape)
    found.weight = _same(stood.weight)
    found.register_parameter("bias", None if stood.bias is None else _same(stood.bias))
    return found


def _same(parameter: Tensor) -> nn.Parameter:
    """A copy of a parameter, frozen if it is."""
    return nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)


def _reason_against(held: Tensor) -> str:
    """Why a parameter or buffer beside the tables cannot be taken over, and the way out; empty where it can."""
    kind = str(held.dtype if held.layout is torch.strided else held.layout).removeprefix("torch.")
    if kind in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        return f"{kind} is not taken; use module.float()"
    if held.layout is not torch.strided or held.dtype not in TAKEN:
        way_out = "hold it as float32" if isinstance(held, nn.Parameter) else "register it with persistent=False"
        return f"{kind} is not taken; {way_out}"
    return "it holds NaN" if held.is_floating_point() and bool(held.isnan().any()) else ""
