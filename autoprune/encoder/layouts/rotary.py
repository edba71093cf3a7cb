"""ModernBERT, Qwen3 and Gemma 3: rotary positions, whose base and reach depend on the kind of a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autoprune.encoder.layouts.layout import PLACED, Entries, Layout
from autoprune.errors import AutopruneError

ATTENTION = dict.fromkeys(("query", "key", "value", "output"), "attention_bias")

FULL, SLIDING = "full_attention", "sliding_attention"
"""Kinds of layers: with attention to all tokens, and with attention to near tokens only."""


def _kinds(config: Entries, *, reach: int | None) -> dict[str, Any]:
    """The reach and the rotary base of each layer, by its kind.

    Raises:
        AutopruneError: a kind or a base is missing, as with transformers older than 5.
    """
    kinds, turns = config.get("layer_types") or [], config.get("rope_parameters") or {}
    thetas = [_theta(turns if "rope_theta" in turns else turns.get(kind)) for kind in kinds]
    if not kinds or None in thetas:
        raise AutopruneError(
            "task.model: config.json: layer_types must name the kind of each layer, and rope_parameters must have a "
            f"rope_theta > 0 for each kind, but the kinds are {sorted(set(kinds))} and rope_parameters {turns}; "
            "transformers fills in both from version 5 on: pip install 'transformers>=5', or save the model with it."
        )
    reaches = [reach if kind == SLIDING else None for kind in kinds]
    return {
        "theta": tuple(thetas),
        "reach": tuple(reaches) if any(distance is not None for distance in reaches) else (),
    }


def _theta(turns: Any) -> float | None:
    """The rotary base that the parameters give; None: they give none."""
    theta = turns.get("rope_theta") if isinstance(turns, Mapping) else None
    if isinstance(theta, bool) or not isinstance(theta, int | float) or not 0 < theta < math.inf:
        return None
    return float(theta)


UNMARKED: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "use_cache": False}
"""Settings of a model that generates nothing; pieces of the default ids of its type may not exist."""


def _layer_types(manifest: Entries) -> list[str]:
    return [FULL if layer.get("reach") is None else SLIDING for layer in manifest["layers"]]


def _kinds_written(manifest: Entries, *, full: str, sliding: str) -> dict[str, Any]:
    """The settings that `_kinds` reads.

    Args:
        full, sliding: the names of the two bases in transformers before 5, which reads nothing else.
    """
    kinds = _layer_types(manifest)
    thetas = {kind: layer["theta"] for kind, layer in zip(kinds, manifest["layers"], strict=True)}
    # A kind of which no layer is left needs a base as well.
    both = {kind: thetas.get(kind, 10000.0) for kind in (FULL, SLIDING)}
    return {
        "layer_types": kinds,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in both.items()},
        full: both[FULL],
        sliding: both[SLIDING],
    }


def _reach(manifest: Entries) -> int | None:
    """The reach of the layers that attend to near tokens only; None: there are no such layers."""
    reaches = [layer["reach"] for layer in manifest["layers"] if layer.get("reach") is not None]
    return reaches[0] if reaches else None


def _modernbert(config: Entries) -> dict[str, Any]:
    return _kinds(config, reach=config["local_attention"] // 2)


EVERY = "global_attn_every_n_layers"
"""The setting from which transformers before 5.1 derives the kinds of a ModernBERT's layers."""


def _modernbert_written(manifest: Entries) -> dict[str, Any]:
    unmarked = {**UNMARKED, "cls_token_id": None, "sep_token_id": None}
    kinds = _kinds_written(manifest, full="global_rope_theta", sliding="local_rope_theta")
    every = _every(kinds["layer_types"])
    old = {EVERY: every} if every else {}
    return {**kinds, **old, "local_attention": 2 * (_reach(manifest) or 64), **unmarked}


def _every(kinds: Sequence[str]) -> int | None:
    """The n for which every n-th layer, from the first on, attends to all tokens; None: kinds do not alternate so."""
    places = range(len(kinds))
    return next((n for n in range(1, len(kinds) + 1) if kinds == [SLIDING if at % n else FULL for at in places]), None)


MODERNBERT = Layout(
    sizes=PLACED,
    epsilon="norm_eps",
    activation="hidden_activation",
    word=("embeddings.tok_embeddings",),
    layer="layers.{}.",
    maps={
        **{name: ("attn.Wqkv", part, 3) for part, name in enumerate(("query", "key", "value"))},
        "output": "attn.Wo",
        "gate": ("mlp.Wi", 0, 2),
        "up": ("mlp.Wi", 1, 2),
        "down": "mlp.Wo",
    },
    norms={"preattention": "attn_norm", "preffn": "mlp_norm"},
    outer={"embedding": "embeddings.norm", "final": "final_norm"},
    absent=("preattention",),
    inside=("embeddings", "layers.", "final_norm"),
    biases={**ATTENTION, **dict.fromkeys(("gate", "up", "down"), "mlp_bias"), "norm": "norm_bias"},
    traits=_modernbert,
    written=_modernbert_written,
    since=lambda config: "" if EVERY in config else "5.1",
    model="ModernBertModel",
)


def _qwen3(config: Entries) -> dict[str, Any]:
    window = config["sliding_window"] if config.get("use_sliding_window") else None
    causal = config.get("is_causal") is not False
    reach = None if window is None else window - 1 if causal else window
    return {"rms": True, "causal": causal, **_kinds(config, reach=reach)}


def _qwen3_written(manifest: Entries) -> dict[str, Any]:
    reach, theta = _reach(manifest), manifest["layers"][0]["theta"]
    causal = bool(manifest.get("causal"))
    return {
        "layer_types": _layer_types(manifest),
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "rope_theta": theta,  # transformers before 5 reads only this
        "use_sliding_window": reach is not None,
        "sliding_window": None if reach is None else reach + causal,
        **UNMARKED,
        **({} if causal else {"is_causal": False}),
    }


QWEN3 = Layout(
    sizes={**PLACED, "head_dim": "head_dim", "keys": "num_key_value_heads"},
    epsilon="rms_norm_eps",
    activation="hidden_act",
    word=("embed_tokens",),
    layer="layers.{}.",
    maps={
        "query": "self_attn.q_proj",
        "key": "self_attn.k_proj",
        "value": "self_attn.v_proj",
        "output": "self_attn.o_proj",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    },
    norms={
        "queries": "self_attn.q_norm",
        "keys": "self_attn.k_norm",
        "preattention": "input_layernorm",
        "preffn": "post_attention_layernorm",
    },
    outer={"final": "norm"},
    inside=("embed_tokens", "layers.", "norm."),
    ignored=("rotary_emb.",),
    biases=ATTENTION,
    traits=_qwen3,
    written=_qwen3_written,
    since=lambda config: "5.2" if config.get("is_causal") is False else "4.53" if config["use_sliding_window"] else "",
    model="Qwen3Model",
    config="config.json of decoders",
)


def _gemma3(config: Entries) -> dict[str, Any]:
    causal = not config.get("use_bidirectional_attention")
    reach = config["sliding_window"] - 1 if causal else config["sliding_window"] // 2
    scale = float(config["query_pre_attn_scalar"]) ** -0.5
    return {"rms": True, "causal": causal, "scale": scale, **_kinds(config, reach=reach)}


def _gemma3_written(manifest: Entries) -> dict[str, Any]:
    causal = bool(manifest.get("causal"))
    reach = _reach(manifest) or 511
    return {
        **_kinds_written(manifest, full="rope_theta", sliding="rope_local_base_freq"),
        "use_bidirectional_attention": not causal,
        "sliding_window": reach + 1 if causal else 2 * reach,
        "query_pre_attn_scalar": round(manifest["scale"] ** -2),
        **UNMARKED,
    }


GEMMA3 = replace(
    QWEN3,
    activation="hidden_activation",
    norms={
        "queries": "self_attn.q_norm",
        "keys": "self_attn.k_norm",
        "preattention": "input_layernorm",
        "postattention": "post_attention_layernorm",
        "preffn": "pre_feedforward_layernorm",
        "postffn": "post_feedforward_layernorm",
    },
    traits=_gemma3,
    written=_gemma3_written,
    since=lambda config: "4.57" if config["use_bidirectional_attention"] else "4.53",
    model="Gemma3TextModel",
    root_words=True,
    gains_from_one=True,
)
