"""Tables in few bytes: how they are coded, how they lie in a file, and how a packed table answers.

A table becomes codes (`RowCodes`, `CentredCodes`, `ProductCodes`, `PartCodes`), the codes a `StoredTable` (a manifest
entry and arrays), and that, once loaded, a `PackedTable`, which is never expanded. The entry's `pattern` says which.
Writing is `autoprune.packing.writing`, which needs torch; what is here answers without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.packing.arrays import Array
from autoprune.packing.packed import PackedTable

__all__ = ["PackedTable", "restore"]


def restore(entry: Mapping[str, Any], stored: Mapping[str, Array]) -> PackedTable:
    """The packed table of a manifest entry and the arrays of a file."""
    # Patterns are imported here, because an encoder that answers by onnxruntime has none.
    if entry["pattern"] == "product":
        from autoprune.packing.product import PackedProduct

        return PackedProduct.restore(entry, stored)
    if entry["pattern"] == "parts":
        from autoprune.packing.parts import PackedParts

        return PackedParts.restore(entry, stored)
    from autoprune.packing.rows import PackedRows

    return PackedRows.restore(entry, stored)
