"""The sizes of an encoder, and the tables, norms and axes that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoprune.encoder.architecture import MAPS, Architecture, normed
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.models.axis import Axis
from autoprune.models.table import Linear, Table


class Norm(nn.Module):
    """Layer normalisation (Ba et al. 2016), or RMS normalisation (Zhang & Sennrich 2019).

    Attributes:
        bias: None for a norm without bias.
    """

    bias: nn.Parameter | None

    def __init__(self, size: int, epsilon: float, *, bias: bool = True, rms: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.register_parameter("bias", nn.Parameter(torch.zeros(size)) if bias else None)
        self.epsilon, self.rms = epsilon, rms

    def forward(self, vectors: Tensor) -> Tensor:
        return normed(vectors, self.weight, self.bias, self.epsilon, rms=self.rms)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of an encoder, and which weights it has.

    Attributes:
        positions: rows of the position table; 0: there is no such table.
        segments: rows of the table of token types; 0: there is no such table, since all tokens have the first type.
        heads: heads with keys and values, of each block.
        ffn: neurons of each block.
        out: dimensions of the vectors.
        dense: outputs of the layer after the pooling; 0: there is no such layer.
        buckets: buckets of distances, for which scores are learned; 0: scores do not depend on distances.
        gated: whether neurons have gates (Shazeer 2020, "GLU Variants Improve Transformer").
        biased: the linear layers that have a bias, and `norm` if norms have one.
        norms: names of the norms.
    """

    positions: int
    segments: int = 0
    heads: Sequence[int]
    ffn: Sequence[int]
    out: int
    dense: int = 0
    buckets: int = 0
    gated: bool = False
    biased: Sequence[str] = (*MAPS, "norm", "project", "dense")
    norms: Sequence[str]


def tables_and_axes(
    architecture: Architecture, tokenizer: Tokenizer, sizes: Sizes
) -> tuple[dict[str, Table], tuple[Axis, ...]]:
    """The tables of an encoder by name, and its axes."""
    size, hidden, shared = architecture.head_dim, architecture.hidden, architecture.shared
    embedding = architecture.embedding or hidden
    tables: dict[str, Table] = {"word": Table(tokenizer.size, embedding)}
    if sizes.positions:
        tables["position"] = Table(sizes.positions, embedding)
    if sizes.segments:
        tables["segment"] = Table(sizes.segments, embedding)
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
        shapes = {"query": (shared * inner, hidden), "key": (inner, hidden), "value": (inner, hidden)}
        shapes |= {"output": (hidden, shared * inner), "up": (neurons, hidden), "down": (hidden, neurons)}
        shapes |= {"gate": (neurons, hidden)} if sizes.gated else {}
        tables |= {f"{name}_{block}": Linear(*shape, bias=name in sizes.biased) for name, shape in shapes.items()}
        axes.append(_heads(block, width=size, shared=shared))
        inward = ("up", "gate") if sizes.gated else ("up",)
        pairs = (*((f"{name}_{block}", 0) for name in inward), (f"down_{block}", 1))
        axes.append(Axis(name=f"ffn.{block}", kind="ffn", pairs=pairs))
    return tables, tuple(axes)


def _heads(block: int, *, width: int, shared: int) -> Axis:
    """The heads of a block; heads that share keys and values count as one."""
    pairs = (*((f"{name}_{block}", 0) for name in ("query", "key", "value")), (f"output_{block}", 1))
    several = (shared, 1, 1, shared) if shared > 1 else ()
    return Axis(name=f"heads.{block}", kind="heads", pairs=pairs, width=width, several=several)
