"""Tables in few bytes: how they are coded, how they lie in a file, and how a packed table answers.

A table becomes codes (`RowCodes`, `ProductCodes`, `PartCodes`), the codes a `StoredTable` (a manifest entry and
tensors), and that, once loaded, a `PackedTable`, which is never expanded. The entry's `pattern` says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from autoprune.packing.codes import RowCodes
from autoprune.packing.packed import PackedTable, StoredTable
from autoprune.packing.parts import PackedParts, PartCodes, join_parts
from autoprune.packing.product import PackedProduct, ProductCodes
from autoprune.packing.rows import PackedRows, pack_rows

__all__ = ["Codes", "PackedTable", "StoredTable", "pack", "restore"]

Codes = RowCodes | ProductCodes | PartCodes


def pack(values: Tensor, *, mask: Tensor | None = None, coded: Codes | None = None) -> StoredTable:
    """A table as it ships, in the layout that takes the fewest bytes.

    Args:
        values: float32 [rows, dim]; ignored where `coded` is given.
        mask: bool [rows, dim]; False marks a pruned zero. None: every value stands.
        coded: what the values were coded to; stored as it is.
    """
    if isinstance(coded, ProductCodes | PartCodes):
        return coded.pack()
    widths = torch.empty(0) if coded is None else torch.unique(coded.bits)
    if coded is None or len(widths) <= 1:
        return pack_rows(values, mask=mask, coded=coded)
    part_of = torch.searchsorted(widths, coded.bits).to(torch.uint8)
    parts = []
    for bits in widths:
        rows = coded.bits == bits
        part = RowCodes(
            codes=coded.codes[rows],
            scale=coded.scale[rows],
            offset=coded.offset[rows],
            unit=coded.unit,
            bits=coded.bits[rows],
        )
        parts.append(pack_rows(values[rows], mask=None if mask is None else mask[rows], coded=part))
    return join_parts(parts, part_of)


def restore(entry: Mapping[str, Any], stored: Mapping[str, Tensor]) -> PackedTable:
    """The packed table of a manifest entry and the tensors of a file."""
    if entry["pattern"] == "product":
        return PackedProduct.restore(entry, stored)
    if entry["pattern"] == "parts":
        return PackedParts.restore(entry, stored)
    return PackedRows.restore(entry, stored)
