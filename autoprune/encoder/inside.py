"""What an encoder's files take and give, for whoever runs them without autoprune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.encoder.prompts import Prompts
from autoprune.encoder.similarity import SIMILARITIES


def graph_inside(manifest: Mapping[str, Any], *, model: str, tokenizer: str, keeps_end: bool) -> str:
    """A graph and its tokenizer, as Markdown.

    Args:
        model, tokenizer: where they lie.
        keeps_end: whether a text that is too long loses its beginning.
    """
    return (
        f"- `{model}`: an ONNX graph with operators of com.microsoft, for onnxruntime 1.14 or later. It takes "
        "`input_ids` and `attention_mask`, int64 [batch, tokens] (1 where a token is, 0 for padding), and gives "
        f"`sentence_embedding`, float32 [batch, {manifest['out']}]: {_pooled(manifest)} inside.\n"
        f"- `{tokenizer}`: for tokenizers 0.20 or later. A text is cut at {manifest['max_tokens']} tokens, special "
        f"ones included, at its {'beginning' if keeps_end else 'end'}.\n\n{_asked(manifest)}"
    )


def tables_inside(manifest: Mapping[str, Any]) -> str:
    """Tables that torch computes with, as Markdown."""
    return (
        "- `model/tensors.safetensors`: packed tables, which autoprune runs in torch. `autoprune pick … --format "
        "sentence-transformers` writes a folder that runs without, where its configs can express the model.\n"
        f"- `model/tokenizer.json`: for tokenizers 0.20 or later. A text is cut at {manifest['max_tokens']} tokens.\n\n"
        f"A vector has {manifest['out']} numbers: {_pooled(manifest)}. {_asked(manifest)}"
    )


def _pooled(manifest: Mapping[str, Any]) -> str:
    length = ", then brought to length 1," if manifest["normalize"] else ""
    return f"tokens are pooled by `{manifest['pooling']}`{length}"


def _asked(manifest: Mapping[str, Any]) -> str:
    prompts = Prompts(**manifest.get("prompts") or {}).describe()
    said = f"Put prompts before texts: {prompts}. " if prompts else ""
    return f"{said}Vectors are compared by {manifest.get('similarity', SIMILARITIES[0])}."
