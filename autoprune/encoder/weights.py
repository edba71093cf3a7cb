"""What the families of encoders call their weights, which shapes these have, and what they are called here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass

from torch import Tensor

from autoprune.errors import AutopruneError

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

WORD, POSITION, SEGMENT = (f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type"))
NORM, PROJECTION = "embeddings.LayerNorm", "embeddings_project"

INSIDE = ("embeddings", "encoder.", "transformer.")
"""What the names of weights begin with that vectors rest on; all others are heads for other tasks, and the pooler."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a transformer as its config.json gives them.

    Attributes:
        family: one of `NAMES`.
        vocabulary, positions, segments: rows of the tables that are summed; no segments: there is no such table.
        embedding: columns of these tables.
        hidden: width of the layers.
        layers, heads, neurons: of these, and of each of them.
        padding: the id whose place the positions are counted from, in families of `COUNTED_FROM_PADDING`; else None.
    """

    family: str
    vocabulary: int
    positions: int
    segments: int
    embedding: int
    hidden: int
    layers: int
    heads: int
    neurons: int
    padding: int | None


def expected(shape: Shape) -> dict[str, tuple[int, ...]]:
    """The weights that a transformer must have, by their names there, and their shapes."""
    embedding, hidden, neurons, names = shape.embedding, shape.hidden, shape.neurons, NAMES[shape.family]
    found: dict[str, tuple[int, ...]] = {WORD: (shape.vocabulary, embedding), POSITION: (shape.positions, embedding)}
    if shape.segments:
        found[SEGMENT] = (shape.segments, embedding)
    found |= {f"{NORM}.weight": (embedding,), f"{NORM}.bias": (embedding,)}
    if embedding != hidden:
        found |= {f"{PROJECTION}.weight": (hidden, embedding), f"{PROJECTION}.bias": (hidden,)}
    for layer in range(shape.layers):
        prefix = names["layer"].format(layer)
        for name in ("query", "key", "value", "output", "up", "down"):
            out, fed = {"up": (neurons, hidden), "down": (hidden, neurons)}.get(name, (hidden, hidden))
            found |= {f"{prefix}{names[name]}.weight": (out, fed), f"{prefix}{names[name]}.bias": (out,)}
        for name in ("attention", "ffn"):
            found |= {f"{prefix}{names[name]}.{part}": (hidden,) for part in ("weight", "bias")}
    return found


def rests_on(name: str) -> bool:
    """Whether vectors can rest on a weight, by its name in a file, perhaps with a prefix: of no head and no pooler."""
    return any(name.startswith(part) or f".{part}" in name for part in INSIDE)


def checked_weights(held: Mapping[str, Tensor], shape: Shape, where: str) -> dict[str, Tensor]:
    """The weights that vectors rest on, whatever model they were saved as part of.

    Args:
        held: of the files; perhaps with a prefix such as `bert.`, and with heads for other tasks.
        shape: as config.json says.
        where: the model.

    Raises:
        AutopruneError: some are missing, of another shape, or more than config.json has a place for.
    """
    own = _own(held, where)
    wanted = expected(shape)
    missing = [name for name in wanted if name not in own]
    if missing:
        raise AutopruneError(
            f"task.model: {where}: {_weights(missing)} missing from its files, such as {missing[0]}; a model with "
            "random weights in it is nothing to compress."
        )
    for name, sizes in wanted.items():
        if tuple(own[name].shape) != sizes:
            raise AutopruneError(
                f"task.model: {where}: {name} is {list(own[name].shape)} in the files, but {list(sizes)} by "
                "config.json; one of them belongs to another model."
            )
    more = sorted(name for name in own if name not in wanted and name.startswith(INSIDE))
    if more:
        raise AutopruneError(
            f"task.model: {where}: {_weights(more)} in its files for which a {shape.family} of {shape.layers} layers "
            f"has no place, such as {more[0]}; without them its vectors would be others."
        )
    return {name: own[name] for name in wanted}


def _own(held: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The weights without their prefix, and with the names that layer norms have today."""
    prefixes = {name.removesuffix(WORD) for name in held if name.endswith(WORD)}
    if not prefixes:
        raise AutopruneError(
            f"task.model: {where}: weights are missing from its files: there is no {WORD}, but {_some(held)}."
        )
    if len(prefixes) > 1:
        raise AutopruneError(
            f"task.model: {where}: its files hold several encoders ({', '.join(sorted(prefixes))}); save the one that "
            "is meant by itself."
        )
    prefix = prefixes.pop()
    renamed = {".gamma": ".weight", ".beta": ".bias"}
    found = {}
    for name, tensor in held.items():
        if "lora_" in name:
            raise AutopruneError(
                f"task.model: {where}: its files hold an adapter ({name}); merge it into the weights first "
                "(merge_and_unload of peft)."
            )
        if name.startswith(prefix):
            stem, dot, last = name.removeprefix(prefix).rpartition(".")
            found[stem + renamed.get(dot + last, dot + last)] = tensor
    return found


def _weights(names: Sized) -> str:
    return "1 weight is" if len(names) == 1 else f"{len(names)} weights are"


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "") if shown else "nothing"


def position_table(weights: Mapping[str, Tensor], shape: Shape) -> Tensor:
    """The position table, with what every token of the first (and only) segment adds to it: float32 [n, embedding].

    Where positions are counted from the padding, the first row is the padding's.
    """
    table = weights[POSITION][shape.padding or 0 :]
    return table + weights[SEGMENT][0] if shape.segments else table.clone()


def named_weights(weights: Mapping[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """The transformer's weights by our names.

    Args:
        weights: by those of `transformers`.
        shape: that they have.
    """
    names = NAMES[shape.family]
    found = {"word": weights[WORD], "position": position_table(weights, shape)}
    if shape.embedding != shape.hidden:
        found |= {"project": weights[f"{PROJECTION}.weight"], "project.bias": weights[f"{PROJECTION}.bias"]}
    norms = {"embedding": NORM}
    for layer in range(shape.layers):
        prefix = names["layer"].format(layer)
        for name in ("query", "key", "value", "output", "up", "down"):
            found[f"{name}_{layer}"] = weights[f"{prefix}{names[name]}.weight"]
            found[f"{name}_{layer}.bias"] = weights[f"{prefix}{names[name]}.bias"]
        norms |= {f"{name}_{layer}": f"{prefix}{names[name]}" for name in ("attention", "ffn")}
    for name, theirs in norms.items():
        found[f"{name}.norm"], found[f"{name}.norm.bias"] = weights[f"{theirs}.weight"], weights[f"{theirs}.bias"]
    return found
