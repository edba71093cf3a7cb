"""What sentence-transformers says of a model beside its transformer: pooling, a projection, how a text is read."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import AutopruneError

MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
"""Of sentence-transformers, in the order in which they can follow one another."""

SETTINGS = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Files in which sentence-transformers says how it reads a text; the first that is there counts."""


def find_modules(folder: Path, where: str) -> dict[str, Path]:
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


def read_settings(folder: Path) -> dict[str, Any]:
    """What sentence-transformers sets of the transformer, by whichever name its version gave the file."""
    there = [path for name in SETTINGS if (path := folder / name).is_file()]
    return read_object(there[0]) if there else {}


def prepared_tokenizer(backend: str, told: Mapping[str, Any], *, lower: bool, where: str) -> str:
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


def truncated(dense: dict[str, Tensor], told: Mapping[str, Any], hidden: int, where: str) -> dict[str, Tensor]:
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


def read_pooling(folder: Path | None, where: str) -> str:
    """How tokens become a vector; without a folder of it by the mean, as sentence-transformers would.

    Raises:
        AutopruneError: it is not known here.
    """
    if folder is None:
        return "mean"
    config = read_object(folder / "config.json")
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


def read_dense(folder: Path, where: str) -> dict[str, Tensor]:
    """The projection of vectors: `out` and perhaps `out.bias`, float32.

    Raises:
        AutopruneError: it is no linear map, or its weights cannot be read.
    """
    import safetensors.torch

    config = read_object(folder / "config.json")
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


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is no file.

    Raises:
        AutopruneError: something else stands there.
    """
    content = _read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise AutopruneError(f"{path}: a JSON object must stand there, but it holds a {type(content).__name__}.")
    return content


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise AutopruneError(f"{path}: it is no JSON ({error}).") from error
