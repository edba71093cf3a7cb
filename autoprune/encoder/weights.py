"""The weights of a transformer by its names and by ours, and which shapes they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.encoder.layouts import Layout
from autoprune.encoder.sizes import Sizes
from autoprune.errors import AutopruneError


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a transformer as its config.json gives them.

    Attributes:
        family: its `model_type`.
        layout: of this type.
        vocabulary, positions, segments: rows of the tables that are summed; 0: there is no such table.
        embedding: columns of these tables.
        hidden: width of the layers.
        layers: how often weights are applied one after the other.
        blocks: how many weights there are for them; mostly as many.
        heads, keys: heads with queries, and those with keys and values.
        head_dim: dimensions of each.
        neurons: of each layer.
        buckets: of distances; 0: scores do not rest on them.
        biased: the maps that have a bias, and `norm`.
        padding: the id whose place the positions are counted from; None: every piece has the place where it stands.
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
        """As an encoder is made.

        Args:
            positions, segments, out, dense: as there.
            behind: the weights that follow the pooling, by name.
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
        ours, theirs: its names.
        shape: of ours.
        part, parts: which part of theirs it is, of how many along the rows.
    """

    ours: str
    theirs: str
    shape: tuple[int, ...]
    part: int = 0
    parts: int = 1

    @property
    def whole(self) -> tuple[int, ...]:
        """The shape of theirs."""
        return (self.shape[0] * self.parts, *self.shape[1:])


def weights_of(shape: Shape) -> list[Weight]:
    """All weights that vectors rest on."""
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
    asked, told = shape.heads * shape.head_dim, shape.keys * shape.head_dim
    shapes = {"query": (asked, hidden), "key": (told, hidden), "value": (told, hidden), "output": (hidden, asked)}
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
    """Whether vectors can rest on a weight, by its name in a file, perhaps with a prefix: of no head and no pooler."""
    return any(name.startswith(part) or f".{part}" in name for part in layout.inside)


def checked_weights(held: Mapping[str, Tensor], shape: Shape, where: str) -> dict[str, Tensor]:
    """The weights that vectors rest on, whatever model they were saved as part of.

    Args:
        held: of the files; perhaps with a prefix such as `bert.`, and with heads for other tasks.
        shape: as config.json says.
        where: the model.

    Raises:
        AutopruneError: some are missing, of another shape, or more than config.json has a place for.
    """
    own = _own(held, shape.layout, where)
    wanted = {weight.theirs: weight.whole for weight in weights_of(shape)}
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
    more = sorted(name for name in own if name not in wanted and _inside(name, shape.layout))
    if more:
        raise AutopruneError(
            f"task.model: {where}: {_weights(more)} in its files for which a {shape.family} of {shape.layers} layers "
            f"has no place, such as {more[0]}; without them its vectors would be others."
        )
    return {name: own[name] for name in wanted}


def _inside(name: str, layout: Layout) -> bool:
    return name.startswith(layout.inside) and not name.startswith(layout.ignored)


def _own(held: Mapping[str, Tensor], layout: Layout, where: str) -> dict[str, Tensor]:
    """The weights without their prefix, and with the names that layer norms and word tables have today."""
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
            tensor = found.pop(other)  # the same table, which some files hold twice
            found.setdefault(words[0], tensor)
    return found


def _weights(names: Sized) -> str:
    return "1 weight is" if len(names) == 1 else f"{len(names)} weights are"


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "") if shown else "nothing"


def named_weights(weights: Mapping[str, Tensor], shape: Shape, *, pairs: bool = False) -> dict[str, Tensor]:
    """The transformer's weights by our names.

    Where texts are read one by one, what every token of the first (and only) segment adds to the positions is added to
    them. Where positions are counted from the padding, the first row is the padding's.

    Args:
        weights: by those of `transformers`.
        shape: that they have.
        pairs: whether texts are read two by two, and told apart by segments where there are several.
    """
    found = {}
    for one in weights_of(shape):
        whole = weights[one.theirs]
        found[one.ours] = whole if one.parts == 1 else whole.chunk(one.parts)[one.part]
    if "position" in found:
        found["position"] = found["position"][shape.padding or 0 :]
    if "segment" in found and not (pairs and shape.segments > 1):
        found["position"] = found["position"] + found.pop("segment")[0]
    if "distances" in found:
        found["distances"] = found["distances"].T
    if shape.layout.root_words:
        found["word"] = found["word"] * torch.tensor(shape.hidden**0.5)
    if shape.layout.gains_from_one:
        found |= {name: gain + 1 for name, gain in found.items() if name.endswith(".norm")}
    return found


def their_weights(found: Mapping[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """The other way around: our weights by the names of `transformers`.

    Args:
        found: by our names, `segment` and all positions among them.
        shape: that they have.
    """
    own = dict(found)
    if "distances" in own:
        own["distances"] = own["distances"].T
    if shape.layout.root_words:
        own["word"] = own["word"] / torch.tensor(shape.hidden**0.5)
    if shape.layout.gains_from_one:
        own |= {name: gain - 1 for name, gain in own.items() if name.endswith(".norm")}
    parts: dict[str, list[Tensor]] = {}
    for one in sorted(weights_of(shape), key=lambda one: one.part):
        parts.setdefault(one.theirs, []).append(own[one.ours])
    return {name: _joined(tensors) for name, tensors in parts.items()}


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
