"""Cross-encoders as folders that an unmodified `CrossEncoder(folder)` loads: safetensors and JSON, nothing else.

config.json, model.safetensors     the type's ForSequenceClassification, and the function applied to its score
tokenizer.json, tokenizer_config.json, special_tokens_map.json
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from autoprune.artifacts.served import Parts
from autoprune.encoder.obstacles import cross_encoder_obstacles
from autoprune.encoder.reranker.heads import Head, written_head
from autoprune.encoder.stock import weights_in, write_transformer, written_parts
from autoprune.encoder.stock_files import of_score


def fill_cross_encoder(folder: Path, draft: Path) -> None:
    """Writes a cross-encoder's artifact as a sentence-transformers folder.

    Args:
        folder: of the artifact.
        draft: the empty folder to fill.

    Raises:
        AutopruneError: the artifact is damaged, or stock configs can't express it.
    """
    _write(written_parts("cross-encoder", folder, cross_encoder_obstacles), draft)


def _write(parts: Parts, folder: Path) -> None:
    head, weights = written_head(parts.manifest), weights_in(parts)
    write_transformer(
        folder,
        parts,
        weights,
        head.layout,
        prefix=head.layers,
        head=_head_weights(head, weights),
        entries=_head_entries(head, parts.manifest, weights),
    )


def _head_weights(head: Head, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = head.names() | ({"head.norm.bias": f"{head.norm}.bias"} if head.norm else {})
    return {theirs: weights[ours] for ours, theirs in names.items() if ours in weights}


def _head_entries(head: Head, manifest: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    entries: dict[str, Any] = {"architectures": [head.model], **of_score(manifest)}
    if head.pools:
        entries |= {
            "classifier_pooling": manifest["pooling"],
            "classifier_activation": manifest["dense"],
            "classifier_bias": "dense.bias" in weights,
        }
    return entries
