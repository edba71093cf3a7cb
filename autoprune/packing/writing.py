"""Packs tables for artifacts, in the layout that takes the fewest bytes."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.packing.centred import CentredCodes
from autoprune.packing.codes import RowCodes
from autoprune.packing.packed import StoredTable
from autoprune.packing.parts import PartCodes, join_parts
from autoprune.packing.product import ProductCodes
from autoprune.packing.rows import pack_rows

Codes = RowCodes | CentredCodes | ProductCodes | PartCodes


def pack(values: Tensor, *, mask: Tensor | None = None, coded: Codes | None = None) -> StoredTable:
    """Packs a table in the layout that takes the fewest bytes.

    Args:
        values: float32 [rows, dim]; ignored where `coded` is given.
        mask: bool [rows, dim]; False marks a pruned zero. None: there are none.
        coded: the codes of the values; stored unchanged.
    """
    if isinstance(coded, PartCodes):
        return join_parts([pack(values, coded=part) for part in coded.parts], coded.part_of)
    if isinstance(coded, CentredCodes | ProductCodes):
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
