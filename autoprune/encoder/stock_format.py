"""The format `sentence-transformers`, for whoever picks a candidate; to ask what it can hold nobody waits for torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.artifacts.formats import Export, Obstacle, Use
from autoprune.encoder.layouts import LAYOUTS
from autoprune.encoder.obstacles import stock_obstacles
from autoprune.encoder.prompts import DECLARED
from autoprune.encoder.stored import FLOAT, LARGEST

HOW = {
    16: f"numpy.clip(vectors, -{LARGEST}, {LARGEST}).astype('float16')",
    8: "numpy.rint(vectors * (127 / abs(vectors).max(axis=1, keepdims=True))).astype('int8')",
    1: "numpy.packbits(vectors > 0, axis=1)",
}
"""Python that makes what `autoprune.encoder.stored.stored` does of vectors, by bits."""


def read_by(folder: Path) -> str:
    """Which transformers reads an exported folder, as a sentence behind others, where not every one does."""
    config = json.loads((folder / "config.json").read_bytes())
    since = LAYOUTS[config["model_type"]].since(config)
    older = "older ones read `config.json` as another model's"
    return f" The folder takes transformers {since} or newer: {older}." if since else ""


class StockFormat(Export):
    """A folder that an unmodified `SentenceTransformer(folder)` loads."""

    name = "sentence-transformers"

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        return stock_obstacles(manifest)

    def fill(self, folder: Path, draft: Path) -> None:
        from autoprune.encoder.stock import fill_stock  # here, because it waits for torch

        fill_stock(folder, draft)

    def losses(self, folder: Path) -> list[str]:
        from autoprune.artifacts.manifest import read_manifest

        return left_to_store(read_manifest(folder))

    def use(self, folder: Path, shown: str) -> Use:
        declared = json.loads((folder / DECLARED).read_bytes())
        asks = "encode_query" if any(declared["prompts"].values()) else "encode"
        length = json.loads((folder / "sentence_bert_config.json").read_bytes())["max_seq_length"]
        modules = [one["type"].rpartition(".")[2] for one in json.loads((folder / "modules.json").read_bytes())]
        code = f"from sentence_transformers import SentenceTransformer; model = SentenceTransformer({shown!r})"
        inside = (
            f"`modules.json` says what follows upon what: {', '.join(modules)}. All weights are float32. A text is "
            f"read up to {length} tokens. `{DECLARED}` says its prompts, which `encode_query` and `encode_document` "
            f"put there, and that vectors are compared by {declared['similarity_fn_name']}.{read_by(folder)}"
        )
        return Use(code=f"{code}; print(model.{asks}('hello').shape)", inside=inside)


def left_to_store(manifest: Mapping[str, Any]) -> list[str]:
    """What is lost where an export gives float32 vectors, and the artifact stores them in fewer bits."""
    bits = manifest.get("stored_bits", FLOAT)
    if bits == FLOAT:
        return []
    return [
        "It gives float32 vectors, and was measured with all but those of queries stored in "
        f"{bits} bit{'s' * (bits > 1)}: that is left to whoever stores them, by `{HOW[bits]}`."
    ]


STOCK = StockFormat()
