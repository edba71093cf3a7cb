"""A sentence encoder as plain arrays, from which `autoprune.encoder.onnx.build` writes a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.encoder.functional import ACTIVATIONS, POOLINGS
from autoprune.errors import AutopruneError, unknown
from autoprune.packing.bits import packed_width

Array = NDArray[Any]

MOST_CODE = 63
"""Codes of a weight have 7 bits: without VNNI a CPU adds two products with 8-bit activations in 16 bits."""


@dataclass(frozen=True, kw_only=True)
class Linear:
    """y = x Wᵀ + b.

    Attributes:
        weight: float32 [out, in], or int8 codes [out, in] in [-63, 63]; of n < 8 bits, in [-2^(n-1), 2^(n-1) - 1].
        bias: float32 [out]; None: zeros.
        scale: float32 [out], for codes: value = code * scale. The inputs are then quantised at run time, each row (a
            token) to whole numbers from -127 to 127, where 127 stands for its largest absolute value.
        bits: bits of a code in the file: 8, 4, 3 or 2.
    """

    weight: Array
    bias: Array | None
    scale: Array | None = None
    bits: int = 8

    def __post_init__(self) -> None:
        kind = np.float32 if self.scale is None else np.int8
        _holds(self.weight.dtype == kind and self.weight.ndim == 2, f"weight is {kind.__name__} [out, in]", self.weight)
        _holds(self.bias is None or self.bias.shape == self.weight.shape[:1], "bias is float32 [out]", self.bias)
        if self.scale is not None:
            _holds(self.scale.shape == self.weight.shape[:1], "scale is float32 [out]", self.scale)
            _holds(self.bits in (8, 4, 3, 2), "bits is 8, 4, 3 or 2", self.bits)
            least, most = (
                (-MOST_CODE, MOST_CODE) if self.bits == 8 else (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1)
            )
            fits = bool(np.all((self.weight >= least) & (self.weight <= most)))
            _holds(fits, f"codes are from {least} to {most}", self.weight)

    @property
    def coded(self) -> bool:
        return self.scale is not None

    @property
    def out(self) -> int:
        """Number of outputs."""
        return len(self.weight)


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A table whose rows are looked up.

    Attributes:
        table: float32 [rows, dim], or codes as `autoprune.packing.bits.pack_codes` packs them, uint8 [rows, width].
        dim: columns of the table.
        bits: 8, 4, 3, 2 or 1 for codes.
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
        _holds(self.bits in (8, 4, 3, 2, 1), "bits is 8, 4, 3, 2 or 1", self.bits)
        _holds((self.scale is None) == (self.offset is None), "scale and offset come together", self.scale)
        coded, rows = self.scale is not None, len(self.table)
        width = packed_width(self.dim, self.bits) if coded else self.dim
        _holds(self.table.dtype == (np.uint8 if coded else np.float32), "codes are uint8, values float32", self.table)
        _holds(self.table.shape == (rows, width), f"table is [rows, {width}]", self.table)
        for held in (self.scale, self.offset):
            _holds(held is None or held.shape == (rows,), "scale and offset are [rows]", held)


@dataclass(frozen=True, kw_only=True)
class Norm:
    """Layer normalisation, or RMS normalisation.

    Attributes:
        gain: float32 [hidden].
        bias: float32 [hidden]; None: zeros.
        rms: whether the mean is not subtracted.
    """

    gain: Array
    bias: Array | None = None
    rms: bool = False


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of the encoder, with its own numbers of heads and neurons. A norm that is None is skipped.

    Attributes:
        heads: heads with keys and values, at least one; each serves `Encoder.shared` heads.
        query, key, value: hidden -> heads * head_dim, of queries `shared` times as many.
        output: shared * heads * head_dim -> hidden.
        up, down: hidden -> neurons -> hidden.
        gate: hidden -> neurons; its activations multiply the outputs of `up`. None: the activation is applied to `up`.
        attention_norm, output_norm: applied after the residual sum.
        before_attention, before_neurons: applied to the inputs of attention and of neurons.
        after_attention, after_neurons: applied to their outputs, before the residual sum.
        queries, keys: applied to the queries and keys of each head.
        reach: the distance up to which tokens attend to one another; None: they attend to all.
        theta: the base of rotary positions; None: there are none.
        distances: what is added to the scores of each head, float32 [heads, 2 * farthest + 1], from the farthest
            key before the query to the farthest key after it; None: nothing.
    """

    heads: int
    query: Linear
    key: Linear
    value: Linear
    output: Linear
    up: Linear
    down: Linear
    gate: Linear | None = None
    attention_norm: Norm | None = None
    output_norm: Norm | None = None
    before_attention: Norm | None = None
    after_attention: Norm | None = None
    before_neurons: Norm | None = None
    after_neurons: Norm | None = None
    queries: Norm | None = None
    keys: Norm | None = None
    reach: int | None = None
    theta: float | None = None
    distances: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Embeddings, layers (Vaswani et al. 2017), pooling.

    Attributes:
        word, position: the tables; a single token type is already added to `position`. None: no position table.
        segment: the table of token types, if there are several; None: there is one.
        padding: the id that takes row 0 of `position` and is not counted; None: positions are counted over all ids.
        norm: applied to the sum of the tables; None: there is none.
        project: applied after this norm; None: the tables are as wide as the layers.
        layers: at least one.
        head_dim: dimensions of a head, the same in all layers.
        shared: heads that share one head's keys and values.
        scale: factor of the attention scores; None: head_dim ** -0.5.
        causal: whether a token attends only to itself and the tokens before it.
        activation: one of `autoprune.encoder.functional.ACTIVATIONS`.
        epsilon: added to the variance in a norm.
        final: the norm after the last layer; None: there is none.
        pooling: one of `autoprune.encoder.functional.POOLINGS`, over the tokens that the mask keeps.
        dense, dense_activation, dense_norm: a layer after the pooling.
        projection: a linear layer after it.
        normalize: whether vectors are scaled to length 1.
        output: name of the output.
    """

    word: Embedding
    layers: tuple[Layer, ...]
    head_dim: int
    position: Embedding | None = None
    segment: Embedding | None = None
    norm: Norm | None = None
    shared: int = 1
    scale: float | None = None
    causal: bool = False
    activation: str = "gelu"
    epsilon: float = 1e-12
    final: Norm | None = None
    pooling: str = "mean"
    padding: int | None = None
    project: Linear | None = None
    dense: Linear | None = None
    dense_activation: str | None = None
    dense_norm: Norm | None = None
    projection: Linear | None = None
    normalize: bool = True
    output: str = "sentence_embedding"

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)
        if self.pooling not in POOLINGS:
            raise unknown("pooling", self.pooling, POOLINGS)
        _holds(len(self.layers) > 0, "there is at least one layer", self.layers)
        embedding = self.word.dim
        for name in ("position", "segment"):
            table: Embedding | None = getattr(self, name)
            if table is not None:
                _holds(table.dim == embedding, f"{name} has {embedding} columns, as word", table.dim)
        if self.project is not None:
            weight = self.project.weight
            _holds(weight.shape[1] == embedding, f"project takes {embedding} numbers", weight)
        for number, layer in enumerate(self.layers):
            self._check_layer(number, layer)
        width = self.hidden
        for name in ("dense", "projection"):
            layer_after: Linear | None = getattr(self, name)
            if layer_after is not None:
                _holds(layer_after.weight.shape[1] == width, f"{name} takes {width} numbers", layer_after.weight)
                width = layer_after.out

    def _check_layer(self, number: int, layer: Layer) -> None:
        hidden, inner, neurons = self.hidden, layer.heads * self.head_dim, layer.up.out
        _holds(inner > 0 and neurons > 0, f"layer {number} has a head and a neuron", (layer.heads, neurons))
        queries = self.shared * inner
        shapes = {"query": (queries, hidden), "key": (inner, hidden), "value": (inner, hidden)}
        shapes |= {"output": (hidden, queries), "up": (neurons, hidden), "gate": (neurons, hidden)}
        for name, shape in {**shapes, "down": (hidden, neurons)}.items():
            linear: Linear | None = getattr(layer, name)
            if linear is not None:
                _holds(linear.weight.shape == shape, f"layer {number}: {name} is {list(shape)}", linear.weight)

    @property
    def hidden(self) -> int:
        """Width of the layers."""
        return self.word.dim if self.project is None else self.project.out

    @property
    def out(self) -> int:
        """Dimensions of a vector."""
        last = self.projection or self.dense
        return self.hidden if last is None else last.out


def _holds(rule: bool, what: str, got: object) -> None:
    if not rule:
        shown = f"{got.dtype} {list(got.shape)}" if isinstance(got, np.ndarray) else repr(got)
        raise AutopruneError(f"encoder: {what} must hold, but got {shown}.")
