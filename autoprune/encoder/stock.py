"""Encoders as folders that an unmodified `SentenceTransformer(folder)` loads: safetensors and JSON, nothing else.

    config.json, model.safetensors             BertModel, whatever family the dense model was of; RobertaModel where
                                               positions are counted from the padding, ElectraModel where the tables are
                                               projected
    tokenizer.json, tokenizer_config.json, special_tokens_map.json
    modules.json, sentence_bert_config.json    what follows upon what
    config_sentence_transformers.json          prompts and similarity
    1_Pooling/config.json                      tokens to a vector
    2_Dense/config.json, model.safetensors     where vectors are projected, as by PCA
    3_Normalize/                               where vectors have length 1

The segments (token types) of the dense model are folded into its positions, so both rows of that table are zeros. There
is no pooler: sentence embeddings have no use for it, and `add_pooling_layer` keeps `transformers` from drawing one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Parts
from autoprune.encoder.functional import GONE
from autoprune.encoder.obstacles import stock_obstacles
from autoprune.encoder.prompts import DECLARED, Prompts
from autoprune.encoder.similarity import SIMILARITIES
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.encoder.weights import BERT, PROJECTION
from autoprune.errors import AutopruneError
from autoprune.packing.arrays import tensor_of

SEGMENTS = 2
"""Rows of the table of token types: what pairs of texts are marked by, and what `BertConfig` takes for granted."""

PROJECTED = {"weight": "project", "bias": "project.bias"}
"""What the projection of the tables consists of there → here."""

SPECIAL_TOKENS = {
    "unk_token": ("[UNK]", "<unk>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
    "cls_token": ("[CLS]", "<s>"),
    "mask_token": ("[MASK]", "<mask>"),
}
"""What the special tokens of the families that are read are called."""


def write_stock(folder: Path, to: Path) -> Path:
    """Writes an encoder's artifact as a sentence-transformers folder, whole or not at all; returns where.

    Args:
        folder: of the artifact.
        to: the folder to make.

    Raises:
        AutopruneError: `to` exists already, the artifact is damaged, or stock configs can't express it.
    """
    if to.exists():
        raise AutopruneError(f"--to {str(to)!r} exists already; name a new folder or remove it first.")
    parts = artifact.read(folder)
    found = stock_obstacles(parts.manifest)
    if found:
        why = ", and ".join(one.reason for one in found)
        raise AutopruneError(f"{folder}: the artifact can't be written in the format sentence-transformers: {why}.")
    to.parent.mkdir(parents=True, exist_ok=True)
    draft = to.parent / f".draft-{to.name}-{os.getpid()}"
    try:
        _write(parts, draft)
        draft.rename(to)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return to


def _write(parts: Parts, folder: Path) -> None:
    manifest = parts.manifest
    tokenizer = Tokenizer.read(parts.content("tokenizer.json").decode(), max_tokens=manifest["max_tokens"])
    weights = _weights(parts)
    special = _special_tokens(tokenizer)
    modules = ["Transformer", "Pooling"]
    modules += ["Dense"] * ("out" in weights) + ["Normalize"] * bool(manifest["normalize"])
    places = ["", *(f"{at}_{name}" for at, name in enumerate(modules[1:], start=1))]
    for place in places:
        (folder / place).mkdir(parents=True)
    weights["position"] = _positions(weights["position"], manifest.get("padding"))
    _write_json(
        folder / "config.json", _config(manifest, weights, padding=tokenizer.pieces.index(special["pad_token"]))
    )
    _write_tensors(folder / "model.safetensors", _named(weights, layers=len(manifest["layers"])))
    (folder / "tokenizer.json").write_bytes(parts.content("tokenizer.json"))
    _write_json(folder / "special_tokens_map.json", special)
    settings = {"model_max_length": manifest["max_tokens"], "model_input_names": ["input_ids", "attention_mask"]}
    settings["truncation_side"] = "left" if tokenizer.keeps_end else "right"
    # BertTokenizerFast would build a tokenizer of its own from the vocabulary; this one takes tokenizer.json as it is.
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special, **settings})
    listed = [
        {"idx": at, "name": str(at), "path": place, "type": f"sentence_transformers.models.{name}"}
        for at, (name, place) in enumerate(zip(modules, places, strict=True))
    ]
    _write_json(folder / "modules.json", listed)
    reading = {"max_seq_length": manifest["max_tokens"], "do_lower_case": False}
    unpooled = {} if "project" in weights else {"model_args": {"add_pooling_layer": False}}  # ElectraModel has none
    _write_json(folder / "sentence_bert_config.json", {**reading, **unpooled})
    declared = Prompts(**manifest.get("prompts", {})).declared()
    declared |= {"similarity_fn_name": manifest.get("similarity", SIMILARITIES[0])}
    _write_json(folder / DECLARED, declared)
    for name, place in zip(modules, places, strict=True):
        if name == "Pooling":
            _write_json(folder / place / "config.json", _pooling(manifest))
        elif name == "Dense":
            out = weights["out"]
            shape = {"in_features": out.shape[1], "out_features": out.shape[0], "bias": True}
            kind = {"activation_function": "torch.nn.modules.linear.Identity"}
            _write_json(folder / place / "config.json", {**shape, **kind})
            tensors = {"linear.weight": out, "linear.bias": weights["out.bias"]}
            _write_tensors(folder / place / "model.safetensors", tensors)


def _weights(parts: Parts) -> dict[str, Tensor]:
    """What an artifact packs, as float32 by its own names."""
    found = {name: tensor_of(one) for name, one in parts.tensors.items() if name.rpartition(".")[2] in ("bias", "norm")}
    found |= {name: tensor_of(table.values()) for name, table in parts.tables().items()}
    return found


def _named(weights: Mapping[str, Tensor], *, layers: int) -> dict[str, Tensor]:
    """The weights as `BertModel` calls them."""
    found = {
        **{f"{PROJECTION}.{part}": weights[name] for part, name in PROJECTED.items() if name in weights},
        "embeddings.word_embeddings.weight": weights["word"],
        "embeddings.position_embeddings.weight": weights["position"],
        "embeddings.token_type_embeddings.weight": torch.zeros(SEGMENTS, weights["word"].shape[1]),
        "embeddings.LayerNorm.weight": weights["embedding.norm"],
        "embeddings.LayerNorm.bias": weights["embedding.norm.bias"],
    }
    for layer in range(layers):
        prefix = BERT["layer"].format(layer)
        for name in ("query", "key", "value", "output", "up", "down"):
            found[f"{prefix}{BERT[name]}.weight"] = weights[f"{name}_{layer}"]
            found[f"{prefix}{BERT[name]}.bias"] = weights[f"{name}_{layer}.bias"]
        for name in ("attention", "ffn"):
            found[f"{prefix}{BERT[name]}.weight"] = weights[f"{name}_{layer}.norm"]
            found[f"{prefix}{BERT[name]}.bias"] = weights[f"{name}_{layer}.norm.bias"]
    return found


def _config(manifest: Mapping[str, Any], weights: Mapping[str, Tensor], *, padding: int) -> dict[str, Any]:
    hidden, layers, counted = manifest["hidden"], manifest["layers"], manifest.get("padding")
    return {
        **_family(manifest, weights),
        "pad_token_id": padding if counted is None or counted == GONE else counted,
        "vocab_size": len(weights["word"]),
        "hidden_size": hidden,
        "num_hidden_layers": len(layers),
        "num_attention_heads": hidden // manifest["head_dim"],
        "intermediate_size": layers[0]["ffn"],
        "hidden_act": manifest["activation"],
        "layer_norm_eps": manifest["epsilon"],
        "max_position_embeddings": len(weights["position"]),
        "position_embedding_type": "absolute",
        "type_vocab_size": SEGMENTS,
        "dtype": "float32",
        "torch_dtype": "float32",
    }


def _family(manifest: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """What tells `transformers` how positions are counted and whether tables are projected."""
    if "project" in weights:
        return {"architectures": ["ElectraModel"], "model_type": "electra", "embedding_size": weights["word"].shape[1]}
    kind = "Bert" if manifest.get("padding", GONE) == GONE else "Roberta"
    return {"architectures": [f"{kind}Model"], "model_type": kind.lower()}


def _positions(table: Tensor, padding: int | None) -> Tensor:
    """The position table as `transformers` has it: a padding that is not counted stands in the row of its id."""
    if padding is None:
        return table
    return table[1:] if padding == GONE else torch.cat([torch.zeros(padding, table.shape[1]), table])


def _pooling(manifest: Mapping[str, Any]) -> dict[str, Any]:
    modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "": "mean_sqrt_len_tokens"}
    chosen = {f"pooling_mode_{mode}": name == manifest["pooling"] for name, mode in modes.items()}
    return {"word_embedding_dimension": manifest["hidden"], **chosen}


def _special_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """The special tokens by their roles; padding is masked, so that any token serves where there is none for it."""
    there = set(tokenizer.pieces)
    found = {role: next((name for name in names if name in there), None) for role, names in SPECIAL_TOKENS.items()}
    known = {role: name for role, name in found.items() if name is not None}
    return {"pad_token": next(iter(known.values()), tokenizer.pieces[0]), **known}


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    kept = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    path.write_bytes(safetensors.torch.save(kept, metadata={"format": "pt"}))
