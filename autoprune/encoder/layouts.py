"""The types of transformers that are read and written, each as plain data: what it calls its settings and weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autoprune.errors import AutopruneError, nearest

Told = Mapping[str, Any]
"""A config.json, with the defaults of its type."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a type of transformer calls what it has. Names of weights are those of modules, without `.weight`.

    Attributes:
        sizes: ours → what config.json calls it. `positions` are rows of a table; where there is no table, the longest
            text.
        epsilon: what it is called, or what it always is.
        activation: what it is called.
        word: the names that the word table can have; the first is the one it is written under.
        position, segment, projection, distances: of weights that there may be.
        layer: what the names of a layer begin with.
        maps: ours → within a layer; of several that are one matrix, with which part of how many.
        norms: ours → within a layer.
        outer: ours → norms that belong to no layer.
        absent: norms that there are none of, in the first layer.
        inside: what the names of weights begin with that vectors rest on; others are heads for other tasks.
        ignored: of these, what they do not rest on.
        biases: ours, of maps and `norm` → whether they have one, or the setting that says so.
        traits: what follows for `autoprune.encoder.architecture.Architecture` from a config.
        written: what config.json says beside the sizes.
        since: of a config.json that was written, the version of transformers before which it is read as one of another
            model; empty: there is none.
        model: the class that reads it.
        pooler: whether it has one that must be refused.
        padding: the id from which positions are counted: a number, or the setting that says so.
        config: which list of settings is for it, in `autoprune.encoder.settings.FILES`.
        root_words: whether words are multiplied by the root of the width when they are looked up.
        gains_from_one: whether gains are written without the 1.
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
    # As transformers has it, gated-gelu means the one with tanh.
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
"""Kinds of layers: those that see everything, and those that see what is near."""


def _kinds(told: Told, *, reach: int | None) -> dict[str, Any]:
    """The reach and the rotary base of each layer, by its kind.

    Raises:
        AutopruneError: a kind or a base is not told, as where transformers is older than 5.
    """
    kinds, turns = told.get("layer_types") or [], told.get("rope_parameters") or {}
    thetas = [_theta(turns if "rope_theta" in turns else turns.get(kind)) for kind in kinds]
    if not kinds or None in thetas:
        raise AutopruneError(
            "task.model: config.json: layer_types must name the kind of each layer, and rope_parameters hold a "
            f"rope_theta > 0 for each kind, but the kinds are {sorted(set(kinds))} and rope_parameters {turns}; "
            "transformers fills in both from version 5 on: pip install 'transformers>=5', or save the model with it."
        )
    reaches = [reach if kind == SLIDING else None for kind in kinds]
    return {"theta": tuple(thetas), "reach": tuple(reaches) if any(one is not None for one in reaches) else ()}


def _theta(turns: Any) -> float | None:
    """The rotary base that parameters tell; None: they tell none."""
    theta = turns.get("rope_theta") if isinstance(turns, Mapping) else None
    if isinstance(theta, bool) or not isinstance(theta, int | float) or not 0 < theta < math.inf:
        return None
    return float(theta)


UNMARKED: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "use_cache": False}
"""Of a model that generates nothing; the ids that its type takes for granted may be of no piece."""


def _layer_types(said: Told) -> list[str]:
    return [FULL if layer.get("reach") is None else SLIDING for layer in said["layers"]]


def _kinds_written(said: Told, *, full: str, sliding: str) -> dict[str, Any]:
    """What `_kinds` reads.

    Args:
        full, sliding: what transformers before 5 calls the bases, and reads alone.
    """
    kinds = _layer_types(said)
    thetas = {kind: layer["theta"] for kind, layer in zip(kinds, said["layers"], strict=True)}
    # A kind that no layer is of any more needs a base as well.
    both = {kind: thetas.get(kind, 10000.0) for kind in (FULL, SLIDING)}
    return {
        "layer_types": kinds,
        "rope_parameters": {kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in both.items()},
        full: both[FULL],
        sliding: both[SLIDING],
    }


def _reach(said: Told) -> int | None:
    """The reach of the layers that do not see everything."""
    found = [layer["reach"] for layer in said["layers"] if layer.get("reach") is not None]
    return found[0] if found else None


def _modernbert(told: Told) -> dict[str, Any]:
    return _kinds(told, reach=told["local_attention"] // 2)


EVERY = "global_attn_every_n_layers"
"""By what transformers before 5.1 tells the kinds of a ModernBERT's layers."""


def _modernbert_written(said: Told) -> dict[str, Any]:
    unmarked = {**UNMARKED, "cls_token_id": None, "sep_token_id": None}
    kinds = _kinds_written(said, full="global_rope_theta", sliding="local_rope_theta")
    every = _every(kinds["layer_types"])
    told = {EVERY: every} if every else {}
    return {**kinds, **told, "local_attention": 2 * (_reach(said) or 64), **unmarked}


def _every(kinds: Sequence[str]) -> int | None:
    """Of how many layers each first one sees everything, and the others do not; None: kinds do not alternate so."""
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
    wide = told["sliding_window"] if told.get("use_sliding_window") else None
    causal = told.get("is_causal") is not False
    reach = None if wide is None else wide - 1 if causal else wide
    return {"rms": True, "causal": causal, **_kinds(told, reach=reach)}


def _qwen3_written(said: Told) -> dict[str, Any]:
    reach, theta = _reach(said), said["layers"][0]["theta"]
    causal = bool(said.get("causal"))
    return {
        "layer_types": _layer_types(said),
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "rope_theta": theta,  # what transformers before 5 reads alone
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
"""By `model_type`."""

AS_BERT = ("bert", "electra", "distilbert", "roberta", "xlm-roberta", "camembert")
"""Those that are written as one of three types, whichever they were."""


DISENTANGLED = "its scores compare contents with distances, for which there is no graph here"
BEYOND = {
    **dict.fromkeys(("deberta", "deberta-v2"), DISENTANGLED),
    **dict.fromkeys(("gpt2", "gpt_neo", "gptj", "gpt_neox", "opt", "bloom"), "decoders of its kind are not described"),
    "xlnet": "its attention goes by permutations",
    **dict.fromkeys(("longformer", "big_bird"), "its attention is sparse; texts of 512 tokens need none"),
    **dict.fromkeys(("clip", "siglip", "gemma3"), "it reads images as well; save its text model by itself"),
    **dict.fromkeys(("mt5", "umt5"), "each of its layers has distances of its own or a decoder goes with it"),
}
"""Why the encoder of a type cannot be read, where there is more to say than that it is not described here."""


def unknown_family(family: str) -> str:
    """Why a type of model cannot be read, and what would work in its place."""
    why = BEYOND.get(family, "how its layers are made is not described here")
    return f"it is a model of type {family!r}, no encoder of a family that is known: {why}. {nearest(family, LAYOUTS)}"


def layout_of(told: Told) -> Layout:
    """The layout of a config of a known type."""
    layout = LAYOUTS[str(told["model_type"])]
    return T5_GATED if layout is T5 and str(told.get("feed_forward_proj")).startswith("gated-") else layout
