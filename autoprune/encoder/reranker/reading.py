"""Reads cross-encoders of `transformers` and `sentence-transformers`, from a hub name or a folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from autoprune.encoder.architecture import Architecture
from autoprune.encoder.bert import assembled, places_of, read_config, read_shape, read_tokenizer, traits_of
from autoprune.encoder.checkpoint import read_checkpoint
from autoprune.encoder.functional import ACTIVATIONS
from autoprune.encoder.hub import find
from autoprune.encoder.model import Encoder
from autoprune.encoder.modules import Behind, find_modules, read_reading
from autoprune.encoder.pretrained import read_pretrained
from autoprune.encoder.prompts import DECLARED
from autoprune.encoder.reranker.heads import Head, head_of
from autoprune.encoder.source import Source
from autoprune.encoder.stock_files import ACTIVATION, SCORES
from autoprune.encoder.weights import Shape, checked_weights, named_weights, rests_on
from autoprune.errors import AutopruneError, nearest

OLD_ACTIVATION = "sbert_ce_default_activation_function"
"""The setting of the score's activation in sentence-transformers before version 4."""


def read_cross_encoder(name: str | None) -> Encoder:
    """A cross-encoder that gives one number, with its tokenizer and the activation of that number.

    No code that comes with a model is run, and no pickle is opened that holds more than tensors.

    Args:
        name: a folder, or a name on the Hugging Face hub.

    Raises:
        AutopruneError: it does not exist, cannot be fetched, is not a cross-encoder of a known type, gives several
            numbers, or has a setting that would be lost (`autoprune.encoder.settings`).
    """
    if name is None:
        raise AutopruneError(
            "task.model: a cross-encoder must be named, as none comes in a package: task.model=FOLDER, or a hub name "
            "such as task.model=cross-encoder/ms-marco-MiniLM-L6-v2."
        )
    return _read(Source(find(name), name))


def _read(source: Source) -> Encoder:
    modules = find_modules(source)
    others = [kind for kind in modules if kind != "Transformer"]
    if others:
        raise source.refusal(
            f"modules.json names {', '.join(others)}: it is no cross-encoder, which is a Transformer alone. A sentence "
            "encoder is searched with task=encoder."
        )
    folder = modules["Transformer"][0] if modules else source.folder
    config = read_config(source, folder)
    try:
        head = head_of(str(config["model_type"]))
    except AutopruneError as error:
        raise source.refusal(str(error)) from error
    shape = read_shape(source, config)
    held = read_checkpoint(folder, needed=lambda name: rests_on(name, shape.layout) or name in head.names().values())
    behind = _behind(source, head, held, config, shape)
    read = read_pretrained(source, folder)
    own = named_weights(checked_weights(held, shape, source.where), shape, pairs=read.segments)
    pooling = str(config["classifier_pooling"]) if head.pools else "cls"
    reading = read_reading(source, folder, "sentence_bert_config.json of cross-encoders")
    places = places_of(own, shape, config)
    tokenizer = read_tokenizer(source, read, reading, places=places, shape=shape, pooling=pooling)
    architecture = Architecture(
        max_tokens=tokenizer.max_tokens,
        pooling=pooling,
        normalize=False,
        similarity="dot",
        name=source.where,
        dense=behind.activation,
        score=_score(source, config),
        **traits_of(source, config, shape),
    )
    model = assembled(architecture, tokenizer, {**own, **behind.weights}, shape, behind)
    model.notes = tuple(source.notes)
    return model


def _behind(source: Source, head: Head, held: Mapping[str, Tensor], config: Mapping[str, Any], shape: Shape) -> Behind:
    """The weights of a head.

    Raises:
        AutopruneError: they are missing, of another shape, or give several numbers.
    """
    biased = bool(config["classifier_bias"]) if head.pools else True
    names = head.names(biased=biased)
    if head.norm and "norm" in shape.biased:
        names["head.norm.bias"] = f"{head.norm}.bias"
    missing = sorted(theirs for theirs in names.values() if theirs not in held)
    if missing:
        raise source.refusal(
            f"{missing[0]} is missing from its files, so that it gives no score: a {config['model_type']} that is a "
            f"cross-encoder is a {head.model}. A sentence encoder is searched with task=encoder."
        )
    found = {ours: held[theirs] for ours, theirs in names.items()}
    labels = len(found["out"])
    if labels != 1:
        raise source.refusal(
            f"it gives {labels} numbers for a pair ({names['out']} has {labels} rows): it tells classes apart, which "
            "says no order. A reranker gives one (num_labels=1)."
        )
    hidden = shape.hidden
    wanted = {"dense": (hidden, hidden), "out": (1, hidden), "out.bias": (1,)}
    for ours, weight in found.items():
        sizes = wanted.get(ours, (hidden,))
        if tuple(weight.shape) != sizes:
            raise source.refusal(f"{names[ours]} is {list(weight.shape)} in the files, but {list(sizes)} is expected.")
    activation = str(config["classifier_activation"]) if head.pools else head.activation
    if activation not in ACTIVATIONS:
        raise source.refusal(f"the classifier_activation {activation!r} is unknown. {nearest(activation, ACTIVATIONS)}")
    return Behind(weights=found, activation=activation, width=1)


def _score(source: Source, config: Mapping[str, Any]) -> str:
    """The activation of the number, as in sentence-transformers: sigmoid if none is given.

    Raises:
        AutopruneError: the activation is not known.
    """
    declared = source.read(source.folder / DECLARED, f"{DECLARED} of cross-encoders")
    inside = config.get("sentence_transformers")
    named = (
        declared.get(ACTIVATION)
        or (inside.get(ACTIVATION) if isinstance(inside, Mapping) else None)
        or config.get(OLD_ACTIVATION)
    )
    if named is None:
        return "sigmoid"
    if named not in SCORES:
        known = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in SCORES))
        raise source.refusal(f"the {ACTIVATION} {named!r} is unknown; {known} are known.")
    return SCORES[named]
