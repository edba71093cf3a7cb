"""What the families of encoders call their weights, and what these are called here."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

BERT = {
    "layer": "encoder.layer.{}.",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "attention": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "ffn": "output.LayerNorm",
}
DISTILBERT = {
    "layer": "transformer.layer.{}.",
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "output": "attention.out_lin",
    "attention": "sa_layer_norm",
    "up": "ffn.lin1",
    "down": "ffn.lin2",
    "ffn": "output_layer_norm",
}
COUNTED_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")
"""Families of which the first token has the position behind the padding's."""

NAMES = {"bert": BERT, "electra": BERT, "distilbert": DISTILBERT, **dict.fromkeys(COUNTED_FROM_PADDING, BERT)}
"""What a family calls the weights of a layer."""


def position_table(weights: Mapping[str, Tensor], family: str) -> Tensor:
    """The position table, with what every token of the first (and only) segment adds to it: float32 [n, hidden]."""
    table = weights["embeddings.position_embeddings.weight"]
    if family in COUNTED_FROM_PADDING:
        table = table[2:]
    segments = weights.get("embeddings.token_type_embeddings.weight")
    return table.clone() if segments is None else table + segments[0]


def named_weights(weights: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The transformer's weights by our names.

    Args:
        weights: by those of `transformers`.
        names: one of `NAMES`.
    """
    found = {"word": weights["embeddings.word_embeddings.weight"]}
    norms = {"embedding": "embeddings.LayerNorm"}
    layer = 0
    while f"{names['layer'].format(layer)}{names['up']}.weight" in weights:
        prefix = names["layer"].format(layer)
        for name in ("query", "key", "value", "output", "up", "down"):
            found[f"{name}_{layer}"] = weights[f"{prefix}{names[name]}.weight"]
            found[f"{name}_{layer}.bias"] = weights[f"{prefix}{names[name]}.bias"]
        norms |= {f"{name}_{layer}": f"{prefix}{names[name]}" for name in ("attention", "ffn")}
        layer += 1
    for name, theirs in norms.items():
        found[f"{name}.norm"], found[f"{name}.norm.bias"] = weights[f"{theirs}.weight"], weights[f"{theirs}.bias"]
    return found
