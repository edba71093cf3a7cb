"""The weights of a transformer: their names there, our names, and their shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.encoder.layouts.layout import Layout
from autoprune.encoder.sizes import Sizes
from autoprune.errors import AutopruneError


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a transformer as its config.json gives them.

    Attributes:
        family: its `model_type`.
        layout: the layout of this type.
        vocabulary, positions, segments: rows of the tables that are summed; 0: there is no such table.
        embedding: columns of these tables.
        hidden: width of the layers.
        layers: number of layers.
        blocks: number of sets of weights, which layers may share; mostly one for each layer.
        heads, keys: heads with queries, and heads with keys and values.
        head_dim: dimensions of a head.
        neurons: neurons of each layer.
        buckets: buckets of distances; 0: scores do not depend on distances.
        biased: the linear layers that have a bias, and `norm`.
        padding: the id from whose position the positions are counted; None: every piece has the position where it
            occurs.
    """

    family: str
    layout: Layout
    vocabulary: int
    positions: int = 0
    segments: int = 0
    embedding: int
    hidden: int
    layers: int
    blocks: int
    heads: int
    keys: int
    head_dim: int
    neurons: int
    buckets: int = 0
    biased: tuple[str, ...] = ()
    padding: int | None = None

    def norms(self) -> tuple[str, ...]:
        """The norms by our names."""
        inside = (
            f"{name}_{block}"
            for block in range(self.blocks)
            for name in self.layout.norms
            if block or name not in self.layout.absent
        )
        return (*self.layout.outer, *inside)

    def sizes(
        self, *, positions: int, out: int, segments: int = 0, dense: int = 0, behind: tuple[str, ...] = ()
    ) -> Sizes:
        """The sizes from which an encoder is built.

        Args:
            positions, segments, out, dense: as in `Sizes`.
            behind: names of the weights after the pooling.
        """
        return Sizes(
            positions=positions,
            segments=segments,
            heads=[self.keys] * self.blocks,
            ffn=[self.neurons] * self.blocks,
            out=out,
            dense=dense,
            buckets=self.buckets,
            gated="gate" in self.layout.maps,
            biased=(*self.biased, *(["dense"] if "dense.bias" in behind else [])),
            norms=(*self.norms(), *(["head"] if "head.norm" in behind else [])),
        )


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A weight that a transformer must have.

    Attributes:
        ours, theirs: our name, and its name in the transformer.
        shape: shape of our weight.
        part, parts: the number of the part of their weight that it is, and of all parts, along the rows.
    """

    ours: str
    theirs: str
    shape: tuple[int, ...]
    part: int = 0
    parts: int = 1

    @property
    def whole(self) -> tuple[int, ...]:
        """The shape of their weight."""
        return (self.shape[0] * self.parts, *self.shape[1:])


def weights_of(shape: Shape) -> list[Weight]:
    """All weights on which vectors depend."""
    layout, embedding, hidden = shape.layout, shape.embedding, shape.hidden
    found = [Weight(ours="word", theirs=f"{layout.word[0]}.weight", shape=(shape.vocabulary, embedding))]
    if layout.position:
        found.append(Weight(ours="position", theirs=f"{layout.position}.weight", shape=(shape.positions, embedding)))
    if shape.segments:
        found.append(Weight(ours="segment", theirs=f"{layout.segment}.weight", shape=(shape.segments, embedding)))
    if shape.buckets:
        theirs = f"{layout.distances}.weight"
        found.append(Weight(ours="distances", theirs=theirs, shape=(shape.buckets, shape.heads)))
    if layout.projection and (embedding != hidden or shape.family == "albert"):
        found += _map("project", layout.projection, (hidden, embedding), bias=True)
    for name, theirs in layout.outer.items():
        found += _norm(name, theirs, embedding if name == "embedding" else hidden, bias="norm" in shape.biased)
    for block in range(shape.blocks):
        found += _of_block(shape, block)
    return found


def _of_block(shape: Shape, block: int) -> list[Weight]:
    layout, hidden, neurons = shape.layout, shape.hidden, shape.neurons
    queries, keys = shape.heads * shape.head_dim, shape.keys * shape.head_dim
    shapes = {"query": (queries, hidden), "key": (keys, hidden), "value": (keys, hidden), "output": (hidden, queries)}
    shapes |= {"gate": (neurons, hidden), "up": (neurons, hidden), "down": (hidden, neurons)}
    prefix, found = layout.layer.format(block), list[Weight]()
    for name, theirs in layout.maps.items():
        place, part, parts = (theirs, 0, 1) if isinstance(theirs, str) else theirs
        bias = name in shape.biased
        found += _map(f"{name}_{block}", prefix + place, shapes[name], bias=bias, part=part, parts=parts)
    for name, place in layout.norms.items():
        if block or name not in layout.absent:
            width = shape.head_dim if name in ("queries", "keys") else hidden
            found += _norm(f"{name}_{block}", prefix + place, width, bias="norm" in shape.biased)
    return found


def _map(ours: str, theirs: str, shape: tuple[int, int], *, bias: bool, part: int = 0, parts: int = 1) -> list[Weight]:
    found = [Weight(ours=ours, theirs=f"{theirs}.weight", shape=shape, part=part, parts=parts)]
    if bias:
        found.append(Weight(ours=f"{ours}.bias", theirs=f"{theirs}.bias", shape=shape[:1], part=part, parts=parts))
    return found


def _norm(ours: str, theirs: str, width: int, *, bias: bool) -> list[Weight]:
    found = [Weight(ours=f"{ours}.norm", theirs=f"{theirs}.weight", shape=(width,))]
    return [*found, Weight(ours=f"{ours}.norm.bias", theirs=f"{theirs}.bias", shape=(width,))] if bias else found


def rests_on(name: str, layout: Layout) -> bool:
    """Whether vectors can depend on a weight, by its name in a file, which may have a prefix."""
    return any(name.startswith(part) or f".{part}" in name for part in layout.inside)


def checked_weights(held: Mapping[str, Tensor], shape: Shape, where: str) -> dict[str, Tensor]:
    """The weights on which vectors depend, from files that may hold a larger model.

    Args:
        held: the tensors of the files, perhaps with a prefix such as `bert.`, and with heads for other tasks.
        shape: the shape that config.json gives.
        where: the model, for errors.

    Raises:
        AutopruneError: weights are missing, have another shape, or have no place according to config.json.
    """
    own = _own(held, shape.layout, where)
    wanted = {weight.theirs: weight.whole for weight in weights_of(shape)}
    missing = [name for name in wanted if name not in own]
    if missing:
        raise AutopruneError(
            f"task.model: {where}: {_weights(missing)} missing from its files, such as {missing[0]}; a model with "
            "random weights in it cannot be compressed."
        )
    for name, sizes in wanted.items():
        if tuple(own[name].shape) != sizes:
            raise AutopruneError(
                f"task.model: {where}: {name} is {list(own[name].shape)} in the files, but {list(sizes)} by "
                "config.json; one of them belongs to another model."
            )
    more = sorted(name for name in own if name not in wanted and _inside(name, shape.layout))
    if more:
        raise AutopruneError(
            f"task.model: {where}: {_weights(more)} in its files for which a {shape.family} of {shape.layers} layers "
            f"has no place, such as {more[0]}; without them its vectors would differ."
        )
    return {name: own[name] for name in wanted}


def _inside(name: str, layout: Layout) -> bool:
    return name.startswith(layout.inside) and not name.startswith(layout.ignored)


def _own(held: Mapping[str, Tensor], layout: Layout, where: str) -> dict[str, Tensor]:
    """The weights without their prefix, with today's names of layer norms and word tables."""
    words = [f"{name}.weight" for name in layout.word]
    word = next((word for word in words if any(name.endswith(word) for name in held)), words[0])
    prefixes = {name.removesuffix(word) for name in held if name.endswith(word)}
    if not prefixes:
        raise AutopruneError(
            f"task.model: {where}: weights are missing from its files: there is no {word}, but {_some(held)}."
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
    for other in words:
        if other in found and other != words[0]:
            tensor = found.pop(other)  # some files hold this table twice
            found.setdefault(words[0], tensor)
    return found


def _weights(names: Sized) -> str:
    return "1 weight is" if len(names) == 1 else f"{len(names)} weights are"


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "") if shown else "nothing"


def named_weights(weights: Mapping[str, Tensor], shape: Shape, *, pairs: bool = False) -> dict[str, Tensor]:
    """The transformer's weights by our names.

    For single texts, all tokens have the first token type, so its row is added to the positions. If positions are
    counted from the padding, the first row is that of the padding.

    Args:
        weights: the weights by their names in `transformers`.
        shape: the shape of the transformer.
        pairs: whether the model reads pairs of texts, told apart by token types if there are several.
    """
    ours = {}
    for weight in weights_of(shape):
        whole = weights[weight.theirs]
        ours[weight.ours] = whole if weight.parts == 1 else whole.chunk(weight.parts)[weight.part]
    if "position" in ours:
        ours["position"] = ours["position"][shape.padding or 0 :]
    if "segment" in ours and not (pairs and shape.segments > 1):
        ours["position"] = ours["position"] + ours.pop("segment")[0]
    if "distances" in ours:
        ours["distances"] = ours["distances"].T
    if shape.layout.root_words:
        ours["word"] = ours["word"] * torch.tensor(shape.hidden**0.5)
    if shape.layout.gains_from_one:
        ours |= {name: gain + 1 for name, gain in ours.items() if name.endswith(".norm")}
    return ours


def their_weights(found: Mapping[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """The inverse of `named_weights`: our weights by their names in `transformers`.

    Args:
        found: the weights by our names, with `segment` and all positions.
        shape: the shape of the transformer.
    """
    own = dict(found)
    if "distances" in own:
        own["distances"] = own["distances"].T
    if shape.layout.root_words:
        own["word"] = own["word"] / torch.tensor(shape.hidden**0.5)
    if shape.layout.gains_from_one:
        own |= {name: gain - 1 for name, gain in own.items() if name.endswith(".norm")}
    parts: dict[str, list[Tensor]] = {}
    for weight in sorted(weights_of(shape), key=lambda weight: weight.part):
        parts.setdefault(weight.theirs, []).append(own[weight.ours])
    return {name: _joined(tensors) for name, tensors in parts.items()}


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
