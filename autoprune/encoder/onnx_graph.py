"""A pruned sentence encoder as an ONNX file, written node by node.

Operators of com.microsoft are part of every onnxruntime. What was measured on one thread of a CPU with AVX512, with
onnxruntime 1.31, decides among them:

- States are [tokens, batch, hidden]: FusedMatMul then takes the heads of queries, keys and values where they lie, and
  only what the heads read is transposed. MultiHeadAttention and Attention copied more: a tenth slower for 32 sentences.
- Sums come before LayerNormalization, and are Sum, not Add, which onnxruntime would join with it to
  SkipLayerNormalization: that took eight times as long. Likewise BiasGelu took longer than Sum and Gelu.
- MatMulIntegerToFloat works at what VNNI can do; MatMulNBits took twice as long with 8 bits, and with AVX2 2.4 times as
  long with 8 and 1.7 times with 4.
- Activations have a scale for each token, which onnxruntime has no operator for: DynamicQuantizeMatMul has one for all
  tokens of a request, so that a text's vector depends on the texts beside it (`docs/latency.md` has what that costs).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autoprune.encoder.onnx_spec import Array, Embedding, Encoder, Layer, Linear, Norm
from autoprune.packing.bits import pack_codes, packed_width

OPSET, IR_VERSION = 18, 8
"""Version 18 brings BitwiseAnd; onnxruntime reads both since 1.14."""
CONTRIB = "com.microsoft"
LOWEST = float(np.finfo(np.float32).min)
SMALLEST = float(np.finfo(np.float32).tiny)
STEP, ZERO = 1 / 127, np.array(128, np.uint8)
"""Of the codes of activations, whose rows are divided by their largest number: value = (code - ZERO) * STEP."""
GELU = {"gelu": "Gelu", "gelu_new": "FastGelu"}


MOST = 2**31 - 2**24
"""Bytes of weights in a graph's own file: a ModelProto has less than 2**31, and nodes and names take some."""
FEW = 1024
"""Bytes of a constant that stays in the graph's own file in any case: onnxruntime looks into small ones."""
BESIDE = "model.onnx.data"
"""The file of weights that a graph has no room for; onnxruntime finds it where the graph lies."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A graph as it is kept.

    Attributes:
        model: a serialised ModelProto.
        data: weights for which it has no room, one behind the other; mostly empty.
        outside: their names → the type, the shape, and where they begin.
    """

    model: bytes
    data: bytes = b""
    outside: dict[str, list[Any]] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """By name; the second one only where there is something in it."""
        return {"model.onnx": self.model, **({BESIDE: self.data} if self.outside else {})}


def build(encoder: Encoder) -> Written:
    """The files of a graph.

    Inputs: input_ids and attention_mask, int64 [batch, tokens]; the mask has 1 where a token is, 0 where none is. Where
    token types are told apart, token_type_ids as well. Output: `Encoder.output`, float32 [batch, out].
    """
    graph = _Graph()
    hidden = _embed(graph, encoder)
    sight = _Sight(graph, encoder)
    for layer in encoder.layers:
        first = layer is encoder.layers[-1] and encoder.pooling == "cls"  # nothing else of the last layer is read
        hidden = _layer(graph, hidden, layer, encoder, sight.first() if first else sight)
    hidden = _normed(graph, [hidden], encoder.final, encoder.epsilon)
    result = _pool(graph, hidden, encoder.pooling)
    if encoder.dense is not None:
        result = _activate(graph, _linear(graph, result, encoder.dense), encoder.dense_activation)
        result = _normed(graph, [result], encoder.dense_norm, encoder.epsilon)
    if encoder.projection is not None:
        result = _linear(graph, result, encoder.projection)
    if encoder.normalize:
        result = graph.node("LpNormalization", [result], axis=-1, p=2)
    graph.node("Identity", [result], output=encoder.output)
    return graph.written(encoder)


class _Graph:
    """Nodes and constants in the order in which they are added; every value is named once."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.known: dict[tuple[Any, ...], str] = {}
        self.names = (f"v{number}" for number in itertools.count())

    def node(self, operator: str, inputs: list[str], *, output: str = "", domain: str = "", **attributes: Any) -> str:
        """Adds a node of one output and returns its name."""
        output = output or next(self.names)
        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def contrib(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        """Adds a node of com.microsoft."""
        return self.node(operator, inputs, domain=CONTRIB, **attributes)

    def quantize(self, value: str) -> tuple[str, str]:
        """Codes of a float32 tensor [..., in], uint8 with `ZERO` for 0, and the largest of each row, [..., 1].

        A row alone decides its codes: what stands beside it, padding included, changes nothing.
        """
        largest = self.node("ReduceMax", [self.node("Abs", [value]), self.numbers(-1)], keepdims=1)
        largest = self.node("Max", [largest, self.number(SMALLEST)])  # a row of zeros is divided as well
        even = self.node("Div", [value, largest])
        return self.node("QuantizeLinear", [even, self.number(STEP), self.constant(ZERO)]), largest

    def constant(self, value: Array) -> str:
        """The name of a value; equal ones stand in the file once."""
        value = np.array(value, order="C")
        content = value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).digest()
        if content not in self.known:
            self.known[content] = next(self.names)
            self.constants.append(numpy_helper.from_array(value, self.known[content]))
        return self.known[content]

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def numbers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def written(self, encoder: Encoder) -> Written:
        """The files; where the graph has no room for its weights the large ones lie beside it."""
        weights = sum(len(one.raw_data) for one in self.constants)
        large = [one for one in self.constants if len(one.raw_data) >= FEW] if weights > MOST else []
        outside, data, start = dict[str, list[Any]](), list[bytes](), 0
        for one in large:
            held = one.raw_data
            outside[one.name] = [helper.tensor_dtype_to_np_dtype(one.data_type).name, list(one.dims), start]
            one.ClearField("raw_data")
            one.data_location = TensorProto.EXTERNAL
            for key, value in (("location", BESIDE), ("offset", start), ("length", len(held))):
                one.external_data.add(key=key, value=str(value))
            data.append(held)
            start += len(held)
        return Written(model=self._model(encoder).SerializeToString(), data=b"".join(data), outside=outside)

    def _model(self, encoder: Encoder) -> onnx.ModelProto:
        names = ["input_ids", "attention_mask", *(["token_type_ids"] if encoder.segment is not None else [])]
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names]
        result = helper.make_tensor_value_info(encoder.output, TensorProto.FLOAT, ["batch", encoder.out])
        graph = helper.make_graph(self.nodes, "encoder", inputs, [result], self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="autoprune")


def _embed(graph: _Graph, encoder: Encoder) -> str:
    """float32 [tokens, batch, hidden]."""
    ids = graph.node("Transpose", ["input_ids"], perm=[1, 0])
    terms = [_decode(graph, encoder.word, lambda table: graph.node("Gather", [table, ids]))]
    if encoder.segment is not None:
        kinds = graph.node("Transpose", ["token_type_ids"], perm=[1, 0])
        terms.append(_decode(graph, encoder.segment, lambda table: graph.node("Gather", [table, kinds])))
    if encoder.position is not None and encoder.padding is not None:
        terms.append(_decode(graph, encoder.position, _counted(graph, ids, encoder.padding)))
    elif encoder.position is not None:
        tokens = graph.node("Shape", ["input_ids"], start=1, end=2)

        def first(table: str) -> str:
            return graph.node("Slice", [table, graph.numbers(0), tokens, graph.numbers(0)])

        terms.append(graph.node("Unsqueeze", [_decode(graph, encoder.position, first), graph.numbers(1)]))
    normed = _normed(graph, terms, encoder.norm, encoder.epsilon)
    return normed if encoder.project is None else _linear(graph, normed, encoder.project)


def _counted(graph: _Graph, ids: str, padding: int) -> Callable[[str], str]:
    """Looks up the places of ids, counted over those that are not the padding, which takes row 0."""
    same = graph.node("Equal", [ids, graph.constant(np.array(padding, np.int64))])
    counted = graph.node("Cast", [graph.node("Not", [same])], to=TensorProto.INT64)
    places = graph.node("Mul", [graph.node("CumSum", [counted, graph.constant(np.array(0, np.int64))]), counted])
    return lambda table: graph.node("Gather", [table, places])


def _decode(graph: _Graph, table: Embedding, rows: Callable[[str], str]) -> str:
    """Looks rows up with `rows`, and decodes those alone."""
    found = rows(graph.constant(table.table))
    if table.scale is None or table.offset is None:
        return found
    found = _unpacked(graph, found, table.bits, table.dim)
    scale, offset = (_of_row(graph, held, table.unit, rows) for held in (table.scale, table.offset))
    codes = graph.node("Cast", [found], to=TensorProto.FLOAT)
    return graph.node("Add", [graph.node("Mul", [codes, scale]), offset])


def _unpacked(graph: _Graph, packed: str, bits: int, dim: int) -> str:
    """The codes in planes of bytes (`autoprune.packing.bits.pack_codes`), uint8 [..., dim]."""
    if bits == 8:
        return packed
    if bits == 3:
        width, end, last = (graph.numbers(number) for number in (packed_width(dim, 2), packed_width(dim, 3), -1))
        one = graph.constant(np.array(1, np.uint8))
        low = _unpacked(graph, graph.node("Slice", [packed, graph.numbers(0), width, last]), 2, dim)
        side = _unpacked(graph, graph.node("Slice", [packed, width, end, last]), 1, dim)
        below = graph.node("BitwiseXor", [side, one])
        mirror = graph.node("BitwiseOr", [below, graph.node("BitShift", [below, one], direction="LEFT")])
        third = graph.node("BitShift", [side, graph.constant(np.array(2, np.uint8))], direction="LEFT")
        return graph.node("BitwiseOr", [graph.node("BitwiseXor", [low, mirror]), third])
    planes = []
    for shift in range(0, 8, bits):
        plane = packed
        if shift:
            plane = graph.node("BitShift", [plane, graph.constant(np.array(shift, np.uint8))], direction="RIGHT")
        if shift + bits < 8:
            plane = graph.node("BitwiseAnd", [plane, graph.constant(np.array(2**bits - 1, np.uint8))])
        planes.append(plane)
    codes = graph.node("Concat", planes, axis=-1)
    if dim * bits % 8:
        codes = graph.node("Slice", [codes, graph.numbers(0), graph.numbers(dim), graph.numbers(-1)])
    return codes


def _weight(graph: _Graph, linear: Linear) -> str:
    """What is multiplied by, [in, out]. Fewer bits than 8 are a saving in the file: widened once, when it is loaded."""
    if linear.scale is None or linear.bits == 8:
        return graph.constant(linear.weight.T)
    zero = 2 ** (linear.bits - 1)
    packed = pack_codes((linear.weight.T.astype(np.int16) + zero).astype(np.uint8), linear.bits)
    codes = _unpacked(graph, graph.constant(packed), linear.bits, len(linear.weight))
    wide = graph.node(
        "Sub", [graph.node("Cast", [codes], to=TensorProto.INT32), graph.constant(np.array(zero, np.int32))]
    )
    return graph.node("Cast", [wide], to=TensorProto.INT8)


def _of_row(graph: _Graph, held: Array, unit: float, rows: Callable[[str], str]) -> str:
    """One float32 for each row that was looked up, in the file as narrow as it came."""
    found = rows(graph.constant(held[:, None]))
    if held.dtype != np.float32:
        found = graph.node("Cast", [found], to=TensorProto.FLOAT)
    return found if unit == 1 else graph.node("Mul", [found, graph.number(unit)])


class _Sight:
    """What tokens see of one another; each part of it is computed once for all layers that need it.

    Args:
        graph, encoder: of all layers.
        asking: how many tokens ask, the first ones; None: all.
    """

    def __init__(self, graph: _Graph, encoder: Encoder, asking: int | None = None) -> None:
        self._graph, self._encoder, self.asking = graph, encoder, asking
        self._known: dict[Any, Any] = {}

    def first(self) -> _Sight:
        """The same where the first token alone asks."""
        return _Sight(self._graph, self._encoder, 1)

    def asked(self, states: str) -> str:
        """Of what stands for tokens, [tokens, ...], what stands for those that ask."""
        if self.asking is None:
            return states
        graph = self._graph
        return graph.node("Slice", [states, graph.numbers(0), graph.numbers(self.asking), graph.numbers(0)])

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def places(self) -> str:
        """Where tokens stand: int64 [tokens]."""
        graph = self._graph

        def make() -> str:
            one = graph.constant(np.array(1, np.int64))
            tokens = graph.node("Squeeze", [graph.node("Shape", ["input_ids"], start=1, end=2)])
            return graph.node("Range", [graph.constant(np.array(0, np.int64)), tokens, one])

        return str(self._once("places", make))

    def distance(self) -> str:
        """From each token that asks to each that is asked: int64 [asking, tokens]."""
        graph = self._graph

        def make() -> str:
            asking = graph.node("Unsqueeze", [self.asked(self.places()), graph.numbers(1)])
            return graph.node("Sub", [graph.node("Unsqueeze", [self.places(), graph.numbers(0)]), asking])

        return str(self._once("distance", make))

    def penalty(self, reach: int | None) -> str:
        """float32 [batch, 1, 1 or asking, tokens]: what scores lose where no token is, or none that is seen."""
        return str(self._once(("penalty", reach), lambda: self._penalty(reach)))

    def _penalty(self, reach: int | None) -> str:
        graph = self._graph
        seen = graph.node(
            "Cast", [graph.node("Unsqueeze", ["attention_mask", graph.numbers(1, 2)])], to=TensorProto.BOOL
        )
        ends = [(0, "LessOrEqual")] if self._encoder.causal else []
        if reach is not None:
            ends += [(-reach, "GreaterOrEqual")] + ([] if self._encoder.causal else [(reach, "LessOrEqual")])
        for end, operator in ends:
            near = graph.node(operator, [self.distance(), graph.constant(np.array(end, np.int64))])
            seen = graph.node("And", [seen, near])
        return graph.node("Where", [seen, graph.number(0), graph.number(LOWEST)])

    def added(self, layer: Layer) -> list[str]:
        """What is added to the scores of a layer, each float32 [batch or 1, heads or 1, asking or 1, tokens]."""
        graph, held = self._graph, layer.distances
        found = [self.penalty(layer.reach)]
        if held is not None:
            table, farthest = graph.constant(held), held.shape[1] // 2

            def make() -> str:
                ends = [graph.constant(np.array(end, np.int64)) for end in (-farthest, farthest)]
                near = graph.node("Clip", [self.distance(), *ends])
                at = graph.node("Add", [near, graph.constant(np.array(farthest, np.int64))])
                return graph.node("Unsqueeze", [graph.node("Gather", [table, at], axis=1), graph.numbers(0)])

            found.append(str(self._once(("distances", table), make)))
        return found

    def turned(self, layer: Layer, vectors: str, *, asking: bool) -> str:
        """Queries or keys, float32 [tokens, batch, heads, head_dim], turned by where they stand."""
        if layer.theta is None:
            return vectors
        graph, half, theta = self._graph, self._encoder.head_dim // 2, layer.theta

        def make() -> tuple[str, str]:
            size = self._encoder.head_dim
            speeds = (1 / theta ** (np.arange(0, size, 2, dtype=np.float32) / size)).astype(np.float32)
            at = graph.node("Cast", [self.asked(self.places()) if asking else self.places()], to=TensorProto.FLOAT)
            at = graph.node("Unsqueeze", [at, graph.numbers(1, 2, 3)])
            angles = graph.node("Mul", [at, graph.constant(np.concatenate([speeds, speeds]))])
            return graph.node("Cos", [angles]), graph.node("Sin", [angles])

        cosines, sines = self._once(("turns", theta, asking and self.asking is not None), make)
        one, other = (
            graph.node("Slice", [vectors, graph.numbers(start), graph.numbers(end), graph.numbers(-1)])
            for start, end in ((0, half), (half, 2 * half))
        )
        across = graph.node("Concat", [graph.node("Neg", [other]), one], axis=-1)
        return graph.node("Add", [graph.node("Mul", [vectors, cosines]), graph.node("Mul", [across, sines])])


def _layer(graph: _Graph, hidden: str, layer: Layer, encoder: Encoder, sight: _Sight) -> str:
    """float32 [asking, batch, hidden]."""
    epsilon = encoder.epsilon
    fed = _normed(graph, [hidden], layer.before_attention, epsilon)
    read = _linear(graph, _attend(graph, fed, layer, encoder, sight), layer.output)
    read = _normed(graph, [read], layer.after_attention, epsilon)
    hidden = _normed(graph, [read, sight.asked(hidden)], layer.attention_norm, epsilon)
    fed = _normed(graph, [hidden], layer.before_neurons, epsilon)
    codes = graph.quantize(fed) if layer.up.coded and layer.gate is not None and layer.gate.coded else None
    inner = _linear(graph, fed, layer.up, codes=codes)
    if layer.gate is None:
        inner = _activate(graph, inner, encoder.activation)
    else:
        gates = _activate(graph, _linear(graph, fed, layer.gate, codes=codes), encoder.activation)
        inner = graph.node("Mul", [gates, inner])
    said = _normed(graph, [_linear(graph, inner, layer.down)], layer.after_neurons, epsilon)
    return _normed(graph, [said, hidden], layer.output_norm, epsilon)


def _attend(graph: _Graph, told: str, layer: Layer, encoder: Encoder, sight: _Sight) -> str:
    """float32 [asking, batch, heads * head_dim]: what the heads of a layer read."""
    asking, size, shared = sight.asked(told), encoder.head_dim, encoder.shared
    maps, fed = (layer.query, layer.key, layer.value), (asking, told, told)
    several = sum(one.coded and states == told for one, states in zip(maps, fed, strict=True)) > 1
    codes = graph.quantize(told) if several else None
    query, key, value = (
        graph.node(
            "Reshape",
            [_linear(graph, states, one, codes=codes if states == told else None), graph.numbers(0, 0, -1, size)],
        )
        for states, one in zip(fed, maps, strict=True)
    )
    query = sight.turned(layer, _normed(graph, [query], layer.queries, encoder.epsilon), asking=True)
    key = sight.turned(layer, _normed(graph, [key], layer.keys, encoder.epsilon), asking=False)
    if shared > 1:
        heads = graph.numbers(*np.repeat(np.arange(layer.heads), shared).tolist())
        key, value = (graph.node("Gather", [one, heads], axis=2) for one in (key, value))
    scale = size**-0.5 if encoder.scale is None else encoder.scale
    scores = graph.contrib(
        "FusedMatMul", [query, key], transB=1, transBatchA=1, transBatchB=1, alpha=scale
    )  # [batch, heads, asking, tokens]
    for one in sight.added(layer):
        scores = graph.node("Add", [scores, one])
    weights = graph.node("Softmax", [scores], axis=-1)
    read = graph.contrib("FusedMatMul", [weights, value], transBatchB=1)
    read = graph.node("Transpose", [read], perm=[2, 0, 1, 3])
    return graph.node("Reshape", [read, graph.numbers(0, 0, shared * layer.heads * size)])


def _linear(graph: _Graph, fed: str, linear: Linear, *, codes: tuple[str, str] | None = None) -> str:
    """`codes`: what `_Graph.quantize` made of `fed`, where others need it as well."""
    weight = _weight(graph, linear)
    if linear.scale is None:
        product = graph.node("MatMul", [fed, weight])
    else:
        coded, largest = codes or graph.quantize(fed)
        scales = graph.number(STEP), graph.constant(linear.scale)
        product = graph.contrib("MatMulIntegerToFloat", [coded, weight, *scales, graph.constant(ZERO)])
        product = graph.node("Mul", [product, largest])
    return product if linear.bias is None else graph.node("Sum", [product, graph.constant(linear.bias)])


def _activate(graph: _Graph, inner: str, activation: str | None) -> str:
    if activation is None:
        return inner
    if activation == "silu":
        return graph.node("Mul", [inner, graph.node("Sigmoid", [inner])])
    plain = {"relu": "Relu", "tanh": "Tanh"}
    if activation in plain:
        return graph.node(plain[activation], [inner])
    return graph.contrib(GELU[activation], [inner])


def _normed(graph: _Graph, terms: list[str], norm: Norm | None, epsilon: float) -> str:
    """The sum of terms after a norm."""
    total = graph.node("Sum", terms) if len(terms) > 1 else terms[0]
    if norm is None:
        return total
    gain = graph.constant(norm.gain)
    if not norm.rms:
        given = [total, gain] + ([] if norm.bias is None else [graph.constant(norm.bias)])
        return graph.node("LayerNormalization", given, axis=-1, epsilon=epsilon)
    # As onnxruntime knows it again and makes one kernel of it: with Mul in place of Pow it would not.
    mean = graph.node("ReduceMean", [graph.node("Pow", [total, graph.number(2)]), graph.numbers(-1)], keepdims=1)
    length = graph.node("Sqrt", [graph.node("Add", [mean, graph.number(epsilon)])])
    return graph.node("Mul", [graph.node("Div", [total, length]), gain])


def _pool(graph: _Graph, hidden: str, pooling: str) -> str:
    """float32 [batch, hidden]."""
    if pooling == "cls":
        return graph.node("Gather", [hidden, graph.constant(np.array(0, np.int64))], axis=0)
    if pooling == "max":
        there = graph.node("Unsqueeze", [graph.node("Transpose", ["attention_mask"], perm=[1, 0]), graph.numbers(-1)])
        there = graph.node("Cast", [there], to=TensorProto.BOOL)
        shown = graph.node("Where", [there, hidden, graph.number(LOWEST)])
        return graph.node("ReduceMax", [shown, graph.numbers(0)], keepdims=0)
    weights = graph.node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    if pooling in ("lasttoken", "weightedmean"):
        place = graph.node("CumSum", [weights, graph.constant(np.array(1, np.int64))])
        if pooling == "lasttoken":
            count = graph.node("ReduceSum", [weights, graph.numbers(1)], keepdims=1)
            place = graph.node("Cast", [graph.node("Equal", [place, count])], to=TensorProto.FLOAT)
        weights = graph.node("Mul", [weights, place])
    row = graph.node("Unsqueeze", [weights, graph.numbers(1)])
    total = graph.contrib("FusedMatMul", [row, hidden], transBatchB=1)
    total = graph.node("Squeeze", [total, graph.numbers(1)])
    if pooling == "lasttoken":
        return total
    count = graph.node("Max", [graph.node("ReduceSum", [weights, graph.numbers(1)], keepdims=1), graph.number(1)])
    return graph.node("Div", [total, graph.node("Sqrt", [count]) if pooling == "mean_sqrt_len_tokens" else count])
