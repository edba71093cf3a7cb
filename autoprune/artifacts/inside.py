"""What lies in the tables of an artifact, for whoever reads them without autoprune."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

WHOLE_BITS = (8, 4, 2, 1)
"""Codes that lie in bytes as `table_inside` says."""


FILE = (
    "`model/tensors.safetensors` (as `.zst`, in one frame of Zstandard; as `.columns.zst`, column by column, as "
    "`autoprune.packing.columns` says)"
)
"""The file of tables, and what it may be called where it is entropy-coded."""


def table_inside(name: str, entry: Mapping[str, Any], stored: Collection[str]) -> str:
    """A table of `model/tensors.safetensors`, as a line of Markdown.

    Args:
        entry: of the manifest.
        stored: the names of all arrays of the file.
    """
    shape, bits = f"- `{name}`: {entry['rows']:,} x {entry['dim']}", entry.get("bits")
    plain = entry["pattern"] == "full"
    if plain and bits == 32:
        return f"{shape}, float32: `{name}.values`"
    if not plain or bits not in WHOLE_BITS or f"{name}.offset" not in stored:
        return f"{shape}, packed (`{entry['pattern']}`): `autoprune.packing` reads it"
    width = -(-entry["dim"] * bits // 8)
    text = f"{shape}, codes of {bits} bits: `{name}.codes`; value = (code x scale + offset) x unit, by row"
    place = f"; code d of a row is (its byte d % {width} >> {bits} x (d // {width})) & {2**bits - 1}"
    return text if bits == 8 else text + place
