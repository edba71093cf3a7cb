"""A sentence encoder of the BERT family as plain arrays: what `autoprune.encoder.onnx_graph` writes as a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.encoder.functional import ACTIVATIONS, POOLINGS
from autoprune.errors import AutopruneError, unknown

Array = NDArray[Any]

MOST_CODE = 63
"""Codes of a weight have 7 bits: without VNNI a CPU adds two products with an activation of 8 bits in 16."""


@dataclass(frozen=True, kw_only=True)
class Linear:
    """y = x Wᵀ + b.

    Attributes:
        weight: float32 [out, in], or int8 codes [out, in] in [-63, 63]; of fewer bits, in [-8, 7] and [-2, 1].
        bias: float32 [out].
        scale: float32 [out], for codes: value = code * scale. The input is then quantised as it comes, each row (a
            token) to whole numbers from -127 to 127, which stand for its largest absolute value.
        bits: of a code in the file: 8, 4 or 2.
    """

    weight: Array
    bias: Array
    scale: Array | None = None
    bits: int = 8

    def __post_init__(self) -> None:
        kind = np.float32 if self.scale is None else np.int8
        _holds(self.weight.dtype == kind and self.weight.ndim == 2, f"weight is {kind.__name__} [out, in]", self.weight)
        _holds(self.bias.shape == self.weight.shape[:1], "bias is float32 [out]", self.bias)
        if self.scale is not None:
            _holds(self.scale.shape == self.bias.shape, "scale is float32 [out]", self.scale)
            _holds(self.bits in (8, 4, 2), "bits is 8, 4 or 2", self.bits)
            least, most = (
                (-MOST_CODE, MOST_CODE) if self.bits == 8 else (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1)
            )
            fits = bool(np.all((self.weight >= least) & (self.weight <= most)))
            _holds(fits, f"codes are from {least} to {most}", self.weight)

    @property
    def coded(self) -> bool:
        return self.scale is not None


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A table whose rows are looked up.

    Attributes:
        table: float32 [rows, dim], or packed codes, uint8 [rows, width] with width = ceil(dim * bits / 8), in the
            planes of `autoprune.packing.bits.pack_codes`.
        dim: columns of the table.
        bits: 8, 4, 2 or 1 for codes.
        scale, offset: float32 or float16 [rows], for codes: value = (code * scale + offset) * unit.
        unit: as in `autoprune.packing.codes.RowCodes`.
    """

    table: Array
    dim: int
    bits: int = 8
    scale: Array | None = None
    offset: Array | None = None
    unit: float = 1.0

    def __post_init__(self) -> None:
        _holds(self.bits in (8, 4, 2, 1), "bits is 8, 4, 2 or 1", self.bits)
        _holds((self.scale is None) == (self.offset is None), "scale and offset come together", self.scale)
        coded, rows = self.scale is not None, len(self.table)
        width = -(-self.dim * self.bits // 8) if coded else self.dim
        _holds(self.table.dtype == (np.uint8 if coded else np.float32), "codes are uint8, values float32", self.table)
        _holds(self.table.shape == (rows, width), f"table is [rows, {width}]", self.table)
        for held in (self.scale, self.offset):
            _holds(held is None or held.shape == (rows,), "scale and offset are [rows]", held)


@dataclass(frozen=True, kw_only=True)
class Norm:
    """Layer normalisation: gain and bias, float32 [hidden] each."""

    gain: Array
    bias: Array


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of the encoder; heads and neurons are its own.

    Attributes:
        heads: at least one.
        query, key, value: hidden -> heads * head_dim.
        output: heads * head_dim -> hidden.
        up, down: hidden -> neurons -> hidden.
        attention_norm, output_norm: applied after the sum with what came in.
    """

    heads: int
    query: Linear
    key: Linear
    value: Linear
    output: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    output_norm: Norm


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Embeddings, layers after which a norm stands (Devlin et al. 2019, "BERT"), pooling.

    Attributes:
        word, position: the tables; the row of the one token type is already added to `position`.
        padding: the id that takes row 0 of `position` and is not counted; None: places are counted over all ids.
        norm: of the sum of both.
        project: applied to what was normed; None: the tables are as wide as the layers.
        layers: at least one.
        head_dim: numbers of a head, the same in all layers.
        activation: gelu (exact), gelu_new (with tanh) or relu.
        epsilon: added to the variance in a norm.
        pooling: mean, cls (the first token) or max, over the tokens that the mask keeps.
        dense: applied to what was pooled.
        normalize: whether embeddings get length 1.
    """

    word: Embedding
    position: Embedding
    norm: Norm
    layers: tuple[Layer, ...]
    head_dim: int
    activation: str = "gelu"
    epsilon: float = 1e-12
    pooling: str = "mean"
    padding: int | None = None
    project: Linear | None = None
    dense: Linear | None = None
    normalize: bool = True

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)
        if self.pooling not in POOLINGS:
            raise unknown("pooling", self.pooling, POOLINGS)
        _holds(len(self.layers) > 0, "there is at least one layer", self.layers)
        embedding = self.word.dim
        _holds(self.position.dim == embedding, f"position has {embedding} columns, as word", self.position.dim)
        if self.project is not None:
            weight = self.project.weight
            _holds(weight.shape[1] == embedding, f"project takes {embedding} numbers", weight)
        hidden = self.hidden
        for number, layer in enumerate(self.layers):
            inner, neurons = layer.heads * self.head_dim, len(layer.up.bias)
            _holds(inner > 0 and neurons > 0, f"layer {number} has a head and a neuron", (layer.heads, neurons))
            for name in ("query", "key", "value", "output", "up", "down"):
                out, fed = {"output": (hidden, inner), "up": (neurons, hidden), "down": (hidden, neurons)}.get(
                    name, (inner, hidden)
                )
                weight = getattr(layer, name).weight
                _holds(weight.shape == (out, fed), f"layer {number}: {name} is [{out}, {fed}]", weight)
        if self.dense is not None:
            _holds(self.dense.weight.shape[1] == hidden, f"dense takes {hidden} numbers", self.dense.weight)

    @property
    def hidden(self) -> int:
        """Numbers of a token between layers."""
        return self.word.dim if self.project is None else len(self.project.bias)

    @property
    def out(self) -> int:
        """Numbers of an embedding."""
        return self.hidden if self.dense is None else len(self.dense.bias)


def _holds(rule: bool, what: str, got: object) -> None:
    if not rule:
        shown = f"{got.dtype} {list(got.shape)}" if isinstance(got, np.ndarray) else repr(got)
        raise AutopruneError(f"encoder: {what} must hold, but got {shown}.")
