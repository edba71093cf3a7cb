"""What an encoder is, beside its weights, and what these are called."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.nn.functional import layer_norm, rms_norm

from autoprune.encoder.prompts import Prompts

MAPS = ("query", "key", "value", "output", "gate", "up", "down")
"""The linear maps of a layer; `up_3` is that of layer 3. A layer without gates has no `gate`."""

NORMS = ("preattention", "queries", "keys", "postattention", "attention", "preffn", "postffn", "ffn")
"""Where a layer can have norms: before attention and neurons, of each head's queries and keys, of what is read and of
what the neurons say before it is added, and (`attention`, `ffn`) of the sums."""

LATER = (
    *("embedding", "padding", "similarity", "family", "heads", "shared", "rms", "scale", "causal", "farthest"),
    *("dense", "score"),
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
        score: of a cross-encoder, which reads two texts and gives one number, what becomes of that number, `sigmoid`
            or `identity`; None: vectors are given.
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
    score: str | None = None
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


def normed(vectors: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float, *, rms: bool) -> Tensor:
    """Vectors [..., size] after a norm."""
    if rms:
        return rms_norm(vectors, weight.shape, weight, epsilon)
    return layer_norm(vectors, weight.shape, weight, bias, epsilon)
