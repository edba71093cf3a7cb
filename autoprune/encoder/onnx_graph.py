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
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autoprune.encoder.onnx_spec import Array, Embedding, Encoder, Layer, Linear, Norm
from autoprune.packing.bits import pack_codes

OPSET, IR_VERSION = 18, 8
"""Version 18 brings BitwiseAnd; onnxruntime reads both since 1.14."""
CONTRIB = "com.microsoft"
LOWEST = float(np.finfo(np.float32).min)
SMALLEST = float(np.finfo(np.float32).tiny)
STEP, ZERO = 1 / 127, np.array(128, np.uint8)
"""Of the codes of activations, whose rows are divided by their largest number: value = (code - ZERO) * STEP."""
GELU = {"gelu": "Gelu", "gelu_new": "FastGelu"}


def build(encoder: Encoder) -> bytes:
    """The file: a serialised ModelProto.

    Inputs: input_ids and attention_mask, int64 [batch, tokens]; the mask has 1 where a token is, 0 where none is.
    Output: sentence_embedding, float32 [batch, out].
    """
    graph = _Graph()
    hidden = _embed(graph, encoder)
    penalty = _penalty(graph)
    for layer in encoder.layers:
        asking = hidden
        if layer is encoder.layers[-1] and encoder.pooling == "cls":  # nothing else of the last layer is read
            asking = graph.node("Slice", [hidden, graph.numbers(0), graph.numbers(1), graph.numbers(0)])
        read = _attend(graph, asking, hidden, penalty, layer, encoder.head_dim)
        hidden = _normed(graph, [_linear(graph, read, layer.output), asking], layer.attention_norm, encoder.epsilon)
        inner = _activate(graph, _linear(graph, hidden, layer.up), encoder.activation)
        hidden = _normed(graph, [_linear(graph, inner, layer.down), hidden], layer.output_norm, encoder.epsilon)
    result = _pool(graph, hidden, encoder.pooling)
    if encoder.dense is not None:
        result = _linear(graph, result, encoder.dense)
    if encoder.normalize:
        result = graph.node("LpNormalization", [result], axis=-1, p=2)
    graph.node("Identity", [result], output="sentence_embedding")
    content: bytes = graph.model(encoder.out).SerializeToString()
    return content


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

    def model(self, out: int) -> onnx.ModelProto:
        ids, mask = (
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        )
        embedding = helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", out])
        graph = helper.make_graph(self.nodes, "encoder", [ids, mask], [embedding], self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="autoprune")


def _embed(graph: _Graph, encoder: Encoder) -> str:
    """float32 [tokens, batch, hidden]."""
    ids = graph.node("Transpose", ["input_ids"], perm=[1, 0])
    tokens = graph.node("Shape", ["input_ids"], start=1, end=2)

    def looked_up(table: str) -> str:
        return graph.node("Gather", [table, ids])

    def first(table: str) -> str:
        return graph.node("Slice", [table, graph.numbers(0), tokens, graph.numbers(0)])

    words = _decode(graph, encoder.word, looked_up)
    if encoder.padding is None:
        places = graph.node("Unsqueeze", [_decode(graph, encoder.position, first), graph.numbers(1)])
    else:
        places = _decode(graph, encoder.position, _counted(graph, ids, encoder.padding))
    normed = _normed(graph, [words, places], encoder.norm, encoder.epsilon)
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


def _penalty(graph: _Graph) -> str:
    """float32 [batch, 1, 1, tokens]: what scores lose where no token is."""
    there = graph.node("Unsqueeze", ["attention_mask", graph.numbers(1, 2)])
    there = graph.node("Cast", [there], to=TensorProto.BOOL)
    return graph.node("Where", [there, graph.number(0), graph.number(LOWEST)])


def _attend(graph: _Graph, asking: str, told: str, penalty: str, layer: Layer, head_dim: int) -> str:
    """float32 [tokens that ask, batch, heads * head_dim]: what the heads of a layer read."""
    maps = (layer.query, layer.key, layer.value)
    fed = (asking, told, told)
    shared = sum(one.coded and states == told for one, states in zip(maps, fed, strict=True)) > 1
    codes = graph.quantize(told) if shared else None
    query, key, value = (
        graph.node(
            "Reshape",
            [
                _linear(graph, states, one, codes=codes if states == told else None),
                graph.numbers(0, 0, layer.heads, head_dim),
            ],
        )
        for states, one in zip(fed, maps, strict=True)
    )
    scores = graph.contrib(
        "FusedMatMul", [query, key], transB=1, transBatchA=1, transBatchB=1, alpha=head_dim**-0.5
    )  # [batch, heads, tokens that ask, tokens]
    weights = graph.node("Softmax", [graph.node("Add", [scores, penalty])], axis=-1)
    read = graph.contrib("FusedMatMul", [weights, value], transBatchB=1)
    read = graph.node("Transpose", [read], perm=[2, 0, 1, 3])
    return graph.node("Reshape", [read, graph.numbers(0, 0, layer.heads * head_dim)])


def _linear(graph: _Graph, fed: str, linear: Linear, *, codes: tuple[str, str] | None = None) -> str:
    """`codes`: what `_Graph.quantize` made of `fed`, where others need it as well."""
    weight, bias = _weight(graph, linear), graph.constant(linear.bias)
    if linear.scale is None:
        return graph.node("Sum", [graph.node("MatMul", [fed, weight]), bias])
    coded, largest = codes or graph.quantize(fed)
    scales = graph.number(STEP), graph.constant(linear.scale)
    product = graph.contrib("MatMulIntegerToFloat", [coded, weight, *scales, graph.constant(ZERO)])
    return graph.node("Sum", [graph.node("Mul", [product, largest]), bias])


def _activate(graph: _Graph, inner: str, activation: str) -> str:
    return graph.node("Relu", [inner]) if activation == "relu" else graph.contrib(GELU[activation], [inner])


def _normed(graph: _Graph, terms: list[str], norm: Norm, epsilon: float) -> str:
    gain, bias = graph.constant(norm.gain), graph.constant(norm.bias)
    return graph.node("LayerNormalization", [graph.node("Sum", terms), gain, bias], axis=-1, epsilon=epsilon)


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
    row = graph.node("Unsqueeze", [weights, graph.numbers(1)])
    total = graph.contrib("FusedMatMul", [row, hidden], transBatchB=1)
    count = graph.node("ReduceSum", [weights, graph.numbers(1)], keepdims=1)
    return graph.node(
        "Div", [graph.node("Squeeze", [total, graph.numbers(1)]), graph.node("Max", [count, graph.number(1)])]
    )
