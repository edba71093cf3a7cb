"""The format `cross-encoder` of picked candidates; torch is imported only when a folder is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.artifacts.formats import Export, Obstacle, Use
from autoprune.encoder.obstacles import cross_encoder_obstacles
from autoprune.encoder.stock_format import read_by


class CrossEncoderFormat(Export):
    """A folder that an unmodified `CrossEncoder(folder)` loads."""

    name = "cross-encoder"

    def obstacles(self, manifest: Mapping[str, Any]) -> list[Obstacle]:
        return cross_encoder_obstacles(manifest)

    def fill(self, folder: Path, draft: Path) -> None:
        from autoprune.encoder.reranker.stock import fill_cross_encoder  # here, because it imports torch

        fill_cross_encoder(folder, draft)

    def use(self, folder: Path, shown: str) -> Use:
        length = json.loads((folder / "tokenizer_config.json").read_bytes())["model_max_length"]
        code = f"from sentence_transformers import CrossEncoder; model = CrossEncoder({shown!r})"
        inside = (
            f"All weights are float32. A pair is read up to {length} tokens; `config.json` names the function "
            f"that is applied to its score.{read_by(folder)}"
        )
        return Use(code=f"{code}; print(model.rank('a question', ['an answer', 'something else']))", inside=inside)


CROSS_ENCODER = CrossEncoderFormat()
