"""Encoders as folders that an unmodified `SentenceTransformer(folder)` loads: safetensors and JSON, nothing else.

    config.json, model.safetensors             of the dense model's type; BertModel for all of BERT's kind, but
                                               RobertaModel if positions are counted from the padding, and
                                               ElectraModel if the tables are projected
    tokenizer.json, tokenizer_config.json, special_tokens_map.json
    modules.json, sentence_bert_config.json    the modules in their order, and the longest text
    config_sentence_transformers.json          prompts and similarity
    1_Pooling/config.json                      tokens to a vector
    2_Dense/config.json, model.safetensors     if a layer with an activation follows, as in LaBSE
    3_Dense/config.json, model.safetensors     if vectors are projected, as by PCA
    4_Normalize/                               if vectors have length 1

The segments (token types) of the dense model are folded into its positions, so all rows of that table are zeros. There
is no pooler: sentence embeddings have no use for it, and `add_pooling_layer` keeps `transformers` from drawing one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from autoprune.artifacts import artifact
from autoprune.artifacts.formats import Obstacle
from autoprune.artifacts.served import Parts
from autoprune.encoder.functional import GONE
from autoprune.encoder.layouts.bert import BERT, ELECTRA, ROBERTA
from autoprune.encoder.layouts.known import LAYOUTS
from autoprune.encoder.layouts.layout import Layout
from autoprune.encoder.layouts.t5 import T5_GATED
from autoprune.encoder.modules import DENSE_ACTIVATIONS, MODES
from autoprune.encoder.obstacles import stock_obstacles
from autoprune.encoder.stock_files import special_tokens, write_declared, write_tokenizer
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.encoder.weights import Shape, their_weights
from autoprune.errors import AutopruneError
from autoprune.exports.tables import write_json
from autoprune.packing.arrays import tensor_of

SEGMENTS = 2
"""Rows of the table of token types, one for each text of a pair; the default of `BertConfig`."""


def fill_stock(folder: Path, draft: Path) -> None:
    """Writes an encoder's artifact as a sentence-transformers folder.

    Args:
        folder: of the artifact.
        draft: the empty folder to fill.

    Raises:
        AutopruneError: the artifact is damaged, or stock configs can't express it.
    """
    _write(written_parts("sentence-transformers", folder, stock_obstacles), draft)


def written_parts(form: str, folder: Path, obstacles: Callable[[Mapping[str, Any]], Sequence[Obstacle]]) -> Parts:
    """Reads an artifact that will be written in another format.

    Args:
        form: the format's name.
        folder: of the artifact.
        obstacles: manifest → the reasons why the format can't express its artifact.

    Raises:
        AutopruneError: the artifact is damaged, or there are obstacles.
    """
    parts = artifact.read(folder)
    found = obstacles(parts.manifest)
    if found:
        why = ", and ".join(obstacle.reason for obstacle in found)
        raise AutopruneError(f"{folder}: the artifact can't be written in the format {form}: {why}.")
    return parts


def _write(parts: Parts, folder: Path) -> None:
    manifest, weights, layout = parts.manifest, weights_in(parts), _layout(parts)
    modules = ["Transformer", "Pooling", *("Dense" for name in ("dense", "out") if name in weights)]
    modules += ["Normalize"] * bool(manifest["normalize"])
    paths = ["", *(f"{at}_{name}" for at, name in enumerate(modules[1:], start=1))]
    for path in paths:
        (folder / path).mkdir(parents=True, exist_ok=True)
    write_transformer(folder, parts, weights, layout)
    entries = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{name}"}
        for at, (name, path) in enumerate(zip(modules, paths, strict=True))
    ]
    write_json(folder / "modules.json", entries)
    settings = {"max_seq_length": manifest["max_tokens"], "do_lower_case": False}
    no_pooler = {"model_args": {"add_pooling_layer": False}} if layout.pooler else {}
    write_json(folder / "sentence_bert_config.json", {**settings, **no_pooler})
    write_declared(manifest, folder)
    write_json(folder / paths[1] / "config.json", _pooling(manifest))
    layers = [(name, activation) for name, activation in _dense_layers(manifest) if name in weights]
    dense_paths = [path for name, path in zip(modules, paths, strict=True) if name == "Dense"]
    for (name, activation), path in zip(layers, dense_paths, strict=True):
        _write_dense(folder / path, weights[name], weights.get(f"{name}.bias"), activation)


def write_transformer(
    folder: Path,
    parts: Parts,
    weights: Mapping[str, Tensor],
    layout: Layout,
    *,
    prefix: str = "",
    head: Mapping[str, Tensor] | None = None,
    entries: Mapping[str, Any] | None = None,
) -> None:
    """Writes config, weights and tokenizer as `transformers` reads them.

    Args:
        folder: to write into.
        parts: of the artifact.
        weights: of the artifact, by our names.
        layout: of the type that the model is written as.
        prefix: of the names of the layers' weights.
        head: the weights of the head on top of the layers, by their names in `transformers`.
        entries: the head's entries in config.json.
    """
    manifest, weights = parts.manifest, dict(weights)
    tokenizer = Tokenizer.read(parts.content("tokenizer.json").decode(), max_tokens=manifest["max_tokens"])
    special, has_segments = special_tokens(tokenizer), "segment" in weights
    if "position" in weights:
        weights["position"] = _positions(weights["position"], manifest.get("padding"))
    shape = _shape(manifest, weights, layout)
    config = _config(manifest, shape, padding=tokenizer.pieces.index(special["pad_token"]))
    write_json(folder / "config.json", {**config, **(entries or {})})
    if shape.segments and not has_segments:
        weights["segment"] = torch.zeros(shape.segments, shape.embedding)
    layers = {prefix + name: weight for name, weight in their_weights(weights, shape).items()}
    _write_tensors(folder / "model.safetensors", {**layers, **(head or {})})
    write_tokenizer(parts, tokenizer, folder, has_segments=has_segments)


def _dense_layers(manifest: Mapping[str, Any]) -> tuple[tuple[str, str | None], ...]:
    """The names of the layers that can follow the pooling, in their order, each with its activation."""
    return ("dense", manifest.get("dense")), ("out", None)


def _write_dense(folder: Path, weight: Tensor, bias: Tensor | None, activation: str | None) -> None:
    shape = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": bias is not None}
    kind = next(theirs for theirs, ours in DENSE_ACTIVATIONS.items() if ours == activation)
    write_json(folder / "config.json", {**shape, "activation_function": kind})
    tensors = {"linear.weight": weight} | ({"linear.bias": bias} if bias is not None else {})
    _write_tensors(folder / "model.safetensors", tensors)


def weights_in(parts: Parts) -> dict[str, Tensor]:
    """The weights of an artifact, float32, by our names."""
    found = {name: tensor_of(one) for name, one in parts.tensors.items() if name.rpartition(".")[2] in ("bias", "norm")}
    found |= {name: tensor_of(table.values()) for name, table in parts.tables().items()}
    if "distances_0.bias" in found:  # the same in every layer: no head is cut
        found["distances"] = found["distances_0.bias"]
    return found


def _layout(parts: Parts) -> Layout:
    """The layout of the type that the model is written as."""
    manifest = parts.manifest
    if "family" in manifest:
        layout = LAYOUTS[manifest["family"]]
        return T5_GATED if layout is LAYOUTS["t5"] and "gate_0" in manifest["tables"] else layout
    if "project" in manifest["tables"]:
        return ELECTRA
    return BERT if manifest.get("padding", GONE) == GONE else ROBERTA


def _shape(manifest: Mapping[str, Any], weights: Mapping[str, Tensor], layout: Layout) -> Shape:
    layers = manifest["layers"]
    biased = [name for name in layout.maps if f"{name}_0.bias" in weights]
    biased += ["norm"] * any(name.endswith(".norm.bias") for name in weights)
    return Shape(
        family=manifest.get("family", ""),
        layout=layout,
        vocabulary=len(weights["word"]),
        positions=len(weights.get("position", ())),
        segments=len(weights.get("segment", range(SEGMENTS))) if layout.segment else 0,
        embedding=weights["word"].shape[1],
        hidden=manifest["hidden"],
        layers=len(layers),
        blocks=1 + max(layer.get("block", at) for at, layer in enumerate(layers)),
        heads=layers[0]["heads"] * manifest.get("shared", 1),
        keys=layers[0]["heads"],
        head_dim=manifest["head_dim"],
        neurons=layers[0]["ffn"],
        buckets=weights["distances"].shape[1] if "distances" in weights else 0,
        biased=tuple(biased),
    )


def _config(manifest: Mapping[str, Any], shape: Shape, *, padding: int) -> dict[str, Any]:
    layout, counted_from = shape.layout, manifest.get("padding")
    sizes = {
        **{name: getattr(shape, name) for name in ("vocabulary", "embedding", "hidden", "layers", "heads", "neurons")},
        **{name: getattr(shape, name) for name in ("head_dim", "keys", "buckets", "segments")},
        "positions": shape.positions or manifest["max_tokens"],
        "groups": shape.blocks,
    }
    settings = {theirs: sizes[ours] for ours, theirs in layout.sizes.items()}
    settings |= {theirs: ours in shape.biased for ours, theirs in layout.biases.items() if isinstance(theirs, str)}
    if isinstance(layout.epsilon, str):
        settings[layout.epsilon] = manifest["epsilon"]
    return {
        "architectures": [layout.model],
        "model_type": next(name for name, other in LAYOUTS.items() if other.model == layout.model),
        "pad_token_id": padding if counted_from is None or counted_from == GONE else counted_from,
        layout.activation: manifest["activation"],
        **settings,
        **layout.written({**manifest, "gated": "gate" in layout.maps}),
        **({"position_embedding_type": "absolute"} if layout.position else {}),
        "dtype": "float32",
        "torch_dtype": "float32",
    }


def _positions(table: Tensor, padding: int | None) -> Tensor:
    """The position table of `transformers`: if positions are counted from the padding, row `padding` is its own."""
    if padding is None:
        return table
    return table[1:] if padding == GONE else torch.cat([torch.zeros(padding, table.shape[1]), table])


def _pooling(manifest: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {setting: name == manifest["pooling"] for setting, name in MODES.items()}
    return {"word_embedding_dimension": manifest["hidden"], **chosen}


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    floats = {name: tensor.float().contiguous() for name, tensor in tensors.items()}
    path.write_bytes(safetensors.torch.save(floats, metadata={"format": "pt"}))
