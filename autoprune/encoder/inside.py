"""What an encoder's files take and give, for whoever runs them without autoprune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoprune.artifacts.inside import FILE
from autoprune.encoder.prompts import Prompts
from autoprune.encoder.similarity import SIMILARITIES


def has_segments(manifest: Mapping[str, Any]) -> bool:
    """Whether a graph takes token types, which mark the second text of a pair."""
    return "segment" in (manifest.get("rows") or {})


def graph_inside(manifest: Mapping[str, Any], *, model: str, tokenizer: str, keeps_end: bool) -> str:
    """A graph and its tokenizer, as Markdown.

    Args:
        model, tokenizer: where they lie.
        keeps_end: whether a text that is too long loses its beginning.
    """
    kinds = ", `token_type_ids` (0 for tokens of the query, 1 for those of the document)" * has_segments(manifest)
    if "score" in manifest:
        gives = "`logits`, float32 [batch, 1]"
    else:
        gives = f"`sentence_embedding`, float32 [batch, {manifest['out']}]: {_pooled(manifest)} inside"
    return (
        f"- `{model}`: an ONNX graph with operators of com.microsoft, for onnxruntime 1.14 or later. It takes "
        f"`input_ids`{kinds} and `attention_mask` (1 where a token is, 0 for padding), int64 [batch, tokens], and "
        f"gives {gives}.\n"
        f"- `{tokenizer}`: for tokenizers 0.20 or later. {_cut(manifest, keeps_end=keeps_end)}\n\n{_asked(manifest)}"
    )


def tables_inside(manifest: Mapping[str, Any]) -> str:
    """Tables that torch computes with, as Markdown."""
    scores = "score" in manifest
    gives = "A pair has one number" if scores else f"A vector has {manifest['out']} numbers"
    return (
        f"- {FILE}: packed tables, which autoprune runs in torch. `autoprune pick … --format "
        f"{'cross-encoder' if scores else 'sentence-transformers'}` writes a folder that runs without, where its "
        "configs can express the model.\n"
        f"- `model/tokenizer.json`: for tokenizers 0.20 or later. {_cut(manifest)}\n\n"
        f"{gives}: {_pooled(manifest)}. {_asked(manifest)}"
    )


def _cut(manifest: Mapping[str, Any], *, keeps_end: bool = False) -> str:
    where = f"at {manifest['max_tokens']} tokens, special ones included"
    if "score" in manifest:
        return f"A pair, the query first, is cut {where}, of the longer text first."
    return f"A text is cut {where}, at its {'beginning' if keeps_end else 'end'}."


def _pooled(manifest: Mapping[str, Any]) -> str:
    length = ", then brought to length 1," if manifest["normalize"] else ""
    return f"tokens are pooled by `{manifest['pooling']}`{length}"


def _asked(manifest: Mapping[str, Any]) -> str:
    if "score" in manifest:
        became = {"sigmoid": "its sigmoid, 1 / (1 + exp(-number))", "identity": "the number itself"}
        return f"The score of a pair is {became[manifest['score']]}; the best document has the highest."
    prompts = Prompts(**manifest.get("prompts") or {}).describe()
    prefixes = f"Put prompts before texts: {prompts}. " if prompts else ""
    return f"{prefixes}Vectors are compared by {manifest.get('similarity', SIMILARITIES[0])}."
