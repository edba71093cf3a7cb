"""The format `sentence-transformers` of picked candidates; torch is imported only when a folder is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.artifacts.formats import Export, Obstacle, Use
from autoprune.encoder.layouts.known import LAYOUTS
from autoprune.encoder.obstacles import stock_obstacles
from autoprune.encoder.prompts import DECLARED
from autoprune.encoder.stored import FLOAT, LARGEST

HOW = {
    16: f"numpy.clip(vectors, -{LARGEST}, {LARGEST}).astype('float16')",
    8: "numpy.rint(vectors * (127 / abs(vectors).max(axis=1, keepdims=True))).astype('int8')",
    1: "numpy.packbits(vectors > 0, axis=1)",
}
"""Bits → Python code that does the same to vectors as `autoprune.encoder.stored.stored`."""


def read_by(folder: Path) -> str:
    """A sentence on the versions of transformers that read an exported folder, with a space first; empty if all do."""
    config = json.loads((folder / "config.json").read_bytes())
    since = LAYOUTS[config["model_type"]].since(config)
    older = "older versions read `config.json` as another model's"
    return f" The folder needs transformers {since} or newer: {older}." if since else ""


class StockFormat(Export):
    """A folder that an unmodified `SentenceTransformer(folder)` loads."""

    name = "sentence-transformers"

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        return stock_obstacles(manifest)

    def fill(self, folder: Path, draft: Path) -> None:
        from autoprune.encoder.stock import fill_stock  # here, because it imports torch

        fill_stock(folder, draft)

    def losses(self, folder: Path) -> list[str]:
        from autoprune.artifacts.manifest import read_manifest

        return left_to_store(read_manifest(folder))

    def use(self, folder: Path, shown: str) -> Use:
        declared = json.loads((folder / DECLARED).read_bytes())
        method = "encode_query" if any(declared["prompts"].values()) else "encode"
        length = json.loads((folder / "sentence_bert_config.json").read_bytes())["max_seq_length"]
        modules = [entry["type"].rpartition(".")[2] for entry in json.loads((folder / "modules.json").read_bytes())]
        code = f"from sentence_transformers import SentenceTransformer; model = SentenceTransformer({shown!r})"
        inside = (
            f"`modules.json` lists the modules in their order: {', '.join(modules)}. All weights are float32. A text "
            f"is read up to {length} tokens. `{DECLARED}` has the prompts, which `encode_query` and `encode_document` "
            f"put before texts. Vectors are compared by {declared['similarity_fn_name']}.{read_by(folder)}"
        )
        return Use(code=f"{code}; print(model.{method}('hello').shape)", inside=inside)


def left_to_store(manifest: Mapping[str, Any]) -> list[str]:
    """What an export to float32 vectors loses if the artifact stores them in fewer bits, a sentence each."""
    bits = manifest.get("stored_bits", FLOAT)
    if bits == FLOAT:
        return []
    return [
        "The model gives float32 vectors. It was measured with all vectors except those of queries stored in "
        f"{bits} bit{'s' * (bits > 1)}; store them so by `{HOW[bits]}`."
    ]


STOCK = StockFormat()
