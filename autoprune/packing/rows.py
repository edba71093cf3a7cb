"""Rows of one width: values or row-wise codes, pruned zeros left out.

Such a table is three independent choices, each of them data in its manifest entry:

    bits      32 (float32 values) or 8, 4, 2, 1 (unsigned codes; value = (code * scale + offset) * unit, per row)
    pattern   full (every value stands) | bitmask (a bit a position) | columns (a column number a value)
    rows, dim the logical shape
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autoprune.packing.codes import RowCodes, narrow, pack_codes, unpack_codes
from autoprune.packing.packed import PackedTable, StoredTable, block_rows

with warnings.catch_warnings():  # torch announces once that CSR tensors are beta; say it to nobody
    warnings.simplefilter("ignore", UserWarning)
    torch.sparse_csr_tensor([0, 0], torch.empty(0, dtype=torch.int64), torch.empty(0), size=(1, 1))

FEW_QUERIES = 8
"""Below, sparse products run as CSR; from here on, as embedding bags."""


@dataclass(frozen=True, kw_only=True)
class PackedRows(PackedTable):
    """A table of one width in memory; only what is small is widened for speed (scales, a bitmask to column numbers).

    Attributes:
        pattern: `full`, `bitmask` or `columns`, as stored. In memory both sparse patterns are `columns`.
    """

    @staticmethod
    def restore(entry: Mapping[str, Any], stored: Mapping[str, Tensor]) -> PackedRows:
        """From a manifest entry and the tensors of a file."""
        held, dim = dict(stored), entry["dim"]
        if entry["pattern"] != "full":
            if entry["pattern"] == "bitmask":
                mask = unpack_codes(held.pop("bitmask"), 1, dim).bool()
                counts, held["columns"] = mask.sum(1), narrow(mask.nonzero()[:, 1], dim - 1)
            else:
                counts = held.pop("counts").long()
            held["starts"] = torch.nn.functional.pad(counts.cumsum(0), (1, 0)).to(torch.int32)
        if "scale" in held:
            unit = held.pop("unit")
            held["scale"], held["offset"] = held["scale"].float() * unit, held["offset"].float() * unit
        return PackedRows(**entry, tensors=held)

    def decode(self, index: Tensor) -> Tensor:
        held = self.tensors
        if self.pattern == "full":
            if self.bits == 32:
                return held["values"][index]
            codes = unpack_codes(held["codes"][index], self.bits, self.dim).float()
            return codes.mul_(held["scale"][index, None]).add_(held["offset"][index, None])
        starts = held["starts"].long()
        counts = starts[index + 1] - starts[index]
        owner = torch.arange(len(index), device=index.device).repeat_interleave(counts)
        first = counts.cumsum(0) - counts
        position = torch.arange(len(owner), device=index.device) + (starts[index] - first)[owner]
        values = self._sparse_values(position)
        if self.bits < 32:
            values = values * held["scale"][index][owner] + held["offset"][index][owner]
        out = torch.zeros(len(index), self.dim, device=index.device)
        out[owner, held["columns"][position].long()] = values
        return out

    def scores(self, queries: Tensor) -> Tensor:
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
        totals = queries.sum(1, keepdim=True)
        out = torch.empty(len(queries), self.rows, device=queries.device)
        step = block_rows(self.dim, len(queries))
        for start in range(0, self.rows, step):
            rows = slice(start, min(start + step, self.rows))
            block = self._times_codes(queries, held["codes"][rows]).mul_(held["scale"][rows])
            torch.addcmul(block, totals, held["offset"][rows], out=out[:, rows])
        return out

    def _times_codes(self, queries: Tensor, packed: Tensor) -> Tensor:
        """Queries @ codes.T for packed rows, plane by plane: planes need not be put side by side."""
        if self.bits == 8:
            return queries @ packed.float().T
        width = packed.shape[1]
        block: Tensor | None = None
        for plane in range(-(-self.dim // width)):
            part = queries[:, plane * width : (plane + 1) * width]
            codes = ((packed[:, : part.shape[1]] >> (plane * self.bits)) & (2**self.bits - 1)).float()
            block = part @ codes.T if block is None else block.addmm_(part, codes.T)
        assert block is not None, "a table has at least one dimension"
        return block

    def _sparse_scores(self, queries: Tensor) -> Tensor:
        held = self.tensors
        values = self._sparse_values()
        scores = self._sparse_product(queries, values)
        if self.bits < 32:
            scores *= held["scale"]
            scores += self._sparse_product(queries, torch.ones_like(values)) * held["offset"]
        return scores

    def _sparse_product(self, queries: Tensor, values: Tensor) -> Tensor:
        """Queries @ sparse.T for given values at the stored positions: [n, rows]."""
        starts, columns = self.tensors["starts"], self.tensors["columns"].int()
        if len(queries) < FEW_QUERIES:
            matrix = torch.sparse_csr_tensor(
                starts, columns, values, size=(self.rows, self.dim), check_invariants=False
            )
            return (matrix @ queries.T).T
        # A bag for each row: a sum of query columns, weighted by the values. Several times faster for many queries.
        bags = torch.nn.functional.embedding_bag(
            columns, queries.T.contiguous(), starts[:-1], mode="sum", per_sample_weights=values
        )
        product: Tensor = bags.T
        return product

    def _sparse_values(self, position: Tensor | None = None) -> Tensor:
        """Stored values, or codes as float32, all of them or those at `position`: [k]."""
        if self.bits == 32:
            values = self.tensors["values"]
            return values if position is None else values[position]
        packed, count = self.tensors["codes"], len(self.tensors["columns"])
        if position is None:
            return unpack_codes(packed, self.bits, count).float()
        # A flat run of codes is one long row of planes: code p stands in byte p % width, plane p // width.
        width = max(len(packed), 1)
        shift = (position // width * self.bits).to(torch.uint8)
        codes: Tensor = (packed[position % width] >> shift) & (2**self.bits - 1)
        return codes.float()


def pack_rows(values: Tensor, *, mask: Tensor | None = None, coded: RowCodes | None = None) -> StoredTable:
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
        scaling = {"scale": coded.scale, "offset": coded.offset, "unit": torch.tensor(coded.unit)}

    def stored(pattern: str, kept: Tensor, where: Mapping[str, Tensor]) -> StoredTable:
        content = {"values": kept} if coded is None else {"codes": pack_codes(kept, bits)}
        tensors = {name: tensor.contiguous() for name, tensor in {**content, **where, **scaling}.items()}
        return StoredTable(entry={"rows": rows, "dim": dim, "bits": bits, "pattern": pattern}, tensors=tensors)

    if mask is None or bool(mask.all()):
        return stored("full", source, {})
    kept, columns, counts = source[mask], mask.nonzero()[:, 1], mask.sum(1)
    found = [
        stored("bitmask", kept, {"bitmask": pack_codes(mask.to(torch.uint8), 1)}),
        stored("columns", kept, {"columns": narrow(columns, dim - 1), "counts": narrow(counts, dim)}),
    ]
    if coded is None:  # a zero of a quantised table may not be a code: without its place it would be lost
        found.append(stored("full", source * mask, {}))
    return min(found, key=lambda table: table.size_bytes)
