"""Tables of one width: values or row-wise codes, without pruned zeros.

The layout is three independent choices, each stored in the manifest entry:

    bits      32 (float32 values), or those of a code (`autoprune.packing.bits.LEVELS`)
    pattern   full (all values) | bitmask (one bit per position) | columns (one column number per value)
    rows, dim the logical shape

Files store the scaling of rows in one of two ways; in memory both are value = code * scale + offset.

    scale, offset float16 in multiples of `unit`
    scale, grid   a byte for the logarithm of the scale; levels are centred on zero, which may have a code (`zero`)
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
"""With fewer queries torch multiplies sparse tables as CSR; from here on, as embedding bags."""


WIDENED = 2**22
"""The most values of a table that is widened without a preference: in float32 they take 16 MB."""


@dataclass(frozen=True, kw_only=True)
class PackedRows(PackedTable):
    """A table of one width in memory; only small parts are widened for speed (scales, a bitmask to column numbers).

    Attributes:
        pattern: `full`, `bitmask` or `columns`, as stored. In memory both sparse patterns are `columns`.
    """

    @staticmethod
    def restore(entry: Mapping[str, Any], stored: Mapping[str, Array]) -> PackedRows:
        """From a manifest entry and the arrays of a file."""
        tensors, dim = dict(stored), entry["dim"]
        shape = {name: value for name, value in entry.items() if name != "zero"}
        if entry["pattern"] != "full":
            if entry["pattern"] == "bitmask":
                mask = unpack_codes(tensors.pop("bitmask"), 1, dim).astype(bool)
                counts, tensors["columns"] = mask.sum(1), narrow(mask.nonzero()[1], dim - 1)
            else:
                counts = tensors.pop("counts")
            tensors["starts"] = cast(bounds(counts), "int32")
        if "grid" in tensors:
            tensors["scale"] = scales(tensors["scale"], tensors.pop("grid"))
            tensors["offset"] = tensors["scale"] * -entry.get("zero", middle_code(entry["bits"]))
        elif "scale" in tensors:
            unit = tensors.pop("unit")
            tensors |= {name: cast(tensors[name], "float32") * unit for name in ("scale", "offset")}
        return PackedRows(**shape, tensors=tensors)

    @staticmethod
    def of(values: Array) -> PackedRows:
        """An uncoded table from float32 [rows, dim]."""
        rows, dim = values.shape
        return PackedRows(rows=rows, dim=dim, bits=32, pattern="full", tensors={"values": values})

    def decode(self, index: Array) -> Array:
        tensors = self.tensors
        if self.pattern == "full":
            if self.bits == 32:
                return tensors["values"][index]
            values = cast(unpack_codes(tensors["codes"][index], self.bits, self.dim), "float32")
            values *= tensors["scale"][index][:, None]
            values += tensors["offset"][index][:, None]
            return values
        starts = cast(tensors["starts"], "int64")
        counts = starts[index + 1] - starts[index]
        owner = repeat(numbers(len(index), index), counts)
        first = bounds(counts)[:-1]
        position = numbers(len(owner), index) + (starts[index] - first)[owner]
        sparse_values = self._sparse_values(position)
        if self.bits < 32:
            sparse_values = sparse_values * tensors["scale"][index][owner] + tensors["offset"][index][owner]
        out = filled((len(index), self.dim), 0, index)
        out[owner, cast(tensors["columns"][position], "int64")] = sparse_values
        return out

    def scores(self, queries: Array) -> Array:
        """Dot products of `queries` (float32 [n, dim]) with every row: float32 [n, rows].

        Row-wise scale and offset stay outside the dot product: q·(code * scale + offset) = (q·code) * scale +
        offset * Σq, so that a weight costs one conversion and no arithmetic of its own.
        """
        tensors = self.tensors
        if self.pattern != "full":
            return self._sparse_scores(queries)
        if self.bits == 32:
            return queries @ tensors["values"].T
        if len(queries) > self.dim:
            return self._decoded_scores(queries)
        totals = queries.sum(1)[:, None]
        out = filled((len(queries), self.rows), 0, queries)
        step = block_rows(self.dim, len(queries))
        for start in range(0, self.rows, step):
            rows = slice(start, min(start + step, self.rows))
            block = _times_codes(queries, tensors["codes"][rows], self.bits)
            block *= tensors["scale"][rows]
            namespace(queries).add(block, totals * tensors["offset"][rows], out=out[:, rows])
        return out

    def _sparse_scores(self, queries: Array) -> Array:
        tensors = self.tensors
        if isinstance(queries, np.ndarray) and len(queries) > 1:
            return self._decoded_scores(queries)
        values = self._sparse_values()
        scores = self._sparse_product(queries, values)
        if self.bits < 32:
            scores *= tensors["scale"]
            ones = filled(tuple(values.shape), 1, values)
            scores += self._sparse_product(queries, ones) * tensors["offset"]
        return scores

    def _sparse_product(self, queries: Array, values: Array) -> Array:
        """Queries @ sparse.T for given values at the stored positions: [n, rows]; in numpy for one query only."""
        starts, columns = self.tensors["starts"], self.tensors["columns"]
        if isinstance(queries, np.ndarray):
            out = np.zeros((1, self.rows), dtype=np.float32)
            (full,) = np.nonzero(starts[1:] > starts[:-1])  # for an empty row reduceat takes the next row's first
            out[0, full] = np.add.reduceat(values * queries[0].take(columns), starts[full]) if len(full) else 0
            return out
        torch, columns = namespace(queries), cast(columns, "int32")
        if len(queries) < FEW_QUERIES:
            with warnings.catch_warnings():  # torch warns once that CSR tensors are beta
                warnings.simplefilter("ignore", UserWarning)
                matrix = torch.sparse_csr_tensor(
                    starts, columns, values, size=(self.rows, self.dim), check_invariants=False
                )
            return (matrix @ queries.T).T
        # One bag per row: a sum of query columns, weighted by the values. Several times faster for many queries.
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
    """The position of zero among centred levels; between two codes if the number of levels is even."""
    return (LEVELS[bits] - 1) / 2


def _times_codes(queries: Array, packed: Array, bits: float) -> Array:
    """Queries @ codes.T for packed rows, plane by plane, which avoids concatenating the planes."""
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
    """The codes at some positions of one long row of `count` packed codes."""
    if bits == 3:
        return unpack_codes(packed, bits, count)[position]
    width = max(len(packed), 1)  # code p is in byte p % width, plane p // width
    shift = cast(position // width * bits, "uint8")
    return (packed[position % width] >> shift) & (LEVELS[bits] - 1)


def widened(table: PackedTable, prefer: str | None) -> PackedTable:
    """The table in float32, which answers faster, if `prefer` allows it; else the table itself.

    Args:
        table: as it was restored.
        prefer: `latency`: always; `memory`: only if it takes no more memory; None: also if the table has at most
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
        mask: bool [rows, dim]; False marks a pruned zero. None: there are none.
        coded: the codes, all of one width, if the rows are quantised; stored unchanged.
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
    candidates = [
        stored("bitmask", kept, {"bitmask": pack_codes(cast(mask, "uint8"), 1)}),
        stored("columns", kept, {"columns": narrow(columns, dim - 1), "counts": narrow(counts, dim)}),
    ]
    if coded is None:  # a quantised table may have no code for zero, so it must store where zeros are
        candidates.append(stored("full", source * mask, {}))
    return min(candidates, key=lambda table: table.size_bytes)
