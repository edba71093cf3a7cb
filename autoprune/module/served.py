"""Serves an artifact of a user's module: its vectors, or the whole module once a fresh one is given to fill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.artifacts.inside import FILE, table_inside
from autoprune.artifacts.served import Parts, Served, Threads
from autoprune.errors import AutopruneError, unknown
from autoprune.module.tables import Place, fill, find_tables, own_tensors, take_over
from autoprune.packing import PackedTable
from autoprune.packing.arrays import tensor_of
from autoprune.packing.bits import narrow, unpack_codes
from autoprune.packing.ids import plain_id
from autoprune.packing.rows import WIDENED, PackedRows, widened


class StoredRows:
    """A packed table that is read by original row numbers.

    Args:
        table: the remaining rows.
        place: of the table in its module.
        stands: bits that say which rows remain; None: all.
        basis: float32 [dim, outer width], or column numbers; None: rows already have the outer width.
    """

    def __init__(self, table: PackedTable, place: Place, *, stands: Tensor | None, basis: Tensor | None) -> None:
        self._table, self._basis, self._outer = table, basis, place.dim
        self.device = table.like.device
        self.stands = torch.ones(place.rows, dtype=torch.bool, device=self.device)
        self._row: Tensor | None = None
        if stands is not None:
            self.stands = unpack_codes(stands, 1, place.rows).bool()
            rows = torch.where(self.stands, self.stands.cumsum(0), 0)
            self._row = narrow(rows, table.rows)  # counted from 1; 0 means removed

    def lay_out(self) -> None:
        """Restores the table's original shape in float32, so that torch's own functions can look rows up."""
        if self._row is not None or self._basis is not None:
            self._table = PackedRows.of(self.vectors(torch.arange(len(self.stands), device=self.device)))
            self._row = self._basis = None

    @property
    def whole(self) -> Tensor | None:
        """As in `autoprune.module.lookup.Rows`: the values of a float32 table that has all its rows and dimensions."""
        is_plain = self._table.pattern == "full" and self._table.bits == 32
        return self._table.tensors["values"] if is_plain and self._row is None and self._basis is None else None

    def move(self, device: torch.device) -> None:
        """Moves to a device."""
        self.device, self._table, self.stands = device, self._table.to(device), self.stands.to(device)
        self._row = None if self._row is None else self._row.to(device)
        self._basis = None if self._basis is None else self._basis.to(device)

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        tensors = [tensor for tensor in (self._row, self._basis) if tensor is not None]
        return self._table.memory_bytes + sum(tensor.nbytes for tensor in tensors)

    def vectors(self, ids: Tensor) -> Tensor:
        """The vectors of original rows, int64 [n]: float32 [n, outer width]; zeros for removed rows."""
        if self._row is None:
            return self._lifted(self._table.decode(ids))
        rows = self._row[ids].long()
        return self._lifted(self._table.decode((rows - 1).clamp_min(0)) * (rows > 0)[:, None])

    def _lifted(self, values: Tensor) -> Tensor:
        if self._basis is None:
            return values
        if self._basis.is_floating_point():
            return values @ self._basis
        return values.new_zeros(len(values), self._outer).index_copy(1, self._basis.long(), values)


class ServedModule(Served):
    """The tables of a module, and its other parameters and buffers.

    An artifact has no code of the module, so it can only return vectors until it is given a module to fill.

    Args:
        prefer: as in `widened`. A table that is widened is also restored to its original shape, unless it is too
            large; lookups in other tables decode only the rows that they need.

    Attributes:
        tables: original shapes of the tables, by name.
        base: the arguments the module was made with, if they are not the defaults.
        module: the module that was last filled.
        device: the device of its tables.
    """

    def __init__(self, parts: Parts, *, device: str = "cpu", prefer: str | None = None) -> None:
        self.device, self._threads = torch.device(device), Threads()
        self._places = [
            Place(**{**place, "lookups": tuple(place["lookups"]), "tied": tuple(place["tied"])})
            for place in parts.manifest["places"]
        ]
        extra: dict[str, dict[str, Tensor]] = {"own": {}, "stands": {}, "basis": {}}
        for name, tensor in parts.tensors.items():
            kind, colon, owner = name.partition(":")
            if colon and kind in extra:
                extra[kind][owner] = tensor_of(tensor, self.device)
        self._inside = _inside(parts, self._places)
        packed = parts.tables()
        self._stored = {
            place.name: StoredRows(
                widened(packed[place.name], prefer).to(self.device),
                place,
                stands=extra["stands"].get(place.name),
                basis=extra["basis"].get(place.name),
            )
            for place in self._places
        }
        for place in self._places:
            if prefer == "latency" or (prefer is None and place.rows * place.dim <= WIDENED):
                self._stored[place.name].lay_out()
        self._own = extra["own"]
        for name, path in parts.manifest.get("maps", {}).items():
            self._own[f"{path}.weight"] = packed[name].to(self.device).values()
            if f"{name}.bias" in parts.tensors:
                self._own[f"{path}.bias"] = tensor_of(parts.tensors[f"{name}.bias"], self.device)
        self.base = dict(parts.manifest.get("base", {}))
        self._paddings = {
            place.name: (place.padding, self._own[f"{place.lookups[0]}.padding"])
            for place in self._places
            if place.padding is not None
        }
        self.tables = {place.name: (place.rows, place.dim) for place in self._places}
        self.module: nn.Module | None = None

    @property
    def memory_bytes(self) -> int:
        table_bytes = sum(table.memory_bytes for table in self._stored.values())
        return table_bytes + sum(tensor.nbytes for tensor in self._own.values())

    @property
    def example(self) -> str:
        return f"model.vectors({self._places[0].name!r}, [0])"

    @property
    def advice(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.base.items())
        return (
            "These are the vectors of its tables. To get the whole model, fill a fresh module of the class that it was "
            f"made from{f', made with `{arguments}`' if arguments else ''}: its tables are replaced, the rest is "
            "filled.\n\n"
            '```python\nmodule = autoprune.load(".", into=module)  # in eval mode, ready to answer\n```'
        )

    @property
    def inside(self) -> str:
        return self._inside

    def vectors(self, table: str, ids: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The vectors of some rows of a table, float32 [len(ids), outer width]; zeros for removed rows.

        Raises:
            AutopruneError: there is no such table, or an id has no row in it.
        """
        if table not in self._stored:
            raise unknown("table", table, self._stored)
        self._threads.do_without()
        stored = self._stored[table]  # on the device of the module that was filled, if there is one
        rows = torch.tensor(_rows(table, self.tables[table][0], ids), dtype=torch.long, device=stored.device)
        vectors = stored.vectors(rows)
        if table in self._paddings:
            padding, vector = self._paddings[table]
            vectors = torch.where(rows.eq(padding)[:, None], vector.to(stored.device), vectors)
        result: np.ndarray[Any, np.dtype[np.float32]] = vectors.cpu().numpy()
        return result

    def into(self, module: nn.Module) -> nn.Module:
        """Fills a fresh module of the class that the artifact was made from, and returns it, ready to answer.

        Its embeddings are replaced; its other parameters and buffers get the artifact's values.

        Raises:
            AutopruneError: the module is not like the one that the artifact was made from.
        """
        if not isinstance(module, nn.Module):
            raise AutopruneError(f"into: an nn.Module must be given, but got {type(module).__name__}.")
        its_places = find_tables(module, [path for place in self._places for path in place.lookups])
        if its_places != self._places:
            ours, theirs = ("; ".join(map(_description, places)) for places in (self._places, its_places))
            raise AutopruneError(
                f"into: {type(module).__name__} is not like the module that the artifact was made from. Its tables are "
                f"{theirs}, but they were {ours}; make it with the settings it was trained with."
            )
        take_over(module, self._places)
        return self.fill(module)

    def fill(self, module: nn.Module) -> nn.Module:
        """Like `into`, for a module that already has lookups."""
        self._threads.do_without()
        module.to(self.device)
        _copy(self._own, own_tensors(module), type(module).__name__)
        fill(module, self._places, self._stored)
        self.module = module.eval()
        return self.module


def _inside(parts: Parts, places: Sequence[Place]) -> str:
    """Describes the artifact's files in Markdown, so that the module can be filled without autoprune."""
    stored, lines = parts.tensors, list[str]()
    for place in places:
        name, entry = place.name, parts.manifest["tables"][place.name]
        lines.append(f"{table_inside(name, entry, stored)}: of {_description(place)}")
        if f"stands:{name}" in stored:
            width = len(stored[f"stands:{name}"])
            lines.append(
                f"- `stands:{name}`: which of its {place.rows:,} rows remain, in the order above; r does if (its byte "
                f"r % {width} >> r // {width}) & 1 is 1, and the vector of a removed row is zeros"
            )
        basis = stored.get(f"basis:{name}")
        if basis is not None and basis.ndim == 2:
            lines.append(f"- `basis:{name}`: its vectors are multiplied by this matrix, {len(basis)} x {place.dim}")
        elif basis is not None:
            lines.append(f"- `basis:{name}`: the columns (of {place.dim}) that the vectors hold; all others are zeros")
        if place.padding is not None:
            lines.append(
                f"- `own:{place.lookups[0]}.padding`: the vector of row {place.padding}, not the one in the table"
            )
    for name, path in parts.manifest.get("maps", {}).items():
        lines.append(f"{table_inside(name, parts.manifest['tables'][name], stored)}: the weight of `{path}`")
    count = sum(name.startswith("own:") for name in stored)
    lines.append(f"- `own:PATH`, {count} of them: all other parameters and buffers, as a `state_dict` names them")
    return f"What the module computes is in its own code, which is not in here. {FILE} contains\n\n" + "\n".join(lines)


def _rows(table: str, rows: int, ids: Any) -> list[int]:
    """The row numbers of ids, which may have any integer type.

    Raises:
        AutopruneError: the ids are not a list, or one has no row.
    """
    listed = ids.tolist() if hasattr(ids, "tolist") else ids
    if not isinstance(listed, Iterable) or isinstance(listed, str | bytes | bytearray):
        raise AutopruneError(f"{table}: a list of ids from 0 to {rows - 1} must be given, but got {ids!r}.")
    result = list[int]()
    for id in listed:
        row = id if type(id) is int else plain_id(id)
        if not isinstance(row, int) or not 0 <= row < rows:
            raise AutopruneError(f"{table}: a list of ids from 0 to {rows - 1} must be given, but got {id!r} in it.")
        result.append(row)
    return result


def _description(place: Place) -> str:
    also = f", shared by {', '.join([*place.lookups[1:], *place.tied])}" if place.lookups[1:] or place.tied else ""
    return f"{place.lookups[0]} with {place.rows:,} x {place.dim}{also}"


def _copy(stored: Mapping[str, Tensor], own: Mapping[str, Tensor], kind: str) -> None:
    """Copies an artifact's tensors outside the tables into a module's own tensors.

    Raises:
        AutopruneError: their names or shapes differ.
    """
    for name in stored.keys() ^ own.keys():
        where = "is in the artifact, but not in the module" if name in stored else "is not in the artifact"
        raise AutopruneError(f"into: {name} of {kind} {where}; make the module with the settings it was trained with.")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != stored[name].shape:
                raise AutopruneError(
                    f"into: {name} of {kind} has the shape {list(tensor.shape)}, but in the artifact it has "
                    f"{list(stored[name].shape)}; make the module with the settings it was trained with."
                )
            tensor.copy_(stored[name])
