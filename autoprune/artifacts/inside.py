"""Describes the tables of an artifact, so that they can be read without autoprune."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

WHOLE_BITS = (8, 4, 2, 1)
"""Bits of codes that `table_inside` can describe: a whole number of them fits into a byte."""

FILE = (
    "`model/tensors.safetensors` (as `.zst`, in one frame of Zstandard; as `.columns.zst`, column by column, as "
    "`autoprune.packing.columns` says)"
)
"""The file of the tables, with its names if it is entropy-coded."""


def table_inside(name: str, entry: Mapping[str, Any], stored: Collection[str]) -> str:
    """Describes a table of `model/tensors.safetensors` in a line of Markdown.

    Args:
        entry: the table's entry in the manifest.
        stored: the names of all arrays in the file.
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
