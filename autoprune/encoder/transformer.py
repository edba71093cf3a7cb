"""The layers of an encoder in torch, for a model in training as well as for an artifact that answers.

One implementation serves all families. A part that a family lacks has no weights and is skipped: norms, gates and
position embeddings are all optional.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize, scaled_dot_product_attention

from autoprune.encoder.architecture import Architecture
from autoprune.encoder.functional import ACTIVATIONS, Runs, places, pool
from autoprune.encoder.tokenizer import unmarked

LOWEST = torch.finfo(torch.float32).min

Watch = Callable[[str, Tensor], Tensor]
"""See `autoprune.models.model.Watch`."""


def unwatched(_: str, values: Tensor) -> Tensor:
    """The watch of an artifact that answers: it changes nothing."""
    return values


class Weights(Protocol):
    """Access to the weights of an encoder, by the name of a table or norm."""

    def has(self, name: str) -> bool:
        """Whether there is a table of this name."""
        ...

    def looked_up(self, name: str, rows: Tensor) -> Tensor:
        """Rows of a table: float32 [*rows, dim]."""
        ...

    def mapped(self, name: str, vectors: Tensor) -> Tensor:
        """Vectors after a linear layer, perhaps in its narrower dtype; they are added to float32 values."""
        ...

    def normed(self, name: str, vectors: Tensor) -> Tensor:
        """Vectors after a norm; unchanged if there is no norm of this name."""
        ...

    def relative(self, layer: int) -> Tensor | None:
        """What each distance adds to the scores of each head of a layer, float32 [heads, buckets]; None: nothing."""
        ...


@dataclass(frozen=True)
class Layer:
    """A layer in use: its original number, by which it is watched and described, and the number of its weights."""

    number: int
    block: int


def embed(
    weights: Weights,
    ids: Tensor,
    there: Tensor | None,
    watch: Watch,
    *,
    architecture: Architecture,
    padding: int | None,
    layers: Sequence[Layer],
    runs: Runs | None = None,
) -> Tensor:
    """The vectors of texts: float32 [texts, out], of length 1 where the architecture says so.

    Args:
        weights: the encoder's weights, by autoprune's names.
        ids: rows of the word table, int64 [batch, tokens]; tokens of a second text are marked (`unmarked`).
        there: bool [batch, tokens], False for padding, which follows the text; None: no padding.
        watch: sees, and may change, the values of each axis; it sees the outputs of heads run by run.
        architecture: everything that is not a weight.
        padding: as in `autoprune.encoder.functional.places`.
        layers: the layers in use.
        runs: how texts are laid end to end in one row; None: each text has a row of its own.
    """
    if there is not None:
        sights = [_Sight(architecture, there)]
    else:
        shapes = [ids.shape] if runs is None else runs
        sights = [_Sight(architecture, torch.ones(shape, dtype=torch.bool, device=ids.device)) for shape in shapes]
    ids, segments = unmarked(ids)
    hidden = weights.looked_up("word", ids)
    if weights.has("segment"):
        hidden = hidden + weights.looked_up("segment", segments)
    if weights.has("position"):
        hidden = hidden + weights.looked_up("position", _places(ids, padding, sights))
    hidden = weights.normed("embedding", hidden)
    if weights.has("project"):
        hidden = weights.mapped("project", hidden).float()
    for layer in layers:
        hidden = watch(f"layers.{layer.number}", hidden)
        hidden = _layer(weights, hidden, watch, layer=layer, sights=sights)
    hidden = weights.normed("final", watch("layers.end", hidden))
    parts = zip(_split(hidden, sights), sights, strict=True)
    vectors = _together([pool(part, sight.there, architecture.pooling) for part, sight in parts])
    if architecture.dense is not None:
        vectors = weights.normed("head", _active(architecture.dense, weights.mapped("dense", vectors)))
    if weights.has("out"):
        vectors = weights.mapped("out", vectors)
    return normalize(vectors) if architecture.normalize else vectors


class _Sight:
    """Which tokens of some texts attend to which, and at what distance; computed once for all layers."""

    def __init__(self, architecture: Architecture, there: Tensor) -> None:
        self.architecture, self.there = architecture, there
        at = torch.arange(there.shape[1], device=there.device)
        self._distance = at[None, :] - at[:, None]  # from the query token to the key token
        self._masks: dict[int | None, Tensor | None] = {}
        self._turns: dict[float, tuple[Tensor, Tensor]] = {}
        self._buckets: Tensor | None = None

    def mask(self, layer: Layer) -> Tensor | None:
        """Which keys each query attends to: bool [batch or 1, 1, tokens or 1, tokens]; None: all."""
        reach = self.architecture.reach[layer.number] if self.architecture.reach else None
        if reach not in self._masks:
            self._masks[reach] = self._mask(reach)
        return self._masks[reach]

    def _mask(self, reach: int | None) -> Tensor | None:
        unpadded, distance = bool(self.there.all()), self._distance
        near = distance <= 0 if self.architecture.causal else None
        if reach is not None and len(distance) > reach + 1:
            near = distance.abs() <= reach if near is None else near & (distance >= -reach)
        if near is None:
            return None if unpadded else self.there[:, None, None, :]
        if unpadded:
            return near[None, None]
        # A padding token attends to itself, since a softmax over no keys is undefined; no other token attends to it.
        return near & (self.there[:, None, None, :] | (distance == 0))

    def scores(self, layer: Layer, relative: Tensor | None) -> Tensor | None:
        """The mask of the scores, or what is added to them."""
        mask = self.mask(layer)
        if relative is None:
            return mask
        if self._buckets is None:
            farthest = self.architecture.farthest
            assert farthest is not None, "an encoder with relative distances has `farthest`"
            self._buckets = buckets(self._distance, relative.shape[1], farthest)
        added = relative[:, self._buckets][None]
        return added if mask is None else added.masked_fill(~mask, LOWEST)

    def turned(self, layer: Layer, vectors: Tensor) -> Tensor:
        """Queries or keys, [batch, heads, tokens, size], rotated by their positions (Su et al. 2021, "RoFormer")."""
        theta = self.architecture.theta[layer.number] if self.architecture.theta else None
        if theta is None:
            return vectors
        if theta not in self._turns:
            self._turns[theta] = turns(len(self._distance), vectors.shape[-1], theta, vectors.device)
        cosines, sines = self._turns[theta]
        first, second = vectors.chunk(2, dim=-1)
        return vectors * cosines + torch.cat([-second, first], dim=-1) * sines


def _split(values: Tensor, sights: Sequence[_Sight]) -> list[Tensor]:
    """Values of tokens, [batch, tokens, ...], split by sight: [texts, tokens, ...] each."""
    if len(sights) == 1:
        return [values.view(*sights[0].there.shape, *values.shape[2:])]
    parts = torch.split(values.flatten(0, 1), [sight.there.numel() for sight in sights])
    return [part.view(*sight.there.shape, *part.shape[1:]) for part, sight in zip(parts, sights, strict=True)]


def _together(parts: Sequence[Tensor]) -> Tensor:
    """The parts concatenated; a single part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _places(ids: Tensor, padding: int | None, sights: Sequence[_Sight]) -> Tensor:
    """As `places`, counted from the beginning of each text."""
    if ids.shape == sights[0].there.shape:
        return places(ids, padding)
    return torch.cat([places(part, padding).expand(part.shape).flatten() for part in _split(ids, sights)])[None]


def _layer(weights: Weights, hidden: Tensor, watch: Watch, *, layer: Layer, sights: Sequence[_Sight]) -> Tensor:
    block, activate = layer.block, sights[0].architecture.activation
    inputs = weights.normed(f"preattention_{block}", hidden)
    attended = weights.normed(f"postattention_{block}", _attend(weights, inputs, watch, layer=layer, sights=sights))
    hidden = weights.normed(f"attention_{block}", watch(f"sums.output_{block}", hidden + attended))
    inputs = weights.normed(f"preffn_{block}", hidden)
    if weights.has(f"gate_{block}"):
        neurons = _active(activate, weights.mapped(f"gate_{block}", inputs)) * weights.mapped(f"up_{block}", inputs)
    else:
        neurons = _active(activate, weights.mapped(f"up_{block}", inputs))
    outputs = weights.mapped(f"down_{block}", watch(f"ffn.{block}", neurons))
    total = watch(f"sums.down_{block}", hidden + weights.normed(f"postffn_{block}", outputs))
    return weights.normed(f"ffn_{block}", total)


def _attend(weights: Weights, inputs: Tensor, watch: Watch, *, layer: Layer, sights: Sequence[_Sight]) -> Tensor:
    block, architecture = layer.block, sights[0].architecture
    relative = weights.relative(layer.number)
    # float32 even if linear layers use less: torch's gradient of attention in bfloat16 takes ten times as long.
    query, key, value = (
        _split(weights.mapped(f"{name}_{block}", inputs).float(), sights) for name in ("query", "key", "value")
    )
    contexts = []
    for sight, *of_run in zip(sights, query, key, value, strict=True):
        queries, keys, values = (
            part.view(*part.shape[:2], -1, architecture.head_dim).transpose(1, 2) for part in of_run
        )  # [texts, heads, tokens, size] each
        context = scaled_dot_product_attention(
            sight.turned(layer, weights.normed(f"queries_{block}", queries)),
            sight.turned(layer, weights.normed(f"keys_{block}", keys)),
            values,
            attn_mask=sight.scores(layer, relative),
            scale=architecture.scale,
            enable_gqa=architecture.shared > 1,
        )
        context = _watched(watch, f"heads.{block}", context, architecture.shared)
        contexts.append(context.transpose(1, 2).flatten(2).flatten(0, 1))
    return weights.mapped(f"output_{block}", _together(contexts).view(*inputs.shape[:2], -1))


def _watched(watch: Watch, name: str, context: Tensor, shared: int) -> Tensor:
    """Outputs of heads, [batch, heads, tokens, size], watched; heads that share keys are watched as one."""
    if shared == 1:
        return watch(name, context)
    batch, heads, tokens, size = context.shape
    joined = context.view(batch, -1, shared, tokens, size).transpose(2, 3).reshape(batch, -1, tokens, shared * size)
    watched = watch(name, joined).view(batch, -1, tokens, shared, size)
    return watched.transpose(2, 3).reshape(batch, heads, tokens, size)


def _active(activation: str, vectors: Tensor) -> Tensor:
    return ACTIVATIONS[activation](vectors)


def turns(tokens: int, size: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """The cosines and sines of rotary positions: float32 [tokens, size] each."""
    speeds = 1.0 / theta ** (torch.arange(0, size, 2, device=device).float() / size)
    angles = torch.outer(torch.arange(tokens, device=device).float(), speeds).repeat(1, 2)
    return angles.cos(), angles.sin()


def buckets(distance: Tensor, count: int, farthest: int) -> Tensor:
    """The buckets into which T5 sorts distances (Raffel et al. 2020): int64, of the shape of `distance`.

    One half of the buckets is for keys before the query. In each half, the first half of the buckets holds one distance
    each; the others get wider up to `farthest`.

    Args:
        distance: int64, from the query token to the key token.
        count: number of buckets.
        farthest: distances from this on are all in the last bucket.
    """
    half, exact = count // 2, count // 4
    away = distance.abs()
    wide = (away.clamp_min(1).float() / exact).log() / math.log(farthest / exact) * (half - exact)
    far = (exact + wide.long()).clamp_max(half - 1)
    return torch.where(away < exact, away, far) + half * (distance > 0)
