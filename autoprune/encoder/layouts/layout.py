"""What a layout says: the names of a type's settings and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Entries = Mapping[str, Any]
"""Named settings: of a config.json, with the defaults of its type filled in, or of a manifest."""

USUAL = {"vocabulary": "vocab_size", "hidden": "hidden_size", "layers": "num_hidden_layers"}
USUAL |= {"heads": "num_attention_heads", "neurons": "intermediate_size"}
PLACED = {**USUAL, "positions": "max_position_embeddings"}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The names that a type of transformer gives to its settings and weights; weights without their `.weight`.

    Attributes:
        sizes: our name → its name in config.json. `positions` is the number of rows of the position table; without such
            a table, the length of the longest text.
        epsilon: the name of the setting, or the fixed value.
        activation: the name of the setting.
        word: the possible names of the word table; it is written under the first.
        position, segment, projection, distances: the names of weights that not all types have.
        layer: the prefix of the names of a layer.
        maps: our name → its name within a layer; if several maps share a matrix, with the number of the part and of all
            parts.
        norms: our name → its name within a layer.
        outer: our name → its name, for norms that belong to no layer.
        absent: norms that the first layer lacks.
        inside: the prefixes of weights on which vectors depend; other weights are heads for other tasks.
        ignored: the prefixes of weights within these on which vectors do not depend.
        biases: our name of a map, or `norm` → whether it has a bias, or the setting that says so.
        traits: the fields of `autoprune.encoder.architecture.Architecture` that follow from a config.
        written: the entries of a written config.json, in addition to the sizes.
        since: the first version of transformers that reads a written config.json correctly, since older ones read
            another model from it; empty: all do.
        model: the class in transformers that reads it.
        pooler: whether it has a pooler that must be refused.
        padding: the id from which positions are counted: a number, or the setting that says so.
        config: the list of its settings in `autoprune.encoder.settings.FILES`.
        root_words: whether word vectors are multiplied by the square root of the width.
        gains_from_one: whether the gains of norms are written minus 1.
    """

    sizes: Mapping[str, str]
    epsilon: str | float
    activation: str
    word: tuple[str, ...]
    position: str = ""
    segment: str = ""
    projection: str = ""
    distances: str = ""
    layer: str
    maps: Mapping[str, str | tuple[str, int, int]]
    norms: Mapping[str, str]
    outer: Mapping[str, str]
    absent: tuple[str, ...] = ()
    inside: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    biases: Mapping[str, bool | str] = field(default_factory=dict)
    traits: Callable[[Entries], dict[str, Any]] = lambda _: {}
    written: Callable[[Entries], dict[str, Any]] = lambda _: {}
    since: Callable[[Entries], str] = lambda _: ""
    model: str
    pooler: bool = False
    padding: int | str | None = None
    config: str = "config.json"
    root_words: bool = False
    gains_from_one: bool = False
