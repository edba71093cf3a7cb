"""Compact tables: how they are coded, how files store them, and how a packed table answers.

A table becomes codes (`RowCodes`, `CentredCodes`, `ProductCodes`, `PartCodes`), codes become a `StoredTable` (a
manifest entry and arrays), and loading it gives a `PackedTable`, which is never expanded. The entry's `pattern` says of
which class. `autoprune.packing.writing` writes tables and needs torch; reading does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.packing.arrays import Array
from autoprune.packing.packed import PackedTable

__all__ = ["PackedTable", "restore"]


def restore(entry: Mapping[str, Any], stored: Mapping[str, Array]) -> PackedTable:
    """The packed table from a manifest entry and the arrays of a file."""
    # Imported here, because an encoder that runs in onnxruntime needs none of these.
    if entry["pattern"] == "product":
        from autoprune.packing.product import PackedProduct

        return PackedProduct.restore(entry, stored)
    if entry["pattern"] == "parts":
        from autoprune.packing.parts import PackedParts

        return PackedParts.restore(entry, stored)
    from autoprune.packing.rows import PackedRows

    return PackedRows.restore(entry, stored)
