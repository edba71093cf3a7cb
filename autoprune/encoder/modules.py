"""Reads the modules of sentence-transformers around a transformer: pooling, dense layers, how a text is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoprune.encoder.checkpoint import read_checkpoint
from autoprune.encoder.functional import POOLINGS
from autoprune.encoder.prompts import DECLARED, ROLES, Prompts, read_prompts
from autoprune.encoder.similarity import SIMILARITIES
from autoprune.encoder.source import Source, read_json
from autoprune.errors import nearest

MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
"""The known modules of sentence-transformers, in the order in which they can follow one another."""

PACKAGE = "sentence_transformers"
"""The package whose modules are known."""

READING = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Files with the settings by which sentence-transformers reads a text; the first that exists counts."""

MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The settings by which older versions choose a pooling."""

TANH = "torch.nn.modules.activation.Tanh"
"""The activation of a Dense module that names none, as in sentence-transformers."""

DENSE_ACTIVATIONS = {
    **dict.fromkeys(("torch.nn.modules.linear.Identity", "torch.nn.Identity"), None),
    **dict.fromkeys((TANH, "torch.nn.Tanh"), "tanh"),
    **dict.fromkeys(("torch.nn.modules.activation.GELU", "torch.nn.GELU"), "gelu"),
    **dict.fromkeys(("torch.nn.modules.activation.ReLU", "torch.nn.ReLU"), "relu"),
    **dict.fromkeys(("torch.nn.modules.activation.SiLU", "torch.nn.SiLU"), "silu"),
}
"""The activations of a Dense module: a class of torch → one of `autoprune.encoder.functional.ACTIVATIONS`."""


@dataclass(frozen=True, kw_only=True)
class Behind:
    """The layers after the pooling: at most one with an activation, and after it at most one without.

    Attributes:
        weights: `dense`, `out` and their biases, float32.
        activation: activation of the layer; None: there is none.
        width: dimensions of the output.
    """

    weights: Mapping[str, Tensor] = field(default_factory=dict)
    activation: str | None = None
    width: int

    def cut_to(self, dims: int | None) -> dict[str, Tensor]:
        """The weights for vectors of which only the first `dims` dimensions are kept; None: all are."""
        if dims is None:
            return dict(self.weights)
        identity = {"out": torch.eye(self.width)} if "out" not in self.weights else {}
        weights = {**self.weights, **identity}
        return {name: weight[:dims] if name.startswith("out") else weight for name, weight in weights.items()}


def find_modules(source: Source) -> dict[str, list[Path]]:
    """The folders of the modules that modules.json lists, by kind; empty if there is no such file.

    Raises:
        AutopruneError: it lists other modules, or in another order.
    """
    listing = source.folder / "modules.json"
    if not listing.is_file():
        return {}
    modules = read_json(listing)
    if not isinstance(modules, list) or not all(
        isinstance(module, dict) and all(isinstance(module.get(key), str) for key in ("type", "path"))
        for module in modules
    ):
        raise source.refusal("modules.json must be a list of modules, each with a type and a path.")
    for module in modules:
        source.check(module, listing, "modules.json")
        package, _, place = module["type"].partition(".")
        if package != PACKAGE or not place:
            raise source.refusal(
                f"modules.json names {module['type']}, which is code that comes with the model and is never run; only "
                f"modules of sentence_transformers are known: {', '.join(MODULES)}."
            )
        if Path(module["path"]).is_absolute() or ".." in Path(module["path"]).parts:
            raise source.refusal(f"modules.json: the path {module['path']!r} leads out of the model's folder.")
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    if [kind for at, kind in enumerate(kinds) if kind != "Dense" or kind not in kinds[at - 1 : at]] != [
        kind for kind in MODULES if kind in kinds
    ]:
        raise source.refusal(
            f"modules.json names {', '.join(kinds)}; each of {', '.join(MODULES[:-1])} and {MODULES[-1]}, once (Dense "
            "several times) and in this order, is known."
        )
    found: dict[str, list[Path]] = {}
    for kind, module in zip(kinds, modules, strict=True):
        found.setdefault(kind, []).append(source.folder / module["path"])
    return found


def read_reading(source: Source, folder: Path, kind: str = "sentence_bert_config.json") -> dict[str, Any]:
    """The settings of sentence-transformers for the transformer, under whichever name its version gave the file.

    Args:
        source, folder: the model's folder, and that of its transformer.
        kind: of the file, one of `autoprune.encoder.settings.FILES`.
    """
    files = [path for name in READING if (path := folder / name).is_file()]
    return source.read(files[0], kind) if files else {}


def lower_cased(backend: str) -> str:
    """A `tokenizer.json` that lower-cases before all else, as `do_lower_case` of sentence-transformers does."""
    content = json.loads(backend)
    lower = [{"type": "Lowercase"}]
    content["normalizer"] = {
        "type": "Sequence",
        "normalizers": [*lower, content["normalizer"]] if content.get("normalizer") else lower,
    }
    return json.dumps(content)


def read_declared(source: Source, prompts: Mapping[str, str] | None = None) -> tuple[Prompts, str, int | None]:
    """The prompts and the similarity of a model, and the dimensions to which its vectors are cut (None: not cut).

    Args:
        source: the model's folder.
        prompts: prompts by name that replace the declared ones; None: the declared ones.

    Raises:
        AutopruneError: a declared setting is invalid or not known.
    """
    declared = source.read(source.folder / DECLARED, DECLARED)
    if prompts is not None:
        declared |= {"prompts": prompts, "default_prompt_name": None}
    similarity = declared.get("similarity_fn_name") or SIMILARITIES[0]
    if similarity not in SIMILARITIES:
        raise source.refusal(
            f"{DECLARED}: the similarity_fn_name {similarity!r} is unknown. {nearest(similarity, SIMILARITIES)}"
        )
    dims = declared.get("truncate_dim")
    if dims is not None and (not isinstance(dims, int) or isinstance(dims, bool) or dims < 1):
        raise source.refusal(f"truncate_dim in {DECLARED} must be a whole number above 0, but is {dims!r}.")
    found = read_prompts(declared, source.where)
    name = next((name for name in ROLES["document"] if name in found.texts), "document")
    if name != "document" and found.texts[name]:
        source.notes.append(
            f"documents get its prompt {name!r}; sentence-transformers 6 gives them none, because no prompt is called "
            "document"
        )
    return found, str(similarity), dims


def check_cut(source: Source, dims: int | None, width: int, similarity: str) -> None:
    """Checks that vectors can be cut before they are normalised; sentence-transformers cuts them afterwards.

    If vectors are compared by cosine, both give the same, and only a note is added.

    Args:
        source: the model's folder.
        dims: dimensions that are kept; None: all.
        width: dimensions before the cut.
        similarity: how vectors are compared.

    Raises:
        AutopruneError: the similarity depends on the lengths of vectors.
    """
    if dims is None or dims >= width:
        return
    if similarity != "cosine":
        raise source.refusal(
            f"{DECLARED} cuts vectors to {dims} of {width} dimensions (truncate_dim) after a Normalize module, and "
            f"compares them by {similarity}: their lengths would differ here. Set similarity_fn_name to cosine, or "
            "take Normalize out of modules.json."
        )
    source.notes.append(
        f"vectors have length 1 after they are cut to {dims} dimensions; in sentence-transformers they are shorter, "
        "which makes no difference to their cosines"
    )


def read_pooling(source: Source, folder: Path | None, prompts: Prompts) -> str:
    """The pooling that a module's folder declares; without a folder the mean, as in sentence-transformers.

    Raises:
        AutopruneError: the pooling is not known.
    """
    if folder is None:
        return "mean"
    path = folder / "config.json"
    if not path.is_file():
        raise source.refusal(f"{path.relative_to(source.folder)} is missing; it says how tokens are pooled.")
    config = source.read(path, "Pooling")
    named = config.get("pooling_mode") or [mode for key, mode in MODES.items() if config.get(key)] or "mean"
    modes = named if isinstance(named, list) else [named]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise source.refusal(
            f"the pooling {' and '.join(map(str, modes))} is unknown; give exactly one of {', '.join(POOLINGS)}."
        )
    if not config.get("include_prompt", True) and prompts.describe():
        raise source.refusal(
            "its pooling leaves prompts out (include_prompt is false), which is not known here; set it to true, or "
            f"take the prompts out of {DECLARED}."
        )
    return str(modes[0])


def read_behind(source: Source, folders: Sequence[Path], hidden: int) -> Behind:
    """The Dense modules of a model; consecutive linear layers are merged into one.

    Raises:
        AutopruneError: more than one has an activation, or weights cannot be read or do not fit.
    """
    width, maps = hidden, list[tuple[str | None, Tensor, Tensor | None]]()
    for folder in folders:
        maps.append(_read_dense(source, folder, width))
        width = len(maps[-1][1])
    while any(activation is None for activation, _, _ in maps[:-1]):
        at = next(at for at, (first, _) in enumerate(pairwise(maps)) if first[0] is None)
        maps[at : at + 2] = [_merged(maps[at], maps[at + 1])]
    if sum(activation is not None for activation, _, _ in maps) > 1:
        raise source.refusal(
            f"{len(folders)} Dense modules, of which more than one has an activation, are not known here; only one "
            "may have an activation, and linear ones may come before and after it."
        )
    found: dict[str, Tensor] = {}
    for activation, weight, bias in maps:
        name = "out" if activation is None else "dense"
        found |= {name: weight, **({f"{name}.bias": bias} if bias is not None else {})}
    activations = (activation for activation, _, _ in maps if activation)
    return Behind(weights=found, activation=next(activations, None), width=width)


def _merged(
    first: tuple[str | None, Tensor, Tensor | None], second: tuple[str | None, Tensor, Tensor | None]
) -> tuple[str | None, Tensor, Tensor | None]:
    """A linear layer merged with the layer after it."""
    _, inner, inner_bias = first
    activation, outer, outer_bias = second
    mapped_bias = None if inner_bias is None else (outer.double() @ inner_bias.double()).float()
    biases = [bias for bias in (mapped_bias, outer_bias) if bias is not None]
    return activation, (outer.double() @ inner.double()).float(), sum(biases[1:], biases[0]) if biases else None


def _read_dense(source: Source, folder: Path, width: int) -> tuple[str | None, Tensor, Tensor | None]:
    """The activation, the weight and, if it has one, the bias of a Dense module for inputs of a width."""
    config = source.read(folder / "config.json", "Dense")
    activation = config.get("activation_function", TANH)
    if activation not in DENSE_ACTIVATIONS:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in DENSE_ACTIVATIONS}))
        raise source.refusal(f"a Dense module with the activation {activation} is unknown; {known} are known.")
    weights = read_checkpoint(folder, ("model.safetensors", "pytorch_model.bin"))
    out = config.get("out_features", len(weights.get("linear.weight", ())))
    wanted = {"linear.weight": (out, width), **({"linear.bias": (out,)} if config.get("bias", True) else {})}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    if found != wanted:
        raise source.refusal(
            f"{folder.name}: its config.json and inputs of {width} dimensions need {_shapes(wanted)}, but its weights "
            f"are {_shapes(found)}."
        )
    return DENSE_ACTIVATIONS[activation], weights["linear.weight"], weights.get("linear.bias")


def check_normalize(source: Source, folder: Path) -> None:
    """Checks that a Normalize module normalises the vectors of texts, and nothing else.

    Raises:
        AutopruneError: it normalises something else.
    """
    source.read(folder / "config.json", "Normalize")


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "none"
