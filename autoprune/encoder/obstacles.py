"""What keeps an encoder from being a stock folder of sentence-transformers: all that its configs don't express."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from autoprune.artifacts.formats import Obstacle

FLOAT = 32
"""Bits of a value that is no code."""

ANY_HEADS = ("qwen3",)
"""Types that can have fewer heads than what flows between layers is wide."""

MPNET_PADDING = 1
"""The id that an MPNet counts no place for, whatever its config.json says."""

NO_ENCODER = Obstacle(reason="it is no sentence encoder")
NO_CROSS_ENCODER = Obstacle(reason="it is no cross-encoder")


def _is_onnx(manifest: Mapping[str, Any]) -> bool:
    return bool(manifest["runtime"] != "torch")


def _is_uneven(manifest: Mapping[str, Any]) -> bool:
    return len({layer["ffn"] for layer in manifest["layers"]}) > 1


def _lacks_heads(manifest: Mapping[str, Any]) -> bool:
    heads, shared = [layer["heads"] for layer in manifest["layers"]], manifest.get("shared", 1)
    if manifest.get("family") in ANY_HEADS:
        return len(set(heads)) > 1
    dense = manifest.get("heads", manifest["hidden"] // manifest["head_dim"])
    return any(count * shared != dense for count in heads)


def _lacks_first_layer(manifest: Mapping[str, Any]) -> bool:
    return bool(manifest.get("family") == "modernbert" and not manifest["layers"][0].get("bare"))


def _is_grouped_unevenly(manifest: Mapping[str, Any]) -> bool:
    blocks = [layer.get("block", at) for at, layer in enumerate(manifest["layers"])]
    together, left = divmod(len(blocks), blocks[-1] + 1)
    return bool(left) or blocks != [at // together for at in range(len(blocks))]


def _pads_elsewhere(manifest: Mapping[str, Any]) -> bool:
    return bool(manifest.get("family") == "mpnet" and manifest.get("padding") != MPNET_PADDING)


def _is_coded(manifest: Mapping[str, Any]) -> bool:
    bits = manifest.get("bits") or {name: entry.get("bits") for name, entry in manifest.get("tables", {}).items()}
    return any(width != FLOAT for width in bits.values())


OBSTACLES: tuple[tuple[Callable[[Mapping[str, Any]], bool], Obstacle], ...] = (
    (_is_onnx, Obstacle(reason="its runtime is onnx, a graph of its own", steps=("runtime",), setting="=torch")),
    (_is_uneven, Obstacle(reason="its layers have FFNs of several widths", steps=("ffn",), setting=".scope=layer")),
    (_lacks_heads, Obstacle(reason="attention heads are pruned", steps=("heads",), setting=".sparsity=0")),
    (
        _lacks_first_layer,
        Obstacle(
            reason="its first layer is gone, the only one that has no norm", steps=("layers",), setting=".sparsity=0"
        ),
    ),
    (
        _is_grouped_unevenly,
        Obstacle(
            reason="its layers share weights in groups of several sizes", steps=("layers",), setting=".sparsity=0"
        ),
    ),
    (
        _pads_elsewhere,
        Obstacle(reason="its padding has another id than an MPNet's", steps=("rows",), setting=".sparsity=0"),
    ),
    (_is_coded, Obstacle(reason="values are codes of few bits", steps=("quantize", "mixed", "product"))),
)
"""What stock configs can't express. Pruned zeros are values like others."""


def stock_obstacles(manifest: Mapping[str, Any]) -> list[Obstacle]:
    """All that keeps an artifact from being a folder of sentence-transformers; empty if nothing does.

    Args:
        manifest: what `model/manifest.json` of the artifact says.
    """
    if manifest.get("kind") != "encoder" or "score" in manifest:
        return [NO_ENCODER]
    return [obstacle for stands, obstacle in OBSTACLES if stands(manifest)]


def cross_encoder_obstacles(manifest: Mapping[str, Any]) -> list[Obstacle]:
    """All that keeps an artifact from being a folder of a `CrossEncoder`; empty if nothing does.

    Args:
        manifest: what `model/manifest.json` of the artifact says.
    """
    if manifest.get("kind") != "encoder" or "score" not in manifest:
        return [NO_CROSS_ENCODER]
    return [obstacle for stands, obstacle in OBSTACLES if stands(manifest)]
