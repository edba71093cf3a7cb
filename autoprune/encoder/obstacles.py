"""The format `sentence-transformers`: a folder that an unmodified `SentenceTransformer(folder)` loads.

It holds what stock configs express, and no more. Here stands what is more; `autoprune.encoder.stock` writes the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autoprune.artifacts.formats import Format, Obstacle

FLOAT = 32
"""Bits of a value that is no code."""

NO_ENCODER = Obstacle(reason="it is no sentence encoder")


def _is_onnx(manifest: Mapping[str, Any]) -> bool:
    return bool(manifest["runtime"] != "torch")


def _is_uneven(manifest: Mapping[str, Any]) -> bool:
    return len({layer["ffn"] for layer in manifest["layers"]}) > 1


def _lacks_heads(manifest: Mapping[str, Any]) -> bool:
    return any(layer["heads"] * manifest["head_dim"] != manifest["hidden"] for layer in manifest["layers"])


def _is_coded(manifest: Mapping[str, Any]) -> bool:
    bits = manifest.get("bits") or {name: entry.get("bits") for name, entry in manifest.get("tables", {}).items()}
    return any(width != FLOAT for width in bits.values())


OBSTACLES: tuple[tuple[Callable[[Mapping[str, Any]], bool], Obstacle], ...] = (
    (_is_onnx, Obstacle(reason="its runtime is onnx, a graph of its own", steps=("runtime",), setting="=torch")),
    (_is_uneven, Obstacle(reason="its layers have FFNs of several widths", steps=("ffn",), setting=".scope=layer")),
    (_lacks_heads, Obstacle(reason="attention heads are pruned", steps=("heads",), setting=".sparsity=0")),
    (_is_coded, Obstacle(reason="values are codes of few bits", steps=("quantize", "mixed", "product"))),
)
"""What stock configs can't express. Pruned zeros are values like others."""


class StockFormat(Format):
    """Folders of sentence-transformers."""

    name = "sentence-transformers"
    loading = "from sentence_transformers import SentenceTransformer; model = SentenceTransformer({folder!r})"

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        if manifest.get("kind") != "encoder":
            return [NO_ENCODER]
        return [obstacle for stands, obstacle in OBSTACLES if stands(manifest)]

    def write(self, folder: Path, to: Path) -> None:
        from autoprune.encoder.stock import write_stock  # here, because it waits for torch

        write_stock(folder, to)

    def size_bytes(self, folder: Path) -> int:
        """Of all files but the card."""
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "README.md")

    def example(self, folder: Path) -> str:
        return "model.encode('hello').shape"


STOCK = StockFormat()
