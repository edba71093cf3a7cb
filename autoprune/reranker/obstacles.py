"""What keeps a cross-encoder from being a stock folder: what keeps its layers from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.artifacts.formats import Obstacle
from autoprune.encoder.obstacles import layer_obstacles

NO_CROSS_ENCODER = Obstacle(reason="it is no cross-encoder")


def cross_encoder_obstacles(manifest: Mapping[str, Any]) -> list[Obstacle]:
    """All that keeps an artifact from being a folder of a `CrossEncoder`; empty if nothing does.

    Args:
        manifest: what `model/manifest.json` of the artifact says.
    """
    return layer_obstacles(manifest) if manifest.get("kind") == "reranker" else [NO_CROSS_ENCODER]
