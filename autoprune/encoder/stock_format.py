"""The format `sentence-transformers`, for whoever picks a candidate; to ask what it can hold nobody waits for torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.artifacts.formats import Format, Obstacle
from autoprune.encoder.obstacles import stock_obstacles
from autoprune.encoder.prompts import DECLARED
from autoprune.encoder.stored import FLOAT

HOW = {
    16: "vectors.astype('float16')",
    8: "numpy.rint(vectors * (127 / abs(vectors).max(axis=1, keepdims=True))).astype('int8')",
    1: "numpy.packbits(vectors > 0, axis=1)",
}
"""Python that makes what `autoprune.encoder.stored.stored` does of vectors, by bits."""


class StockFormat(Format):
    """A folder that an unmodified `SentenceTransformer(folder)` loads."""

    name = "sentence-transformers"
    loading = "from sentence_transformers import SentenceTransformer; model = SentenceTransformer({folder!r})"

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        return stock_obstacles(manifest)

    def write(self, folder: Path, to: Path) -> None:
        from autoprune.encoder.stock import write_stock  # here, because it waits for torch

        write_stock(folder, to)

    def left_out(self, manifest: Mapping[str, Any]) -> str:
        bits = manifest.get("stored_bits", FLOAT)
        if bits == FLOAT:
            return ""
        return (
            "It gives float32 vectors, and was measured with all but those of queries stored in "
            f"{bits} bit{'s' * (bits > 1)}: that is left to whoever stores them, by `{HOW[bits]}`"
        )

    def size_bytes(self, folder: Path) -> int:
        """Of all files but the card."""
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "README.md")

    def example(self, folder: Path) -> str:
        declared = json.loads((folder / DECLARED).read_text()) if (folder / DECLARED).is_file() else {}
        asks = any(declared.get("prompts", {}).values())
        return f"model.{'encode_query' if asks else 'encode'}('hello').shape"


STOCK = StockFormat()
