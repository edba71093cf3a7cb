"""The layers of an encoder in torch, whatever holds the weights: a model that trains, or an artifact that answers.

One description serves all families. What a family lacks it has no weights for: a layer without a norm in some place
passes it by, neurons without gates have none, and an encoder without places adds none.
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
"""As `autoprune.models.model.Watch`."""


def unwatched(_: str, values: Tensor) -> Tensor:
    """The watch of who answers."""
    return values


class Weights(Protocol):
    """What holds the weights of an encoder; a name is that of a table or of a norm."""

    def has(self, name: str) -> bool:
        """Whether there is a table of a name."""
        ...

    def looked_up(self, name: str, rows: Tensor) -> Tensor:
        """Rows of a table: float32 [*rows, dim]."""
        ...

    def mapped(self, name: str, vectors: Tensor) -> Tensor:
        """Vectors after a linear map, perhaps as narrow as it multiplies in; what they are added to is float32."""
        ...

    def normed(self, name: str, vectors: Tensor) -> Tensor:
        """Vectors after a norm; as they are where there is none of the name."""
        ...

    def relative(self, layer: int) -> Tensor | None:
        """What each distance adds to the scores of each head of a layer, float32 [heads, buckets]; None: nothing."""
        ...


@dataclass(frozen=True)
class Layer:
    """A layer that stands: its number, by which it is watched and described, and that of its weights."""

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
        weights: by our names.
        ids: rows of the word table, int64 [batch, tokens]; of a second text marked (`unmarked`).
        there: bool [batch, tokens]; False is padding, which stands behind a text. None: all are there.
        watch: sees, and may change, what each axis carries; what heads read is shown run by run.
        architecture: what is not a weight.
        padding: as `autoprune.encoder.functional.places`.
        layers: those that stand.
        runs: how texts lie end to end, as if they were one; None: they lie side by side.
    """
    if there is not None:
        sights = [_Sight(architecture, there)]
    else:
        whole = [ids.shape] if runs is None else runs
        sights = [_Sight(architecture, torch.ones(run, dtype=torch.bool, device=ids.device)) for run in whole]
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
    read = zip(_split(hidden, sights), sights, strict=True)
    vectors = _together([pool(part, sight.there, architecture.pooling) for part, sight in read])
    if architecture.dense is not None:
        vectors = weights.normed("head", _active(architecture.dense, weights.mapped("dense", vectors)))
    if weights.has("out"):
        vectors = weights.mapped("out", vectors)
    return normalize(vectors) if architecture.normalize else vectors


class _Sight:
    """What the tokens of some texts see of one another, and how far away it is; computed once for all layers."""

    def __init__(self, architecture: Architecture, there: Tensor) -> None:
        self.architecture, self.there = architecture, there
        at = torch.arange(there.shape[1], device=there.device)
        self._distance = at[None, :] - at[:, None]  # from the token that asks to that which is asked
        self._masks: dict[int | None, Tensor | None] = {}
        self._turns: dict[float, tuple[Tensor, Tensor]] = {}
        self._buckets: Tensor | None = None

    def mask(self, layer: Layer) -> Tensor | None:
        """Who is seen: bool [batch or 1, 1, tokens or 1, tokens]; None: everyone."""
        reach = self.architecture.reach[layer.number] if self.architecture.reach else None
        if reach not in self._masks:
            self._masks[reach] = self._seen(reach)
        return self._masks[reach]

    def _seen(self, reach: int | None) -> Tensor | None:
        whole, distance = bool(self.there.all()), self._distance
        near = distance <= 0 if self.architecture.causal else None
        if reach is not None and len(distance) > reach + 1:
            near = distance.abs() <= reach if near is None else near & (distance >= -reach)
        if near is None:
            return None if whole else self.there[:, None, None, :]
        if whole:
            return near[None, None]
        # Padding sees itself, since who sees nobody has no weights; nobody else sees it.
        return near & (self.there[:, None, None, :] | (distance == 0))

    def scores(self, layer: Layer, relative: Tensor | None) -> Tensor | None:
        """What scores are masked by, or what is added to them."""
        mask = self.mask(layer)
        if relative is None:
            return mask
        if self._buckets is None:
            farthest = self.architecture.farthest
            assert farthest is not None, "where scores rest on distances it is known how many are told apart"
            self._buckets = buckets(self._distance, relative.shape[1], farthest)
        added = relative[:, self._buckets][None]
        return added if mask is None else added.masked_fill(~mask, LOWEST)

    def turned(self, layer: Layer, vectors: Tensor) -> Tensor:
        """Queries or keys, [batch, heads, tokens, size], turned by where they stand (Su et al. 2021, "RoFormer")."""
        theta = self.architecture.theta[layer.number] if self.architecture.theta else None
        if theta is None:
            return vectors
        if theta not in self._turns:
            self._turns[theta] = turns(len(self._distance), vectors.shape[-1], theta, vectors.device)
        cosines, sines = self._turns[theta]
        one, other = vectors.chunk(2, dim=-1)
        return vectors * cosines + torch.cat([-other, one], dim=-1) * sines


def _split(values: Tensor, sights: Sequence[_Sight]) -> list[Tensor]:
    """What belongs to tokens, [batch, tokens, ...], by those that see one another: [texts, tokens, ...] each."""
    if len(sights) == 1:
        return [values.view(*sights[0].there.shape, *values.shape[2:])]
    parts = torch.split(values.flatten(0, 1), [sight.there.numel() for sight in sights])
    return [part.view(*sight.there.shape, *part.shape[1:]) for part, sight in zip(parts, sights, strict=True)]


def _together(parts: Sequence[Tensor]) -> Tensor:
    """Parts one after the other; a single one is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _places(ids: Tensor, padding: int | None, sights: Sequence[_Sight]) -> Tensor:
    """As `places`, where each text begins anew."""
    if ids.shape == sights[0].there.shape:
        return places(ids, padding)
    return torch.cat([places(part, padding).expand(part.shape).flatten() for part in _split(ids, sights)])[None]


def _layer(weights: Weights, hidden: Tensor, watch: Watch, *, layer: Layer, sights: Sequence[_Sight]) -> Tensor:
    block, activate = layer.block, sights[0].architecture.activation
    fed = weights.normed(f"preattention_{block}", hidden)
    read = weights.normed(f"postattention_{block}", _attend(weights, fed, watch, layer=layer, sights=sights))
    hidden = weights.normed(f"attention_{block}", watch(f"sums.output_{block}", hidden + read))
    fed = weights.normed(f"preffn_{block}", hidden)
    if weights.has(f"gate_{block}"):
        neurons = _active(activate, weights.mapped(f"gate_{block}", fed)) * weights.mapped(f"up_{block}", fed)
    else:
        neurons = _active(activate, weights.mapped(f"up_{block}", fed))
    said = weights.mapped(f"down_{block}", watch(f"ffn.{block}", neurons))
    whole = watch(f"sums.down_{block}", hidden + weights.normed(f"postffn_{block}", said))
    return weights.normed(f"ffn_{block}", whole)


def _attend(weights: Weights, fed: Tensor, watch: Watch, *, layer: Layer, sights: Sequence[_Sight]) -> Tensor:
    block, architecture = layer.block, sights[0].architecture
    relative = weights.relative(layer.number)
    # In float32 also where maps multiply in less: torch's gradient of attention in bfloat16 takes ten times as long.
    query, key, value = (
        _split(weights.mapped(f"{name}_{block}", fed).float(), sights) for name in ("query", "key", "value")
    )
    contexts = []
    for sight, *of_run in zip(sights, query, key, value, strict=True):
        asked, offered, carried = (
            one.view(*one.shape[:2], -1, architecture.head_dim).transpose(1, 2) for one in of_run
        )  # [texts, heads, tokens, size] each
        context = scaled_dot_product_attention(
            sight.turned(layer, weights.normed(f"queries_{block}", asked)),
            sight.turned(layer, weights.normed(f"keys_{block}", offered)),
            carried,
            attn_mask=sight.scores(layer, relative),
            scale=architecture.scale,
            enable_gqa=architecture.shared > 1,
        )
        context = _watched(watch, f"heads.{block}", context, architecture.shared)
        contexts.append(context.transpose(1, 2).flatten(2).flatten(0, 1))
    return weights.mapped(f"output_{block}", _together(contexts).view(*fed.shape[:2], -1))


def _watched(watch: Watch, name: str, context: Tensor, shared: int) -> Tensor:
    """What heads read, [batch, heads, tokens, size]; those that share keys, which can only go together, are one."""
    if shared == 1:
        return watch(name, context)
    batch, heads, tokens, size = context.shape
    together = context.view(batch, -1, shared, tokens, size).transpose(2, 3).reshape(batch, -1, tokens, shared * size)
    seen = watch(name, together).view(batch, -1, tokens, shared, size)
    return seen.transpose(2, 3).reshape(batch, heads, tokens, size)


def _active(activation: str, vectors: Tensor) -> Tensor:
    return ACTIVATIONS[activation](vectors)


def turns(tokens: int, size: int, theta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """The cosines and sines of rotary positions: float32 [tokens, size] each."""
    speeds = 1.0 / theta ** (torch.arange(0, size, 2, device=device).float() / size)
    angles = torch.outer(torch.arange(tokens, device=device).float(), speeds).repeat(1, 2)
    return angles.cos(), angles.sin()


def buckets(distance: Tensor, count: int, farthest: int) -> Tensor:
    """Distances as T5 tells them apart (Raffel et al. 2020): int64, of the shape of `distance`.

    One half is for what stands before; of each half the first half is exact, and the rest gets wider to `farthest`.

    Args:
        distance: int64, from the token that asks to that which is asked.
        count: of buckets.
        farthest: what is as far or farther is in the last bucket.
    """
    half, exact = count // 2, count // 4
    away = distance.abs()
    wide = (away.clamp_min(1).float() / exact).log() / math.log(farthest / exact) * (half - exact)
    far = (exact + wide.long()).clamp_max(half - 1)
    return torch.where(away < exact, away, far) + half * (distance > 0)
