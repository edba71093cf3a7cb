"""What answers for an artifact of a module: its tables alone, or all of it once a fresh module is given."""

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
from autoprune.packing.rows import widened


class Held:
    """A packed table whose rows are asked for by their original numbers.

    Args:
        table: of the rows that stand.
        place: of the table in its module.
        stands: bits of the rows that stand; None: all do.
        basis: float32 [dim, outer width], or the numbers of the columns; None: rows are as wide as they are asked for.
    """

    def __init__(self, table: PackedTable, place: Place, *, stands: Tensor | None, basis: Tensor | None) -> None:
        self._table, self._basis, self._outer = table, basis, place.dim
        self.device = table.like.device
        self.stands = torch.ones(place.rows, dtype=torch.bool, device=self.device)
        self._row: Tensor | None = None
        if stands is not None:
            self.stands = unpack_codes(stands, 1, place.rows).bool()
            rows = torch.where(self.stands, self.stands.cumsum(0), 0)
            self._row = narrow(rows, table.rows)  # counted from 1; 0 is gone

    @property
    def memory_bytes(self) -> int:
        """Bytes that it holds."""
        held = [one for one in (self._row, self._basis) if one is not None]
        return self._table.memory_bytes + sum(one.nbytes for one in held)

    def vectors(self, ids: Tensor) -> Tensor:
        """The vectors of original rows, int64 [n]: float32 [n, outer width]; zeros of those that are gone."""
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
    """The tables of a module, and what else it holds.

    It has no code of the module, so that it answers with vectors alone until it is given a module to fill.

    Args:
        prefer: as of `widened`; lookups of a table that is not decode the rows alone that they are asked for.

    Attributes:
        tables: shapes of the tables before anything was cut, by name.
        base: what the module was made with, where that is not as always.
        module: what `into` was last given.
        device: where its tables answer.
    """

    def __init__(self, parts: Parts, *, device: str = "cpu", prefer: str | None = None) -> None:
        self.device, self._threads = torch.device(device), Threads()
        self._places = [
            Place(**{**one, "lookups": tuple(one["lookups"]), "tied": tuple(one["tied"])})
            for one in parts.manifest["places"]
        ]
        around: dict[str, dict[str, Tensor]] = {"own": {}, "stands": {}, "basis": {}}
        for name, tensor in parts.tensors.items():
            kind, colon, of = name.partition(":")
            if colon and kind in around:
                around[kind][of] = tensor_of(tensor, self.device)
        self._inside = _inside(parts, self._places)
        packed = parts.tables()
        self._held = {
            place.name: Held(
                widened(packed[place.name], prefer).to(self.device),
                place,
                stands=around["stands"].get(place.name),
                basis=around["basis"].get(place.name),
            )
            for place in self._places
        }
        self._own = around["own"]
        for name, path in parts.manifest.get("maps", {}).items():
            self._own[f"{path}.weight"] = packed[name].to(self.device).values()
            if f"{name}.bias" in parts.tensors:
                self._own[f"{path}.bias"] = tensor_of(parts.tensors[f"{name}.bias"], self.device)
        self.base = dict(parts.manifest.get("base", {}))
        self._padded = {
            place.name: (place.padding, self._own[f"{place.lookups[0]}.padding"])
            for place in self._places
            if place.padding is not None
        }
        self.tables = {place.name: (place.rows, place.dim) for place in self._places}
        self.module: nn.Module | None = None

    @property
    def memory_bytes(self) -> int:
        held = sum(table.memory_bytes for table in self._held.values())
        return held + sum(tensor.nbytes for tensor in self._own.values())

    @property
    def example(self) -> str:
        return f"model.vectors({self._places[0].name!r}, [0])"

    @property
    def advice(self) -> str:
        made = ", ".join(f"{name}={value!r}" for name, value in self.base.items())
        return (
            "These are the vectors of its tables. All of it goes into a fresh module of the class that it was made from"
            f"{f', made with `{made}`' if made else ''}: its tables are replaced, the rest of it is filled.\n\n"
            '```python\nmodule = autoprune.load(".", into=module)  # in eval mode, ready to answer\n```'
        )

    @property
    def inside(self) -> str:
        return self._inside

    def vectors(self, table: str, ids: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The vectors of some rows of a table, float32 [len(ids), outer width]; zeros of those that are gone.

        Raises:
            AutopruneError: there is no such table, or an id has no row in it.
        """
        if table not in self._held:
            raise unknown("table", table, self._held)
        self._threads.do_without()
        asked = torch.tensor(_rows(table, self.tables[table][0], ids), dtype=torch.long, device=self.device)
        vectors = self._held[table].vectors(asked)
        if table in self._padded:
            padding, vector = self._padded[table]
            vectors = torch.where(asked.eq(padding)[:, None], vector, vectors)
        found: np.ndarray[Any, np.dtype[np.float32]] = vectors.cpu().numpy()
        return found

    def into(self, module: nn.Module) -> nn.Module:
        """Puts all of the artifact into a fresh module of the class that it was made from, and returns it, to answer.

        Its embeddings are replaced; its other parameters and buffers get the values of the artifact.

        Raises:
            AutopruneError: it is another module.
        """
        if not isinstance(module, nn.Module):
            raise AutopruneError(f"into: an nn.Module must be given, but got {type(module).__name__}.")
        found = find_tables(module, [path for place in self._places for path in place.lookups])
        if found != self._places:
            ours, theirs = ("; ".join(map(_told, places)) for places in (self._places, found))
            raise AutopruneError(
                f"into: {type(module).__name__} is another module than the artifact was made from. Its tables are "
                f"{theirs}, but they were {ours}; make it with the settings it was trained with."
            )
        take_over(module, self._places)
        return self.fill(module)

    def fill(self, module: nn.Module) -> nn.Module:
        """As `into`, for a module that has lookups already."""
        self._threads.do_without()
        module.to(self.device)
        fill(module, self._places, self._held)
        _copy(self._own, own_tensors(module), type(module).__name__)
        self.module = module.eval()
        return self.module


def _inside(parts: Parts, places: Sequence[Place]) -> str:
    """What lies in an artifact's files, as Markdown: how the module is filled in whatever it is written in."""
    stored, lines = parts.tensors, list[str]()
    for place in places:
        name, entry = place.name, parts.manifest["tables"][place.name]
        lines.append(f"{table_inside(name, entry, stored)}: of {_told(place)}")
        if f"stands:{name}" in stored:
            width = len(stored[f"stands:{name}"])
            lines.append(
                f"- `stands:{name}`: which of its {place.rows:,} rows stand, in their order above; r does if (its byte "
                f"r % {width} >> r // {width}) & 1 is 1, and the vector of any other is zeros"
            )
        basis = stored.get(f"basis:{name}")
        if basis is not None and basis.ndim == 2:
            lines.append(f"- `basis:{name}`: its vectors are multiplied by this matrix, {len(basis)} x {place.dim}")
        elif basis is not None:
            lines.append(f"- `basis:{name}`: of {place.dim} columns those that the vectors hold; zeros in all others")
        if place.padding is not None:
            lines.append(f"- `own:{place.lookups[0]}.padding`: the vector of row {place.padding}, in place of its own")
    for name, path in parts.manifest.get("maps", {}).items():
        lines.append(f"{table_inside(name, parts.manifest['tables'][name], stored)}: the weight of `{path}`")
    count = sum(name.startswith("own:") for name in stored)
    lines.append(f"- `own:PATH`, {count} of them: all other parameters and buffers, as a `state_dict` names them")
    return f"What the module computes is in its own code, which is not in here. {FILE} holds\n\n" + "\n".join(lines)


def _rows(table: str, rows: int, ids: Any) -> list[int]:
    """The rows that ids mean, which may come in any type of whole numbers.

    Raises:
        AutopruneError: they are no list, or one has no row.
    """
    listed = ids.tolist() if hasattr(ids, "tolist") else ids
    if not isinstance(listed, Iterable) or isinstance(listed, str | bytes | bytearray):
        raise AutopruneError(f"{table}: a list of ids from 0 to {rows - 1} must be given, but got {ids!r}.")
    found = list[int]()
    for wanted in listed:
        row = wanted if type(wanted) is int else plain_id(wanted)
        if not isinstance(row, int) or not 0 <= row < rows:
            raise AutopruneError(
                f"{table}: a list of ids from 0 to {rows - 1} must be given, but got {wanted!r} in it."
            )
        found.append(row)
    return found


def _told(place: Place) -> str:
    also = f", shared by {', '.join([*place.lookups[1:], *place.tied])}" if place.lookups[1:] or place.tied else ""
    return f"{place.lookups[0]} with {place.rows:,} x {place.dim}{also}"


def _copy(stored: Mapping[str, Tensor], there: Mapping[str, Tensor], kind: str) -> None:
    """Copies what an artifact holds beside tables into a module's own tensors.

    Raises:
        AutopruneError: they are not the same.
    """
    for name in stored.keys() ^ there.keys():
        whose = "the artifact has it and the module has not" if name in stored else "the artifact has nothing for it"
        raise AutopruneError(f"into: {name} of {kind}: {whose}; make the module with the settings it was trained with.")
    with torch.no_grad():
        for name, held in there.items():
            if held.shape != stored[name].shape:
                raise AutopruneError(
                    f"into: {name} of {kind} has the shape {list(held.shape)}, but in the artifact it is "
                    f"{list(stored[name].shape)}; make the module with the settings it was trained with."
                )
            held.copy_(stored[name])
