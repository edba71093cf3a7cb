"""A table whose rows are coded in different ways: each part is a packed table of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autoprune.packing.arrays import Array, bounds, cast, filled, namespace, numpy_of, taken
from autoprune.packing.bits import narrow, pack_codes, unpack_codes
from autoprune.packing.packed import PackedTable, StoredTable
from autoprune.packing.product import PackedProduct, ProductCodes
from autoprune.packing.rows import PackedRows

if TYPE_CHECKING:
    from autoprune.packing.centred import CentredCodes
    from autoprune.packing.codes import RowCodes


@dataclass(frozen=True, kw_only=True)
class PartCodes:
    """Codes of a table whose rows are coded in different ways.

    Attributes:
        parts: at most four, none empty; together they contain every row once, each in ascending order. Row-wise codes
            of a part have one width.
        part_of: uint8 [rows], the part of each row.
    """

    parts: tuple[RowCodes | CentredCodes | ProductCodes, ...]
    part_of: Array

    def values(self) -> Array:
        """The table the codes stand for, float32 [rows, dim]."""
        by_part = [part.values() for part in self.parts]
        table = filled((len(self.part_of), by_part[0].shape[1]), 0, by_part[0])
        for number, values in enumerate(by_part):
            table[self.part_of == number] = values
        return table


def join_parts(parts: Sequence[StoredTable], part_of: Array) -> StoredTable:
    """Joins the parts of a table.

    Args:
        parts: at most four; together they contain every row once, each in ascending order.
        part_of: uint8 [rows], the part of each row.
    """
    bits = 1 if len(parts) <= 2 else 2
    entry = {
        "rows": len(part_of),
        "dim": parts[0].entry["dim"],
        "pattern": "parts",
        "parts": [part.entry for part in parts],
    }
    tensors = {f"{number}.{name}": tensor for number, part in enumerate(parts) for name, tensor in part.tensors.items()}
    return StoredTable(entry=entry, tensors={"part_of": numpy_of(pack_codes(part_of, bits)), **tensors})


@dataclass(frozen=True, kw_only=True)
class PackedParts(PackedTable):
    """A table of several parts in memory.

    Attributes:
        parts: the packed tables.
        tensors: `part_of` (uint8 [rows]), the part of each row, and `place`, its position there.
    """

    parts: tuple[PackedRows | PackedProduct, ...]

    @staticmethod
    def restore(entry: Mapping[str, Any], stored: Mapping[str, Array]) -> PackedParts:
        """From a manifest entry and the arrays of a file."""
        parts = list[PackedRows | PackedProduct]()
        for number, part in enumerate(entry["parts"]):
            prefix = f"{number}."
            arrays = {name.removeprefix(prefix): array for name, array in stored.items() if name.startswith(prefix)}
            kind = PackedProduct if part["pattern"] == "product" else PackedRows
            parts.append(kind.restore(part, arrays))
        part_of = unpack_codes(stored["part_of"], 1 if len(parts) <= 2 else 2, entry["rows"])
        place = np.zeros(entry["rows"], dtype=np.int64)
        for number, packed in enumerate(parts):
            place[part_of == number] = np.arange(packed.rows)
        tensors = {"part_of": np.ascontiguousarray(part_of), "place": narrow(place, entry["rows"])}
        return PackedParts(**{**entry, "parts": tuple(parts)}, bits=0, tensors=tensors)

    def to(self, device: Any) -> PackedParts:
        return dataclasses.replace(super().to(device), parts=tuple(part.to(device) for part in self.parts))

    @property
    def memory_bytes(self) -> int:
        return super().memory_bytes + sum(part.memory_bytes for part in self.parts)

    def decode(self, index: Array) -> Array:
        out = filled((len(index), self.dim), 0, index)
        part_of, place = self.tensors["part_of"][index], cast(self.tensors["place"][index], "int64")
        for number, part in enumerate(self.parts):
            chosen = part_of == number
            if chosen.any():  # a single row is in one part only
                out[chosen] = part.decode(place[chosen])
        return out

    def scores(self, queries: Array) -> Array:
        if len(queries) > self.dim:
            return self._decoded_scores(queries)
        together = namespace(queries).concatenate([part.scores(queries) for part in self.parts], axis=1)
        first = bounds(self._counts)
        return taken(together, taken(first, self.tensors["part_of"]) + self.tensors["place"])

    @property
    def _counts(self) -> Array:
        """The number of rows of each part."""
        return namespace(self.like).asarray([part.rows for part in self.parts], device=self.like.device)
