"""What lies in the tables of an artifact, for whoever reads them without autoprune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table_inside(name: str, entry: Mapping[str, Any]) -> str:
    """A table of `model/tensors.safetensors`, as a line of Markdown.

    Args:
        entry: of the manifest.
    """
    shape = f"- `{name}`: {entry['rows']:,} x {entry['dim']}"
    bits, width = entry.get("bits"), -(-entry["dim"] * (entry.get("bits") or 0) // 8)
    if entry["pattern"] != "full":
        return f"{shape}, packed (`{entry['pattern']}`): `autoprune.packing` reads it"
    if bits == 32:
        return f"{shape}, float32: `{name}.values`"
    text = f"{shape}, codes of {bits} bits: `{name}.codes`; value = (code x scale + offset) x unit, by row"
    place = f"; code d of a row is (its byte d % {width} >> {bits} x (d // {width})) & {2**bits - 1}"
    return text if bits == 8 else text + place
