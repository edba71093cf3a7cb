"""The types of transformers that can be read and written, as plain data: the names of their settings and weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autoprune.errors import AutopruneError, nearest

Told = Mapping[str, Any]
"""The content of a config.json, with the defaults of its type filled in."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The names that a type of transformer gives to its settings and weights; weights without their `.weight`.

    Attributes:
        sizes: our name → its name in config.json. `positions` is the number of rows of the position table; without such
            a table, the length of the longest text.
        epsilon: the name of the setting, or the fixed value.
        activation: the name of the setting.
        word: the possible names of the word table; it is written under the first.
        position, segment, projection, distances: the names of weights that not all types have.
        layer: the prefix of the names of a layer.
        maps: our name → its name within a layer; if several maps share a matrix, with the number of the part and of all
            parts.
        norms: our name → its name within a layer.
        outer: our name → its name, for norms that belong to no layer.
        absent: norms that the first layer lacks.
        inside: the prefixes of weights on which vectors depend; other weights are heads for other tasks.
        ignored: the prefixes of weights within these on which vectors do not depend.
        biases: our name of a map, or `norm` → whether it has a bias, or the setting that says so.
        traits: the fields of `autoprune.encoder.architecture.Architecture` that follow from a config.
        written: the entries of a written config.json, in addition to the sizes.
        since: the first version of transformers that reads a written config.json correctly, since older ones read
            another model from it; empty: all do.
        model: the class in transformers that reads it.
        pooler: whether it has a pooler that must be refused.
        padding: the id from which positions are counted: a number, or the setting that says so.
        config: the list of its settings in `autoprune.encoder.settings.FILES`.
        root_words: whether word vectors are multiplied by the square root of the width.
        gains_from_one: whether the gains of norms are written minus 1.
    """

    sizes: Mapping[str, str]
    epsilon: str | float
    activation: str
    word: tuple[str, ...]
    position: str = ""
    segment: str = ""
    projection: str = ""
    distances: str = ""
    layer: str
    maps: Mapping[str, str | tuple[str, int, int]]
    norms: Mapping[str, str]
    outer: Mapping[str, str]
    absent: tuple[str, ...] = ()
    inside: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    biases: Mapping[str, bool | str] = field(default_factory=dict)
    traits: Callable[[Told], dict[str, Any]] = lambda _: {}
    written: Callable[[Told], dict[str, Any]] = lambda _: {}
    since: Callable[[Told], str] = lambda _: ""
    model: str
    pooler: bool = False
    padding: int | str | None = None
    config: str = "config.json"
    root_words: bool = False
    gains_from_one: bool = False


ALL = dict.fromkeys(("query", "key", "value", "output", "up", "down", "norm", "project"), True)
USUAL = {"vocabulary": "vocab_size", "hidden": "hidden_size", "layers": "num_hidden_layers"}
USUAL |= {"heads": "num_attention_heads", "neurons": "intermediate_size"}
PLACED = {**USUAL, "positions": "max_position_embeddings"}
ATTENTION = dict.fromkeys(("query", "key", "value", "output"), "attention_bias")

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


def _t5(told: Told) -> dict[str, Any]:
    gated, _, activation = str(told["feed_forward_proj"]).rpartition("-")
    # In transformers, gated-gelu means the gelu with tanh.
    return {
        "rms": True,
        "scale": 1.0,
        "farthest": told["relative_attention_max_distance"],
        "activation": "gelu_new" if gated and activation == "gelu" else activation,
    }


def _t5_written(said: Told) -> dict[str, Any]:
    activation = str(said["activation"])
    gated = {"feed_forward_proj": f"gated-{'gelu' if activation == 'gelu_new' else activation}"}
    return {
        **(gated if said["gated"] else {"feed_forward_proj": activation}),
        "relative_attention_max_distance": said["farthest"],
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


FULL, SLIDING = "full_attention", "sliding_attention"
"""Kinds of layers: with attention to all tokens, and with attention to near tokens only."""


def _kinds(told: Told, *, reach: int | None) -> dict[str, Any]:
    """The reach and the rotary base of each layer, by its kind.

    Raises:
        AutopruneError: a kind or a base is missing, as with transformers older than 5.
    """
    kinds, turns = told.get("layer_types") or [], told.get("rope_parameters") or {}
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


def _layer_types(said: Told) -> list[str]:
    return [FULL if layer.get("reach") is None else SLIDING for layer in said["layers"]]


def _kinds_written(said: Told, *, full: str, sliding: str) -> dict[str, Any]:
    """The settings that `_kinds` reads.

    Args:
        full, sliding: the names of the two bases in transformers before 5, which reads nothing else.
    """
    kinds = _layer_types(said)
    thetas = {kind: layer["theta"] for kind, layer in zip(kinds, said["layers"], strict=True)}
    # A kind of which no layer is left needs a base as well.
    both = {kind: thetas.get(kind, 10000.0) for kind in (FULL, SLIDING)}
    return {
        "layer_types": kinds,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in both.items()},
        full: both[FULL],
        sliding: both[SLIDING],
    }


def _reach(said: Told) -> int | None:
    """The reach of the layers that attend to near tokens only; None: there are no such layers."""
    reaches = [layer["reach"] for layer in said["layers"] if layer.get("reach") is not None]
    return reaches[0] if reaches else None


def _modernbert(told: Told) -> dict[str, Any]:
    return _kinds(told, reach=told["local_attention"] // 2)


EVERY = "global_attn_every_n_layers"
"""The setting from which transformers before 5.1 derives the kinds of a ModernBERT's layers."""


def _modernbert_written(said: Told) -> dict[str, Any]:
    unmarked = {**UNMARKED, "cls_token_id": None, "sep_token_id": None}
    kinds = _kinds_written(said, full="global_rope_theta", sliding="local_rope_theta")
    every = _every(kinds["layer_types"])
    old = {EVERY: every} if every else {}
    return {**kinds, **old, "local_attention": 2 * (_reach(said) or 64), **unmarked}


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
    since=lambda told: "" if EVERY in told else "5.1",
    model="ModernBertModel",
)


def _qwen3(told: Told) -> dict[str, Any]:
    window = told["sliding_window"] if told.get("use_sliding_window") else None
    causal = told.get("is_causal") is not False
    reach = None if window is None else window - 1 if causal else window
    return {"rms": True, "causal": causal, **_kinds(told, reach=reach)}


def _qwen3_written(said: Told) -> dict[str, Any]:
    reach, theta = _reach(said), said["layers"][0]["theta"]
    causal = bool(said.get("causal"))
    return {
        "layer_types": _layer_types(said),
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
    since=lambda told: "5.2" if told.get("is_causal") is False else "4.53" if told["use_sliding_window"] else "",
    model="Qwen3Model",
    config="config.json of decoders",
)


def _gemma3(told: Told) -> dict[str, Any]:
    causal = not told.get("use_bidirectional_attention")
    reach = told["sliding_window"] - 1 if causal else told["sliding_window"] // 2
    scale = float(told["query_pre_attn_scalar"]) ** -0.5
    return {"rms": True, "causal": causal, "scale": scale, **_kinds(told, reach=reach)}


def _gemma3_written(said: Told) -> dict[str, Any]:
    causal = bool(said.get("causal"))
    reach = _reach(said) or 511
    return {
        **_kinds_written(said, full="rope_theta", sliding="rope_local_base_freq"),
        "use_bidirectional_attention": not causal,
        "sliding_window": reach + 1 if causal else 2 * reach,
        "query_pre_attn_scalar": round(said["scale"] ** -2),
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
    since=lambda told: "4.57" if told["use_bidirectional_attention"] else "4.53",
    model="Gemma3TextModel",
    root_words=True,
    gains_from_one=True,
)

LAYOUTS: dict[str, Layout] = {
    "bert": BERT,
    "electra": ELECTRA,
    "distilbert": DISTILBERT,
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), ROBERTA),
    "mpnet": MPNET,
    "albert": ALBERT,
    "t5": T5,
    "modernbert": MODERNBERT,
    "qwen3": QWEN3,
    "gemma3_text": GEMMA3,
}
"""Layouts by `model_type`."""

AS_BERT = ("bert", "electra", "distilbert", "roberta", "xlm-roberta", "camembert")
"""The types that are written as one of three types, whichever of these they are."""


DISENTANGLED = "its scores compare contents with distances, which autoprune cannot write as a graph"
BEYOND = {
    **dict.fromkeys(("deberta", "deberta-v2"), DISENTANGLED),
    **dict.fromkeys(("gpt2", "gpt_neo", "gptj", "gpt_neox", "opt", "bloom"), "there is no layout for such decoders"),
    "xlnet": "its attention uses permutations",
    **dict.fromkeys(("longformer", "big_bird"), "its attention is sparse; texts of 512 tokens need none"),
    **dict.fromkeys(("clip", "siglip", "gemma3"), "it reads images as well; save its text model alone"),
    **dict.fromkeys(("mt5", "umt5"), "each of its layers has its own distances, or it has a decoder"),
}
"""Why the encoder of a type cannot be read, if the reason is more than a missing layout."""


def unknown_family(family: str) -> str:
    """Why a type of model cannot be read, and which type has the nearest name."""
    why = BEYOND.get(family, "there is no layout for its layers here")
    return f"it is a model of type {family!r}, not an encoder of a known family: {why}. {nearest(family, LAYOUTS)}"


def layout_of(told: Told) -> Layout:
    """The layout for a config.json of a known type."""
    layout = LAYOUTS[str(told["model_type"])]
    return T5_GATED if layout is T5 and str(told.get("feed_forward_proj")).startswith("gated-") else layout
