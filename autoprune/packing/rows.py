"""Rows of one width: values or row-wise codes, pruned zeros left out.

Such a table is three independent choices, each of them data in its manifest entry:

    bits      32 (float32 values), or those of a code (`autoprune.packing.bits.LEVELS`)
    pattern   full (every value stands) | bitmask (a bit a position) | columns (a column number a value)
    rows, dim the logical shape

Codes are scaled row by row in one of two ways, which are one in memory: value = code * scale + offset.

    scale, offset float16 in multiples of `unit`
    scale, grid   a byte that says the logarithm of the scale; the levels lie about zero, which may be a code (`zero`)
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autoprune.packing.arrays import Array, bounds, cast, filled, namespace, numbers, numpy_of, repeat
from autoprune.packing.bits import LEVELS, narrow, pack_codes, plane, scales, unpack_codes
from autoprune.packing.packed import PackedTable, StoredTable, block_rows

if TYPE_CHECKING:
    from autoprune.packing.codes import RowCodes

FEW_QUERIES = 8
"""Below, torch multiplies sparse tables as CSR; from here on, as embedding bags."""


WIDENED = 2**22
"""Values of a table that is widened where nobody says what to prefer: in float32 they take 16 MB."""


@dataclass(frozen=True, kw_only=True)
class PackedRows(PackedTable):
    """A table of one width in memory; only what is small is widened for speed (scales, a bitmask to column numbers).

    Attributes:
        pattern: `full`, `bitmask` or `columns`, as stored. In memory both sparse patterns are `columns`.
    """

    @staticmethod
    def restore(entry: Mapping[str, Any], stored: Mapping[str, Array]) -> PackedRows:
        """From a manifest entry and the arrays of a file."""
        held, dim = dict(stored), entry["dim"]
        shape = {name: held for name, held in entry.items() if name != "zero"}
        if entry["pattern"] != "full":
            if entry["pattern"] == "bitmask":
                mask = unpack_codes(held.pop("bitmask"), 1, dim).astype(bool)
                counts, held["columns"] = mask.sum(1), narrow(mask.nonzero()[1], dim - 1)
            else:
                counts = held.pop("counts")
            held["starts"] = cast(bounds(counts), "int32")
        if "grid" in held:
            held["scale"] = scales(held["scale"], held.pop("grid"))
            held["offset"] = held["scale"] * -entry.get("zero", middle_code(entry["bits"]))
        elif "scale" in held:
            unit = held.pop("unit")
            held["scale"], held["offset"] = (cast(held[name], "float32") * unit for name in ("scale", "offset"))
        return PackedRows(**shape, tensors=held)

    @staticmethod
    def of(values: Array) -> PackedRows:
        """The table of float32 [rows, dim], every value as it is."""
        rows, dim = values.shape
        return PackedRows(rows=rows, dim=dim, bits=32, pattern="full", tensors={"values": values})

    def decode(self, index: Array) -> Array:
        held = self.tensors
        if self.pattern == "full":
            if self.bits == 32:
                return held["values"][index]
            values = cast(unpack_codes(held["codes"][index], self.bits, self.dim), "float32")
            values *= held["scale"][index][:, None]
            values += held["offset"][index][:, None]
            return values
        starts = cast(held["starts"], "int64")
        counts = starts[index + 1] - starts[index]
        owner = repeat(numbers(len(index), index), counts)
        first = bounds(counts)[:-1]
        position = numbers(len(owner), index) + (starts[index] - first)[owner]
        found = self._sparse_values(position)
        if self.bits < 32:
            found = found * held["scale"][index][owner] + held["offset"][index][owner]
        out = filled((len(index), self.dim), 0, index)
        out[owner, cast(held["columns"][position], "int64")] = found
        return out

    def scores(self, queries: Array) -> Array:
        """Dot products of `queries` (float32 [n, dim]) with every row: float32 [n, rows].

        Row-wise scale and offset stay outside the dot product: q·(code * scale + offset) = (q·code) * scale +
        offset * Σq, so that a weight costs one conversion and no arithmetic of its own.
        """
        held = self.tensors
        if self.pattern != "full":
            return self._sparse_scores(queries)
        if self.bits == 32:
            return queries @ held["values"].T
        if len(queries) > self.dim:
            return self._decoded_scores(queries)
        totals = queries.sum(1)[:, None]
        out = filled((len(queries), self.rows), 0, queries)
        step = block_rows(self.dim, len(queries))
        for start in range(0, self.rows, step):
            rows = slice(start, min(start + step, self.rows))
            block = _times_codes(queries, held["codes"][rows], self.bits)
            block *= held["scale"][rows]
            namespace(queries).add(block, totals * held["offset"][rows], out=out[:, rows])
        return out

    def _sparse_scores(self, queries: Array) -> Array:
        held = self.tensors
        if isinstance(queries, np.ndarray) and len(queries) > 1:
            return self._decoded_scores(queries)
        values = self._sparse_values()
        scores = self._sparse_product(queries, values)
        if self.bits < 32:
            scores *= held["scale"]
            ones = filled(tuple(values.shape), 1, values)
            scores += self._sparse_product(queries, ones) * held["offset"]
        return scores

    def _sparse_product(self, queries: Array, values: Array) -> Array:
        """Queries @ sparse.T for given values at the stored positions: [n, rows]; in numpy of one query."""
        starts, columns = self.tensors["starts"], self.tensors["columns"]
        if isinstance(queries, np.ndarray):
            out = np.zeros((1, self.rows), dtype=np.float32)
            (held,) = np.nonzero(starts[1:] > starts[:-1])  # of a row of none reduceat would take the next one's first
            out[0, held] = np.add.reduceat(values * queries[0].take(columns), starts[held]) if len(held) else 0
            return out
        torch, columns = namespace(queries), cast(columns, "int32")
        if len(queries) < FEW_QUERIES:
            with warnings.catch_warnings():  # torch announces once that CSR tensors are beta; say it to nobody
                warnings.simplefilter("ignore", UserWarning)
                matrix = torch.sparse_csr_tensor(
                    starts, columns, values, size=(self.rows, self.dim), check_invariants=False
                )
            return (matrix @ queries.T).T
        # A bag for each row: a sum of query columns, weighted by the values. Several times faster for many queries.
        return torch.nn.functional.embedding_bag(
            columns, queries.T.contiguous(), starts[:-1], mode="sum", per_sample_weights=values
        ).T

    def _sparse_values(self, position: Array | None = None) -> Array:
        """Stored values, or codes as float32, all of them or those at `position`: [k]."""
        if self.bits == 32:
            values = self.tensors["values"]
            return values if position is None else values[position]
        packed, count = self.tensors["codes"], len(self.tensors["columns"])
        if position is None:
            return cast(unpack_codes(packed, self.bits, count), "float32")
        return cast(_codes_at(packed, self.bits, count, position), "float32")


def middle_code(bits: float) -> float:
    """What stands for zero where levels lie about it; between two codes, if they are of an even number."""
    return (LEVELS[bits] - 1) / 2


def _times_codes(queries: Array, packed: Array, bits: float) -> Array:
    """Queries @ codes.T for packed rows, plane by plane: planes need not be put side by side."""
    if bits in (8, 3):
        return queries @ cast(unpack_codes(packed, bits, queries.shape[1]), "float32").T
    width = packed.shape[1]
    block: Array | None = None
    for number in range(-(-queries.shape[1] // width)):
        part = queries[:, number * width : (number + 1) * width]
        product = part @ cast(plane(packed[:, : part.shape[1]], bits, number), "float32").T
        block = product if block is None else block + product
    return block


def _codes_at(packed: Array, bits: float, count: int, position: Array) -> Array:
    """Those at some places of one long row of `count` packed codes."""
    if bits == 3:
        return unpack_codes(packed, bits, count)[position]
    width = max(len(packed), 1)  # code p stands in byte p % width, plane p // width
    shift = cast(position // width * bits, "uint8")
    return (packed[position % width] >> shift) & (LEVELS[bits] - 1)


def widened(table: PackedTable, prefer: str | None) -> PackedTable:
    """The table with every value in float32, where that answers faster and is wanted.

    Args:
        table: as it was restored.
        prefer: `latency`: whatever it takes; `memory`: where it takes no more; None: where it takes no more than
            `WIDENED` values.
    """
    dense = table.pattern == "full" and table.bits == 32
    values = table.rows * table.dim
    small = prefer is None and values <= WIDENED
    wanted = prefer == "latency" or small or table.memory_bytes >= values * np.dtype(np.float32).itemsize
    return PackedRows.of(table.values()) if wanted and not dense else table


def pack_rows(values: Array, *, mask: Array | None = None, coded: RowCodes | None = None) -> StoredTable:
    """Packs rows of one width in the pattern that takes the fewest bytes.

    Args:
        values: float32 [rows, dim]; ignored where `coded` is given.
        mask: bool [rows, dim]; False marks a zero. None: every value stands.
        coded: the codes, all of one width, if the rows were quantised; they are stored as they are.
    """
    source = values if coded is None else coded.codes
    rows, dim = source.shape
    bits = 32 if coded is None else int(coded.bits[0])
    scaling = {}
    if coded is not None:
        scaling = {"scale": coded.scale, "offset": coded.offset, "unit": np.array(coded.unit, "f4")}

    def stored(pattern: str, kept: Array, where: Mapping[str, Array]) -> StoredTable:
        content = {"values": kept} if coded is None else {"codes": pack_codes(kept, bits)}
        tensors = {name: numpy_of(tensor) for name, tensor in {**content, **where, **scaling}.items()}
        return StoredTable(entry={"rows": rows, "dim": dim, "bits": bits, "pattern": pattern}, tensors=tensors)

    if mask is None or bool(mask.all()):
        return stored("full", source, {})
    kept, columns, counts = source[mask], namespace(mask).where(mask)[1], mask.sum(1)
    found = [
        stored("bitmask", kept, {"bitmask": pack_codes(cast(mask, "uint8"), 1)}),
        stored("columns", kept, {"columns": narrow(columns, dim - 1), "counts": narrow(counts, dim)}),
    ]
    if coded is None:  # a zero of a quantised table may not be a code: without its place it would be lost
        found.append(stored("full", source * mask, {}))
    return min(found, key=lambda table: table.size_bytes)
