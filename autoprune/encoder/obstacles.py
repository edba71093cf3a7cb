"""What keeps an encoder from being a stock folder of sentence-transformers: all that its configs don't express."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autoprune.artifacts.formats import Obstacle

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


def stock_obstacles(manifest: Mapping[str, Any]) -> list[Obstacle]:
    """All that keeps an artifact from being a folder of sentence-transformers; empty if nothing does.

    Args:
        manifest: what `model/manifest.json` of the artifact says.
    """
    if manifest.get("kind") != "encoder":
        return [NO_ENCODER]
    return [obstacle for stands, obstacle in OBSTACLES if stands(manifest)]
