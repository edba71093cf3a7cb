"""The format `cross-encoder`, for whoever picks a candidate; to ask what it can hold nobody waits for torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.artifacts.formats import Format, Obstacle
from autoprune.encoder.obstacles import cross_encoder_obstacles


class CrossEncoderFormat(Format):
    """A folder that an unmodified `CrossEncoder(folder)` loads."""

    name = "cross-encoder"
    loading = "from sentence_transformers import CrossEncoder; model = CrossEncoder({folder!r})"

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        return cross_encoder_obstacles(manifest)

    def write(self, folder: Path, to: Path) -> None:
        from autoprune.encoder.reranker.stock import write_cross_encoder  # here, because it waits for torch

        write_cross_encoder(folder, to)

    def size_bytes(self, folder: Path) -> int:
        """Of all files but the card."""
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "README.md")

    def example(self, folder: Path) -> str:
        return "model.rank('a question', ['an answer', 'something else'])"


CROSS_ENCODER = CrossEncoderFormat()
