"""Tables in few bytes: row-wise codes, zeros left out, packed as bits.

A loaded table stays packed; only what is small is widened for speed (scales to float32, a bitmask to column numbers).

A packed table is three independent choices, each of them data in its manifest entry:

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

with warnings.catch_warnings():  # torch announces once that CSR tensors are beta; say it to nobody
    warnings.simplefilter("ignore", UserWarning)
    torch.sparse_csr_tensor([0, 0], torch.empty(0, dtype=torch.int64), torch.empty(0), size=(1, 1))

BLOCK_ROWS = 2048
"""Rows decoded at a time for many queries: a block of 64 dimensions stays inside a core's second cache."""

BLOCK_VALUES = 2**20
"""Values decoded at a time for one query: bounds the memory that scoring takes beside the table, 4 MB."""

FEW_QUERIES = 8
"""Below, sparse products run as CSR; from here on, as embedding bags."""

CLIP = tuple(1.0 - 0.05 * i for i in range(11))
"""Shrunk ranges tried for few bits, widest first."""


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """Row-wise codes of a table: value = (code * scale + offset) * unit.

    codes: uint8 [rows, dim], each below 2**bits. scale, offset: float16 [rows], in multiples of `unit`.
    """

    codes: Tensor
    scale: Tensor
    offset: Tensor
    unit: float
    bits: int

    def values(self) -> Tensor:
        """The table the codes stand for, float32 [rows, dim]."""
        return dequantize(self.codes, self.scale[:, None], self.offset[:, None], self.unit)


def dequantize(codes: Tensor, scale: Tensor, offset: Tensor, unit: float) -> Tensor:
    """(codes * scale + offset) * unit in float32; shapes broadcast."""
    return codes.float().mul_(scale.float() * unit).add_(offset.float() * unit)


def quantize_rows(
    values: Tensor, bits: int, *, mask: Tensor | None = None, clip: tuple[float, ...] = CLIP
) -> Quantized:
    """Uniform codes for each row between its own ends.

    Among the shrunk ranges in `clip` each row takes the one with the smallest squared error, as in the greedy
    search of Guan et al. 2019, "Post-Training 4-bit Quantization on Embedding Tables". `clip=(1.0,)` is plain
    min–max. Codes are computed against the scale and offset as they are stored, in float16.

    Args:
        values: float32 [rows, dim], finite.
        bits: 1 to 8.
        mask: bool [rows, dim]; where False the value is a zero that will not be stored, and does not count.
    """
    unit = max(float(values.abs().max()), 1e-30) if values.numel() else 1.0
    scaled = values / unit
    if mask is None:
        low, high = scaled.amin(1), scaled.amax(1)
    else:
        empty = ~mask.any(1)
        low = scaled.masked_fill(~mask, torch.inf).amin(1).masked_fill(empty, 0.0)
        high = scaled.masked_fill(~mask, -torch.inf).amax(1).masked_fill(empty, 0.0)
    levels = 2**bits - 1
    best: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
    for share in clip:
        middle, half = (high + low) / 2, (high - low) / 2 * share
        offset = (middle - half).half()
        scale = ((middle + half - offset.float()) / levels).clamp_min(0.0).half()
        step = torch.where(scale > 0, scale.float(), torch.ones_like(low))
        codes = ((scaled - offset.float()[:, None]) / step[:, None]).round_().clamp_(0, levels)
        wrong = codes * scale.float()[:, None] + offset.float()[:, None] - scaled
        if mask is not None:
            wrong = wrong * mask
        error = wrong.square().sum(1)
        if best is None:
            best = (error, codes.to(torch.uint8), scale, offset)
        else:
            better = error < best[0]
            best = (
                torch.where(better, error, best[0]),
                torch.where(better[:, None], codes.to(torch.uint8), best[1]),
                torch.where(better, scale, best[2]),
                torch.where(better, offset, best[3]),
            )
    assert best is not None, "clip names at least one range"
    return Quantized(codes=best[1], scale=best[2], offset=best[3], unit=unit, bits=bits)


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Several codes a byte, in planes: byte j of a row holds columns j, j + width, j + 2 * width and so on.

    Args:
        codes: uint8 [..., dim], each below 2**bits; bits is 8, 4, 2 or 1.

    Returns:
        uint8 [..., width] with width = ceil(dim * bits / 8).
    """
    per_byte = 8 // bits
    width = -(-codes.shape[-1] // per_byte)
    padded = torch.nn.functional.pad(codes, (0, width * per_byte - codes.shape[-1]))
    packed = torch.zeros_like(padded[..., :width])
    for plane in range(per_byte):
        packed |= padded[..., plane * width : (plane + 1) * width] << (plane * bits)
    return packed


def unpack_codes(packed: Tensor, bits: int, dim: int) -> Tensor:
    """The inverse of `pack_codes`: uint8 [..., dim]."""
    if bits == 8:
        return packed
    planes = [(packed >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return torch.cat(planes, dim=-1)[..., :dim]


@dataclass(frozen=True, kw_only=True)
class PackedTable:
    """A table as it ships. Reads decode only what they need; the table itself is never expanded.

    Attributes:
        rows, dim: the logical shape.
        bits: 32, 8, 4, 2 or 1.
        pattern: `full`, `bitmask` or `columns`, as stored. In memory both sparse patterns are `columns`.
        tensors: what is held in memory.
    """

    rows: int
    dim: int
    bits: int
    pattern: str
    tensors: dict[str, Tensor]

    def describe(self) -> dict[str, Any]:
        """What the manifest says beside the tensors."""
        return {"rows": self.rows, "dim": self.dim, "bits": self.bits, "pattern": self.pattern}

    @staticmethod
    def restore(entry: Mapping[str, Any], stored: Mapping[str, Tensor]) -> PackedTable:
        """From a manifest entry and the tensors of a file."""
        held, dim = dict(stored), entry["dim"]
        if entry["pattern"] != "full":
            if entry["pattern"] == "bitmask":
                mask = unpack_codes(held.pop("bitmask"), 1, dim).bool()
                counts, held["columns"] = mask.sum(1), _narrow(mask.nonzero()[:, 1], dim - 1)
            else:
                counts = held.pop("counts").long()
            held["starts"] = torch.nn.functional.pad(counts.cumsum(0), (1, 0)).to(torch.int32)
        if "scale" in held:
            unit = held.pop("unit")
            held["scale"], held["offset"] = held["scale"].float() * unit, held["offset"].float() * unit
        return PackedTable(**entry, tensors=held)

    def to(self, device: torch.device | str) -> PackedTable:
        """The same table on another device."""
        moved = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return PackedTable(**self.describe(), tensors=moved)

    @property
    def memory_bytes(self) -> int:
        """Bytes that the tensors of this table hold in memory."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def decode(self, index: Tensor) -> Tensor:
        """The rows named by `index` (int64 [n]) as float32 [n, dim]."""
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
        totals = queries.sum(1, keepdim=True)
        out = torch.empty(len(queries), self.rows, device=queries.device)
        # One query reads each block once: larger blocks, fewer calls. Many queries reuse it: it should stay in cache.
        step = max(BLOCK_VALUES // self.dim, 1) if len(queries) == 1 else BLOCK_ROWS
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


@dataclass(frozen=True, kw_only=True)
class StoredTable:
    """A table as a file holds it: a manifest entry and tensors."""

    entry: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def pack(values: Tensor, *, mask: Tensor | None = None, quantized: Quantized | None = None) -> StoredTable:
    """Packs a table in the pattern that takes the fewest bytes.

    Args:
        values: float32 [rows, dim]; ignored where `quantized` is given.
        mask: bool [rows, dim]; False marks a zero. None: every value stands.
        quantized: the codes, if the table was quantised; they are stored as they are.
    """
    source = values if quantized is None else quantized.codes
    rows, dim = source.shape
    bits = 32 if quantized is None else quantized.bits
    scaling = {}
    if quantized is not None:
        scaling = {"scale": quantized.scale, "offset": quantized.offset, "unit": torch.tensor(quantized.unit)}

    def stored(pattern: str, kept: Tensor, where: Mapping[str, Tensor]) -> StoredTable:
        content = {"values": kept} if quantized is None else {"codes": pack_codes(kept, bits)}
        tensors = {name: tensor.contiguous() for name, tensor in {**content, **where, **scaling}.items()}
        return StoredTable(entry={"rows": rows, "dim": dim, "bits": bits, "pattern": pattern}, tensors=tensors)

    if mask is None or bool(mask.all()):
        return stored("full", source, {})
    kept, columns, counts = source[mask], mask.nonzero()[:, 1], mask.sum(1)
    found = [
        stored("bitmask", kept, {"bitmask": pack_codes(mask.to(torch.uint8), 1)}),
        stored("columns", kept, {"columns": _narrow(columns, dim - 1), "counts": _narrow(counts, dim)}),
    ]
    if quantized is None:  # a zero of a quantised table may not be a code: without its place it would be lost
        found.append(stored("full", source * mask, {}))
    return min(found, key=lambda table: table.size_bytes)


def _narrow(numbers: Tensor, most: int) -> Tensor:
    """The narrowest whole-number type that holds 0 … most."""
    return numbers.to(torch.uint8 if most < 2**8 else torch.int16 if most < 2**15 else torch.int32)
