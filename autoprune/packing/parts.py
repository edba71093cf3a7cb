"""A table whose rows are coded in different ways, each of them a packed table of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autoprune.packing.codes import RowCodes, narrow, pack_codes, unpack_codes
from autoprune.packing.packed import PackedTable, StoredTable
from autoprune.packing.product import PackedProduct, ProductCodes
from autoprune.packing.rows import PackedRows, pack_rows


@dataclass(frozen=True, kw_only=True)
class PartCodes:
    """Codes of a table whose rows are coded in different ways.

    Attributes:
        parts: at most four, none without rows; together they hold every row once, each in ascending order. Row-wise
            codes are of one width.
        part_of: uint8 [rows], which part each row stands in.
    """

    parts: tuple[RowCodes | ProductCodes, ...]
    part_of: Tensor

    def values(self) -> Tensor:
        """The table the codes stand for, float32 [rows, dim]."""
        held = [part.values() for part in self.parts]
        found = torch.empty(len(self.part_of), held[0].shape[1], device=held[0].device)
        for number, values in enumerate(held):
            found[self.part_of == number] = values
        return found

    def pack(self) -> StoredTable:
        """The table as it ships."""
        parts = [
            pack_rows(part.values(), coded=part) if isinstance(part, RowCodes) else part.pack() for part in self.parts
        ]
        return join_parts(parts, self.part_of)


def join_parts(parts: Sequence[StoredTable], part_of: Tensor) -> StoredTable:
    """One table of several.

    Args:
        parts: at most four; together they hold every row once, each in ascending order.
        part_of: uint8 [rows], which part each row stands in.
    """
    bits = 1 if len(parts) <= 2 else 2
    entry = {
        "rows": len(part_of),
        "dim": parts[0].entry["dim"],
        "pattern": "parts",
        "parts": [part.entry for part in parts],
    }
    tensors = {f"{number}.{name}": held for number, part in enumerate(parts) for name, held in part.tensors.items()}
    return StoredTable(entry=entry, tensors={"part_of": pack_codes(part_of, bits), **tensors})


@dataclass(frozen=True, kw_only=True)
class PackedParts(PackedTable):
    """Such a table in memory.

    Attributes:
        parts: the packed tables.
        tensors: `part_of` (uint8 [rows]) says which part holds a row, `place` where in it.
    """

    parts: tuple[PackedRows | PackedProduct, ...]

    @staticmethod
    def restore(entry: Mapping[str, Any], stored: Mapping[str, Tensor]) -> PackedParts:
        """From a manifest entry and the tensors of a file."""
        parts = list[PackedRows | PackedProduct]()
        for number, part in enumerate(entry["parts"]):
            prefix = f"{number}."
            held = {name.removeprefix(prefix): held for name, held in stored.items() if name.startswith(prefix)}
            kind = PackedProduct if part["pattern"] == "product" else PackedRows
            parts.append(kind.restore(part, held))
        part_of = unpack_codes(stored["part_of"], 1 if len(parts) <= 2 else 2, entry["rows"])
        place = torch.zeros(entry["rows"], dtype=torch.int64, device=part_of.device)
        for number, held_part in enumerate(parts):
            place[part_of == number] = torch.arange(held_part.rows, device=part_of.device)
        tensors = {"part_of": part_of.contiguous(), "place": narrow(place, entry["rows"])}
        return PackedParts(**{**entry, "parts": tuple(parts)}, bits=0, tensors=tensors)

    def to(self, device: torch.device | str) -> PackedParts:
        moved = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return dataclasses.replace(self, tensors=moved, parts=tuple(part.to(device) for part in self.parts))

    @property
    def memory_bytes(self) -> int:
        own = sum(tensor.nbytes for tensor in self.tensors.values())
        return own + sum(part.memory_bytes for part in self.parts)

    def decode(self, index: Tensor) -> Tensor:
        out = torch.empty(len(index), self.dim, device=index.device)
        part_of, place = self.tensors["part_of"][index], self.tensors["place"][index].long()
        for number, part in enumerate(self.parts):
            chosen = part_of == number
            out[chosen] = part.decode(place[chosen])
        return out

    def scores(self, queries: Tensor) -> Tensor:
        if len(queries) > self.dim:
            return self._decoded_scores(queries)
        together = torch.cat([part.scores(queries) for part in self.parts], dim=1)
        first = torch.tensor([0, *(part.rows for part in self.parts[:-1])], device=queries.device).cumsum(0)
        where = first.index_select(0, self.tensors["part_of"].int()) + self.tensors["place"]
        return together.index_select(1, where)
