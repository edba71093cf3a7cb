"""The architecture of an encoder, everything but its weights, and the names of the weights."""

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
"""Where a layer can have norms: before attention and neurons (`pre`), on each head's queries and keys, on the outputs
of attention and neurons before they are added (`post`), and on the sums (`attention`, `ffn`)."""

LATER = (
    *("embedding", "padding", "similarity", "family", "heads", "shared", "rms", "scale", "causal", "farthest"),
    *("dense", "score"),
)
"""Settings that older artifacts lack; left out of a manifest at their defaults."""

OF_LAYERS = ("reach", "theta", "blocks")
"""Settings that a manifest has for each layer."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The architecture of an encoder: everything but its weights.

    Attributes:
        hidden: width of the layers.
        head_dim: dimensions of an attention head.
        max_tokens: the most tokens of a text; the rest is not read.
        pooling: how tokens become one vector, one of `autoprune.encoder.functional.POOLINGS`.
        normalize: whether vectors have length 1.
        activation: activation of the neurons, one of `autoprune.encoder.functional.ACTIVATIONS`.
        epsilon: added to the variance in norms.
        embedding: width of the word and position tables, which are then projected to `hidden`; None: `hidden`, without
            a projection.
        padding: the id of the piece without a position. Positions are counted over the other pieces, and this piece has
            the first row of the position table. None: every piece has the position where it occurs.
        prompts: what the model expects before a text.
        similarity: how vectors are compared, one of `autoprune.encoder.similarity.SIMILARITIES`.
        name: name of the dense model, for people.
        family: its `model_type`, if the export to other libraries depends on it.
        heads: heads of each layer in the dense model; None: as many as `hidden` holds.
        shared: heads that share one head's keys and values (Ainslie et al. 2023, "GQA"); they are cut together.
        rms: whether norms do not subtract the mean (Zhang & Sennrich 2019, "Root Mean Square Layer Normalization").
        scale: factor of the attention scores; None: head_dim ** -0.5.
        causal: whether a token attends only to itself and the tokens before it.
        farthest: the distance from which on all tokens count as equally far, if scores depend on distances (Raffel et
            al. 2020, "T5").
        dense: the activation of a layer after the pooling; None: there is no such layer.
        score: for a cross-encoder, which reads two texts and gives one number, what is done to that number: `sigmoid`
            or `identity`. None: the model gives vectors.
        reach: for each layer, the distance up to which tokens attend to one another; None: they attend to all.
        theta: for each layer, the base of its rotary positions (Su et al. 2021, "RoFormer"); None: it has none.
        blocks: for each layer, the number of the weights that it applies, as in ALBERT (Lan et al. 2020).
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
        """The settings for a manifest; those of `LATER` are left out at their defaults: older artifacts lack them."""
        defaults = {setting.name: setting.default for setting in dataclasses.fields(self) if setting.name in LATER}
        values = {
            name: given for name, given in dataclasses.asdict(self).items() if name not in ("prompts", *OF_LAYERS)
        }
        values = {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}
        return values if self.prompts == Prompts() else {**values, "prompts": dataclasses.asdict(self.prompts)}

    def block(self, layer: int) -> int:
        """The number of the weights that a layer applies."""
        return self.blocks[layer] if self.blocks else layer

    def of_layer(self, layer: int) -> dict[str, Any]:
        """The settings of a layer for a manifest, by its original number."""
        settings = {"reach": self.reach, "theta": self.theta}
        return {name: values[layer] for name, values in settings.items() if values and values[layer] is not None}


def read_architecture(manifest: Mapping[str, Any]) -> Architecture:
    """The architecture of an artifact, by its manifest."""
    known = {setting.name for setting in dataclasses.fields(Architecture)} - {"prompts", *OF_LAYERS}
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
