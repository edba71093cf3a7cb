"""A pruned sentence encoder as an ONNX file, written node by node.

Operators of com.microsoft are part of every onnxruntime; they join what an exporter leaves apart. `build` chooses
among them by what was measured on one thread of a CPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autoprune.runtime.onnx_spec import Array, Embedding, Encoder, Layer, Linear, Norm

OPSET, IR_VERSION = 18, 8
"""Version 18 brings BitwiseAnd; onnxruntime reads both since 1.14."""
LOWEST = float(np.finfo(np.float32).min)
CONTRIB = "com.microsoft"


def build(encoder: Encoder) -> bytes:
    """The file: a serialised ModelProto.

    Inputs: input_ids and attention_mask, int64 [batch, tokens]; the mask has 1 where a token is, 0 where none is.
    Output: sentence_embedding, float32 [batch, out].
    """
    graph = _Graph()
    mask = graph.node("Cast", ["attention_mask"], to=TensorProto.INT32)
    hidden = _embed(graph, encoder)
    for layer in encoder.layers:
        attended = _attend(graph, hidden, mask, layer, encoder.head_dim)
        hidden = _project(graph, attended, hidden, layer.output, layer.attention_norm, encoder.epsilon)
        inner = _activate(graph, hidden, layer.up, encoder.activation)
        hidden = _project(graph, inner, hidden, layer.down, layer.output_norm, encoder.epsilon)
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
        self.names = (f"v{number}" for number in itertools.count())

    def node(self, operator: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        """Adds a node of one output and returns its name."""
        return self.node_of_many(operator, inputs, [output or next(self.names)], **attributes)[0]

    def node_of_many(
        self, operator: str, inputs: list[str], outputs: list[str], *, domain: str = "", **attributes: Any
    ) -> list[str]:
        self.nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **attributes))
        return outputs

    def contrib(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        """Adds a node of com.microsoft."""
        return self.node_of_many(operator, inputs, [next(self.names)], domain=CONTRIB, **attributes)[0]

    def constant(self, value: Array) -> str:
        name = next(self.names)
        self.constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

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
    """float32 [batch, tokens, hidden]."""
    tokens = graph.node("Shape", ["input_ids"], start=1, end=2)

    def looked_up(table: str) -> str:
        return graph.node("Gather", [table, "input_ids"])

    def first(table: str) -> str:
        return graph.node("Slice", [table, graph.numbers(0), tokens, graph.numbers(0)])

    words = _decode(graph, encoder.word, looked_up)
    places = _decode(graph, encoder.position, first)
    return _normed_sum(graph, [words, places], encoder.norm, encoder.epsilon)


def _decode(graph: _Graph, table: Embedding, rows: Callable[[str], str]) -> str:
    """Looks rows up with `rows`, and decodes those alone."""
    found = rows(graph.constant(table.table))
    if table.scale is None or table.offset is None:
        return found
    if table.bits < 8:
        planes = []
        for shift in range(0, 8, table.bits):
            plane = found
            if shift:
                plane = graph.node("BitShift", [plane, graph.constant(np.array(shift, np.uint8))], direction="RIGHT")
            if shift + table.bits < 8:
                plane = graph.node("BitwiseAnd", [plane, graph.constant(np.array(2**table.bits - 1, np.uint8))])
            planes.append(plane)
        found = graph.node("Concat", planes, axis=-1)
        if table.dim * table.bits % 8:
            found = graph.node("Slice", [found, graph.numbers(0), graph.numbers(table.dim), graph.numbers(-1)])
    scale, offset = (_row_numbers(graph, part, table.unit, rows) for part in (table.scale, table.offset))
    codes = graph.node("Cast", [found], to=TensorProto.FLOAT)
    return graph.node("Add", [graph.node("Mul", [codes, scale]), offset])


def _row_numbers(graph: _Graph, part: Array, unit: float, rows: Callable[[str], str]) -> str:
    """One float32 for each row that was looked up, in the file as narrow as it came."""
    found = rows(graph.constant(part[:, None]))
    if part.dtype != np.float32:
        found = graph.node("Cast", [found], to=TensorProto.FLOAT)
    return found if unit == 1 else graph.node("Mul", [found, graph.constant(np.array(unit, np.float32))])


def _attend(graph: _Graph, hidden: str, mask: str, layer: Layer, head_dim: int) -> str:
    """float32 [batch, tokens, heads * head_dim]: what the heads of a layer read."""
    parts = (layer.query, layer.key, layer.value)
    sizes = [layer.heads * head_dim] * 3
    bias = np.concatenate([part.bias for part in parts])
    if not any(part.coded for part in parts):
        weight = graph.constant(np.concatenate([part.weight for part in parts]).T)
        return graph.contrib(
            "Attention",
            [hidden, weight, graph.constant(bias), mask],
            num_heads=layer.heads,
            qkv_hidden_sizes=sizes,
            mask_filter_value=LOWEST,
        )
    if all(part.coded for part in parts):  # the input is quantised once
        joined = Linear(
            weight=np.concatenate([part.weight for part in parts]),
            scale=np.concatenate([part.scale for part in parts if part.scale is not None]),
            bias=bias,
        )
        names = [next(graph.names) for _ in parts]
        three = graph.node_of_many("Split", [_linear(graph, hidden, joined), graph.numbers(*sizes)], names, axis=-1)
    else:
        three = [_linear(graph, hidden, part) for part in parts]
    return graph.contrib("MultiHeadAttention", [*three, "", mask], num_heads=layer.heads, mask_filter_value=LOWEST)


def _linear(graph: _Graph, fed: str, linear: Linear, *, biased: bool = True) -> str:
    """`biased`: whether the bias is added here."""
    weight = graph.constant(linear.weight.T)
    bias = [graph.constant(linear.bias)] if biased else []
    if linear.scale is not None:
        scale = graph.constant(linear.scale.astype(np.float32))
        return graph.contrib("DynamicQuantizeMatMul", [fed, weight, scale, "", *bias])
    product = graph.node("MatMul", [fed, weight])
    return graph.node("Add", [product, *bias]) if biased else product


def _activate(graph: _Graph, hidden: str, up: Linear, activation: str) -> str:
    """float32 [batch, tokens, neurons]."""
    if activation == "relu":
        return graph.node("Relu", [_linear(graph, hidden, up)])
    operator = {"gelu": "BiasGelu", "gelu_new": "FastGelu"}[activation]
    return graph.contrib(operator, [_linear(graph, hidden, up, biased=False), graph.constant(up.bias)])


def _project(graph: _Graph, fed: str, before: str, linear: Linear, norm: Norm, epsilon: float) -> str:
    """The norm of `before` plus the product; the norm's operator adds the bias on its way."""
    product = _linear(graph, fed, linear, biased=False)
    return _normed_sum(graph, [product, before], norm, epsilon, bias=linear.bias)


def _normed_sum(graph: _Graph, parts: list[str], norm: Norm, epsilon: float, *, bias: Array | None = None) -> str:
    more = [] if bias is None else [graph.constant(bias)]
    gain, shift = graph.constant(norm.gain), graph.constant(norm.bias)
    return graph.contrib("SkipLayerNormalization", [*parts, gain, shift, *more], epsilon=epsilon)


def _pool(graph: _Graph, hidden: str, pooling: str) -> str:
    """float32 [batch, hidden]."""
    if pooling == "cls":
        return graph.node("Gather", [hidden, graph.constant(np.array(0, np.int64))], axis=1)
    if pooling == "max":
        there = graph.node("Unsqueeze", ["attention_mask", graph.numbers(-1)])
        there = graph.node("Cast", [there], to=TensorProto.BOOL)
        shown = graph.node("Where", [there, hidden, graph.constant(np.array(LOWEST, np.float32))])
        return graph.node("ReduceMax", [shown, graph.numbers(1)], keepdims=0)
    weights = graph.node("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    row = graph.node("Unsqueeze", [weights, graph.numbers(1)])
    total = graph.node("Squeeze", [graph.node("MatMul", [row, hidden]), graph.numbers(1)])
    count = graph.node("ReduceSum", [weights, graph.numbers(1)], keepdims=1)
    return graph.node("Div", [total, graph.node("Max", [count, graph.constant(np.array(1, np.float32))])])
