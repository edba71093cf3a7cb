"""What an encoder is made of: its settings, its tables, and what of them goes together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, rms_norm

from autoprune.encoder.prompts import Prompts
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.models.axis import Axis
from autoprune.models.table import Linear, Table

MAPS = ("query", "key", "value", "output", "gate", "up", "down")
"""The linear maps of a layer; `up_3` is that of layer 3. A layer without gates has no `gate`."""

NORMS = ("preattention", "queries", "keys", "postattention", "attention", "preffn", "postffn", "ffn")
"""Where a layer can have norms: before attention and neurons, of each head's queries and keys, of what is read and of
what the neurons say before it is added, and (`attention`, `ffn`) of the sums."""

LATER = (
    *("embedding", "padding", "similarity", "family", "heads", "shared", "rms", "scale", "causal", "farthest"),
    "dense",
)
"""Settings that older artifacts lack."""

OF_LAYERS = ("reach", "theta", "blocks")
"""Settings that a manifest says of each layer."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What an encoder is, beside its weights.

    Attributes:
        hidden: width of what flows from layer to layer.
        head_dim: dimensions of an attention head.
        max_tokens: of a text; what is beyond is not read.
        pooling: how tokens become one vector, one of `autoprune.encoder.functional.POOLINGS`.
        normalize: whether vectors have length 1.
        activation: of the neurons, one of `autoprune.encoder.functional.ACTIVATIONS`.
        epsilon: of the norms.
        embedding: width of the word and position tables, which are then projected; None: `hidden`, and they are not.
        padding: the id of the piece that has no place of its own: places are counted over the other pieces, and the
            first row of the position table is its; None: every piece has the place where it stands.
        prompts: what the model wants before a text.
        similarity: how vectors are compared, one of `autoprune.encoder.similarity.SIMILARITIES`.
        name: of the dense model, for people.
        family: its `model_type`, if what it is written as for other libraries rests on it.
        heads: of each layer as the model came; None: as many as `hidden` holds.
        shared: heads that share the keys and values of one (Ainslie et al. 2023, "GQA"); they can only go together.
        rms: whether norms leave the mean (Zhang & Sennrich 2019, "Root Mean Square Layer Normalization").
        scale: what scores are multiplied by; None: head_dim ** -0.5.
        causal: whether a token sees those before it alone.
        farthest: from which distance on tokens are equally far, where scores rest on it (Raffel et al. 2020, "T5").
        dense: the activation of a layer behind the pooling; None: there is none.
        reach: of each layer, the distance up to which tokens see one another; None: they see all.
        theta: of each layer, the base of its rotary positions (Su et al. 2021, "RoFormer"); None: it has none.
        blocks: of each layer, the number of the weights that it applies, as in ALBERT (Lan et al. 2020).
    """

    hidden: int
    head_dim: int
    max_tokens: int
    pooling: str = "mean"
    normalize: bool = True
    activation: str = "gelu"
    epsilon: float = 1e-12
    embedding: int | None = None
    padding: int | None = None
    prompts: Prompts = field(default_factory=Prompts)
    similarity: str = "cosine"
    name: str = ""
    family: str = ""
    heads: int | None = None
    shared: int = 1
    rms: bool = False
    scale: float | None = None
    causal: bool = False
    farthest: int | None = None
    dense: str | None = None
    reach: tuple[int | None, ...] = ()
    theta: tuple[float | None, ...] = ()
    blocks: tuple[int, ...] = ()

    def settings(self) -> dict[str, Any]:
        """For a manifest. What an encoder does not have is left out, as in artifacts from before it was known."""
        plain = {one.name: one.default for one in dataclasses.fields(self) if one.name in LATER}
        said = {name: value for name, value in dataclasses.asdict(self).items() if name not in ("prompts", *OF_LAYERS)}
        said = {name: value for name, value in said.items() if name not in plain or value != plain[name]}
        return said if self.prompts == Prompts() else {**said, "prompts": dataclasses.asdict(self.prompts)}

    def block(self, layer: int) -> int:
        """The number of the weights that a layer applies."""
        return self.blocks[layer] if self.blocks else layer

    def of_layer(self, layer: int) -> dict[str, Any]:
        """What a manifest says of a layer, by its original number."""
        held = {"reach": self.reach, "theta": self.theta}
        return {name: said[layer] for name, said in held.items() if said and said[layer] is not None}


def read_architecture(manifest: Mapping[str, Any]) -> Architecture:
    """The architecture of an artifact, by its manifest."""
    known = {one.name for one in dataclasses.fields(Architecture)} - {"prompts", *OF_LAYERS}
    layers = manifest["layers"]
    return Architecture(
        **{name: value for name, value in manifest.items() if name in known},
        prompts=Prompts(**manifest.get("prompts", {})),
        reach=tuple(layer.get("reach") for layer in layers),
        theta=tuple(layer.get("theta") for layer in layers),
        blocks=tuple(layer.get("block", number) for number, layer in enumerate(layers)),
    )


class Norm(nn.Module):
    """Layer normalisation (Ba et al. 2016), or that by the root mean square (Zhang & Sennrich 2019).

    Attributes:
        bias: None: there is none.
    """

    bias: nn.Parameter | None

    def __init__(self, size: int, epsilon: float, *, bias: bool = True, rms: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.register_parameter("bias", nn.Parameter(torch.zeros(size)) if bias else None)
        self.epsilon, self.rms = epsilon, rms

    def forward(self, vectors: Tensor) -> Tensor:
        return normed(vectors, self.weight, self.bias, self.epsilon, rms=self.rms)


def normed(vectors: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float, *, rms: bool) -> Tensor:
    """Vectors [..., size] after a norm."""
    if rms:
        return rms_norm(vectors, weight.shape, weight, epsilon)
    return layer_norm(vectors, weight.shape, weight, bias, epsilon)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large an encoder is, and which weights it has.

    Attributes:
        positions: rows of the position table; 0: there is none.
        heads: that have keys and values, of each block.
        ffn: neurons of each block.
        out: dimensions of the vectors.
        dense: what comes out of the layer behind the pooling; 0: there is none.
        buckets: of distances, for which scores are learned; 0: scores do not rest on them.
        gated: whether neurons have gates (Shazeer 2020, "GLU Variants Improve Transformer").
        biased: the maps that have a bias, and `norm` if norms have one.
        norms: by name.
    """

    positions: int
    heads: Sequence[int]
    ffn: Sequence[int]
    out: int
    dense: int = 0
    buckets: int = 0
    gated: bool = False
    biased: Sequence[str] = (*MAPS, "norm", "project", "dense")
    norms: Sequence[str]


def post_norms(layers: int) -> tuple[str, ...]:
    """The norms of an encoder as Devlin et al. (2019) have it."""
    return ("embedding", *(f"{place}_{layer}" for layer in range(layers) for place in ("attention", "ffn")))


def tables_and_axes(
    architecture: Architecture, tokenizer: Tokenizer, sizes: Sizes
) -> tuple[dict[str, Table], tuple[Axis, ...]]:
    """The tables of an encoder by name, and what can be cut."""
    size, hidden, together = architecture.head_dim, architecture.hidden, architecture.shared
    embedding = architecture.embedding or hidden
    tables: dict[str, Table] = {"word": Table(tokenizer.size, embedding)}
    if sizes.positions:
        tables["position"] = Table(sizes.positions, embedding)
    tables["out"] = Linear(sizes.out, sizes.dense or hidden)
    if sizes.dense:
        tables["dense"] = Linear(sizes.dense, hidden, bias="dense" in sizes.biased)
    if architecture.embedding is not None:
        tables["project"] = Linear(hidden, embedding)
    axes = [Axis(name="layers", kind="layers"), Axis(name="out", kind="dim", pairs=(("out", 0),))]
    if tokenizer.reducible:
        axes.append(Axis(name="vocab", kind="rows", pairs=(("word", 0),)))
    for block, (count, neurons) in enumerate(zip(sizes.heads, sizes.ffn, strict=True)):
        inner = count * size
        shapes = {"query": (together * inner, hidden), "key": (inner, hidden), "value": (inner, hidden)}
        shapes |= {"output": (hidden, together * inner), "up": (neurons, hidden), "down": (hidden, neurons)}
        shapes |= {"gate": (neurons, hidden)} if sizes.gated else {}
        tables |= {f"{name}_{block}": Linear(*shape, bias=name in sizes.biased) for name, shape in shapes.items()}
        axes.append(_heads(block, width=size, together=together))
        led = ("up", "gate") if sizes.gated else ("up",)
        pairs = (*((f"{name}_{block}", 0) for name in led), (f"down_{block}", 1))
        axes.append(Axis(name=f"ffn.{block}", kind="ffn", pairs=pairs))
    return tables, tuple(axes)


def _heads(block: int, *, width: int, together: int) -> Axis:
    """The heads of a block; those that share keys and values are one."""
    pairs = (*((f"{name}_{block}", 0) for name in ("query", "key", "value")), (f"output_{block}", 1))
    several = (together, 1, 1, together) if together > 1 else ()
    return Axis(name=f"heads.{block}", kind="heads", pairs=pairs, width=width, several=several)
