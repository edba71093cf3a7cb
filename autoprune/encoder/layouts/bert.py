"""BERT and what was made after it: positions from a table, norms behind each part."""

from __future__ import annotations

from dataclasses import replace

from autoprune.encoder.layouts.layout import PLACED, Layout

ALL = dict.fromkeys(("query", "key", "value", "output", "up", "down", "norm", "project"), True)

BERT = Layout(
    sizes={**PLACED, "segments": "type_vocab_size"},
    epsilon="layer_norm_eps",
    activation="hidden_act",
    word=("embeddings.word_embeddings",),
    position="embeddings.position_embeddings",
    segment="embeddings.token_type_embeddings",
    layer="encoder.layer.{}.",
    maps={
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "output": "attention.output.dense",
        "up": "intermediate.dense",
        "down": "output.dense",
    },
    norms={"attention": "attention.output.LayerNorm", "ffn": "output.LayerNorm"},
    outer={"embedding": "embeddings.LayerNorm"},
    inside=("embeddings", "encoder."),
    biases=ALL,
    model="BertModel",
    pooler=True,
)
ELECTRA = replace(
    BERT,
    sizes={**BERT.sizes, "embedding": "embedding_size"},
    projection="embeddings_project",
    model="ElectraModel",
    pooler=False,
)
ROBERTA = replace(BERT, padding="pad_token_id", model="RobertaModel")
DISTILBERT = replace(
    BERT,
    sizes={
        "vocabulary": "vocab_size",
        "positions": "max_position_embeddings",
        "hidden": "dim",
        "layers": "n_layers",
        "heads": "n_heads",
        "neurons": "hidden_dim",
    },
    epsilon=1e-12,
    activation="activation",
    segment="",
    layer="transformer.layer.{}.",
    maps={
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "output": "attention.out_lin",
        "up": "ffn.lin1",
        "down": "ffn.lin2",
    },
    norms={"attention": "sa_layer_norm", "ffn": "output_layer_norm"},
    inside=("embeddings", "transformer."),
    model="DistilBertModel",
    pooler=False,
)


MPNET = replace(
    BERT,
    sizes={**PLACED, "buckets": "relative_attention_num_buckets"},
    segment="",
    distances="encoder.relative_attention_bias",
    maps={
        **{name: f"attention.attn.{name[0]}" for name in ("query", "key", "value", "output")},
        "up": "intermediate.dense",
        "down": "output.dense",
    },
    norms={"attention": "attention.LayerNorm", "ffn": "output.LayerNorm"},
    traits=lambda _: {"farthest": 128},  # whatever its config.json says
    model="MPNetModel",
    padding=1,
    config="config.json of MPNet",
)
ALBERT = replace(
    BERT,
    sizes={
        **BERT.sizes,
        "embedding": "embedding_size",
        "groups": "num_hidden_groups",
    },
    projection="encoder.embedding_hidden_mapping_in",
    layer="encoder.albert_layer_groups.{}.albert_layers.0.",
    maps={
        "query": "attention.query",
        "key": "attention.key",
        "value": "attention.value",
        "output": "attention.dense",
        "up": "ffn",
        "down": "ffn_output",
    },
    norms={"attention": "attention.LayerNorm", "ffn": "full_layer_layer_norm"},
    model="AlbertModel",
)
