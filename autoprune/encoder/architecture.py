"""What an encoder is made of: its settings, its tables, and what of them goes together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from autoprune.encoder.prompts import Prompts
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.models.axis import Axis
from autoprune.models.table import Linear, Table

MAPS = ("query", "key", "value", "output", "up", "down")
"""The linear maps of a layer; `up_3` is that of layer 3."""


LATER = ("embedding", "padding", "similarity")
"""Settings that older artifacts lack."""


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
        epsilon: of the layer norms.
        embedding: width of the word and position tables, which are then projected; None: `hidden`, and they are not.
        padding: the id of the piece that has no place of its own: places are counted over the other pieces, and the
            first row of the position table is its; None: every piece has the place where it stands.
        prompts: what the model wants before a text.
        similarity: how vectors are compared, one of `autoprune.encoder.similarity.SIMILARITIES`.
        name: of the dense model, for people.
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

    def settings(self) -> dict[str, Any]:
        """For a manifest. What an encoder does not have is left out, as in artifacts from before it was known."""
        plain = {one.name: one.default for one in dataclasses.fields(self) if one.name in LATER}
        said = {name: value for name, value in dataclasses.asdict(self).items() if name != "prompts"}
        said = {name: value for name, value in said.items() if name not in plain or value != plain[name]}
        return said if self.prompts == Prompts() else {**said, "prompts": dataclasses.asdict(self.prompts)}


class LayerNorm(nn.Module):
    """Layer normalisation (Ba et al. 2016)."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.epsilon = epsilon

    def forward(self, vectors: Tensor) -> Tensor:
        return layer_norm(vectors, self.weight.shape, self.weight, self.bias, self.epsilon)


def tables_and_axes(
    architecture: Architecture,
    tokenizer: Tokenizer,
    *,
    positions: int,
    heads: Sequence[int],
    ffn: Sequence[int],
    out: int,
) -> tuple[dict[str, Table], tuple[Axis, ...]]:
    """The tables of an encoder by name, and what can be cut.

    Args:
        architecture: what is not a weight.
        tokenizer: of the whole vocabulary.
        positions: rows of the position table.
        heads, ffn: of each layer.
        out: dimensions of the vectors.
    """
    size, hidden = architecture.head_dim, architecture.hidden
    embedding = architecture.embedding or hidden
    tables = {
        "word": Table(tokenizer.size, embedding),
        "position": Table(positions, embedding),
        "out": Linear(out, hidden),
    }
    if embedding != hidden:
        tables["project"] = Linear(hidden, embedding)
    axes = [Axis(name="layers", kind="layers"), Axis(name="out", kind="dim", pairs=(("out", 0),))]
    if tokenizer.reducible:
        axes.append(Axis(name="vocab", kind="rows", pairs=(("word", 0),)))
    for layer, (count, neurons) in enumerate(zip(heads, ffn, strict=True)):
        for name in ("query", "key", "value"):
            tables[f"{name}_{layer}"] = Linear(count * size, hidden)
        tables[f"output_{layer}"] = Linear(hidden, count * size)
        tables[f"up_{layer}"], tables[f"down_{layer}"] = Linear(neurons, hidden), Linear(hidden, neurons)
        attention = tuple((f"{name}_{layer}", 0) for name in ("query", "key", "value"))
        axes.append(Axis(name=f"heads.{layer}", kind="heads", pairs=(*attention, (f"output_{layer}", 1)), width=size))
        axes.append(Axis(name=f"ffn.{layer}", kind="ffn", pairs=((f"up_{layer}", 0), (f"down_{layer}", 1))))
    return tables, tuple(axes)
