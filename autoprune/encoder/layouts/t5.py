"""T5: distances instead of positions, norms before each part, without biases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autoprune.encoder.layouts.layout import Entries, Layout


def _t5(config: Entries) -> dict[str, Any]:
    gated, _, activation = str(config["feed_forward_proj"]).rpartition("-")
    # In transformers, gated-gelu means the gelu with tanh.
    return {
        "rms": True,
        "scale": 1.0,
        "farthest": config["relative_attention_max_distance"],
        "activation": "gelu_new" if gated and activation == "gelu" else activation,
    }


def _t5_written(manifest: Entries) -> dict[str, Any]:
    activation = str(manifest["activation"])
    gated = {"feed_forward_proj": f"gated-{'gelu' if activation == 'gelu_new' else activation}"}
    return {
        **(gated if manifest["gated"] else {"feed_forward_proj": activation}),
        "relative_attention_max_distance": manifest["farthest"],
        "is_encoder_decoder": False,
        "use_cache": False,
        "num_decoder_layers": 0,
    }


T5 = Layout(
    sizes={
        "vocabulary": "vocab_size",
        "hidden": "d_model",
        "layers": "num_layers",
        "heads": "num_heads",
        "neurons": "d_ff",
        "head_dim": "d_kv",
        "buckets": "relative_attention_num_buckets",
    },
    epsilon="layer_norm_epsilon",
    activation="feed_forward_proj",
    word=("shared", "encoder.embed_tokens"),
    distances="encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    layer="encoder.block.{}.layer.",
    maps={
        **{name: f"0.SelfAttention.{name[0]}" for name in ("query", "key", "value", "output")},
        "up": "1.DenseReluDense.wi",
        "down": "1.DenseReluDense.wo",
    },
    norms={"preattention": "0.layer_norm", "preffn": "1.layer_norm"},
    outer={"final": "encoder.final_layer_norm"},
    inside=("shared", "encoder."),
    traits=_t5,
    written=_t5_written,
    model="T5EncoderModel",
    config="config.json of T5",
)
T5_GATED = replace(
    T5,
    maps={
        **{name: theirs for name, theirs in T5.maps.items() if name != "up"},
        "gate": "1.DenseReluDense.wi_0",
        "up": "1.DenseReluDense.wi_1",
    },
)
