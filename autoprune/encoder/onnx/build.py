"""A pruned sentence encoder as an ONNX file, written node by node.

Operators of com.microsoft are part of every onnxruntime. The choices among them rest on measurements on one thread of a
CPU with AVX512, with onnxruntime 1.31:

- States are [tokens, batch, hidden]: FusedMatMul then reads the heads of queries, keys and values in place, and only
  the outputs of heads are transposed. MultiHeadAttention and Attention copied more: a tenth slower for 32 sentences.
- Sums before LayerNormalization are Sum, not Add: onnxruntime would fuse Add with it into SkipLayerNormalization, which
  took eight times as long. BiasGelu also took longer than Sum and Gelu.
- MatMulIntegerToFloat reaches the speed of VNNI; MatMulNBits took twice as long with 8 bits, and with AVX2 2.4 times as
  long with 8 and 1.7 times with 4.
- Activations have a scale for each token. onnxruntime has no operator for that: DynamicQuantizeMatMul has one scale for
  all tokens of a request, so that a text's vector depends on the other texts (`docs/latency.md` gives the cost).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from autoprune.encoder.onnx.attention import LOWEST, Sight, attend
from autoprune.encoder.onnx.nodes import Graph, Written
from autoprune.encoder.onnx.operators import activate, linear, looked_up, normed
from autoprune.encoder.onnx.spec import Encoder, Layer


def build(encoder: Encoder) -> Written:
    """The files of a graph.

    Inputs: input_ids and attention_mask, int64 [batch, tokens]; the mask is 1 for tokens, 0 for padding. If the encoder
    has token types, token_type_ids as well. Output: `Encoder.output`, float32 [batch, out].
    """
    graph = Graph()
    hidden = _embed(graph, encoder)
    sight = Sight(graph, encoder)
    for layer in encoder.layers:
        # The `cls` pooling reads only the first token of the last layer.
        first = layer is encoder.layers[-1] and encoder.pooling == "cls"
        hidden = _layer(graph, hidden, layer, encoder, sight.first() if first else sight)
    hidden = normed(graph, [hidden], encoder.final, encoder.epsilon)
    result = _pool(graph, hidden, encoder.pooling)
    if encoder.dense is not None:
        result = activate(graph, linear(graph, result, encoder.dense), encoder.dense_activation)
        result = normed(graph, [result], encoder.dense_norm, encoder.epsilon)
    if encoder.projection is not None:
        result = linear(graph, result, encoder.projection)
    if encoder.normalize:
        result = graph.node("LpNormalization", [result], axis=-1, p=2)
    graph.node("Identity", [result], output=encoder.output)
    return graph.written(encoder)


def _embed(graph: Graph, encoder: Encoder) -> str:
    """float32 [tokens, batch, hidden]."""
    ids = graph.node("Transpose", ["input_ids"], perm=[1, 0])
    terms = [looked_up(graph, encoder.word, lambda table: graph.node("Gather", [table, ids]))]
    if encoder.segment is not None:
        kinds = graph.node("Transpose", ["token_type_ids"], perm=[1, 0])
        terms.append(looked_up(graph, encoder.segment, lambda table: graph.node("Gather", [table, kinds])))
    if encoder.position is not None and encoder.padding is not None:
        terms.append(looked_up(graph, encoder.position, _counted(graph, ids, encoder.padding)))
    elif encoder.position is not None:
        tokens = graph.node("Shape", ["input_ids"], start=1, end=2)

        def first(table: str) -> str:
            return graph.node("Slice", [table, graph.numbers(0), tokens, graph.numbers(0)])

        terms.append(graph.node("Unsqueeze", [looked_up(graph, encoder.position, first), graph.numbers(1)]))
    hidden = normed(graph, terms, encoder.norm, encoder.epsilon)
    return hidden if encoder.project is None else linear(graph, hidden, encoder.project)


def _counted(graph: Graph, ids: str, padding: int) -> Callable[[str], str]:
    """A lookup of positions, counted over the ids that are not the padding, which takes row 0."""
    same = graph.node("Equal", [ids, graph.constant(np.array(padding, np.int64))])
    counted = graph.node("Cast", [graph.node("Not", [same])], to=TensorProto.INT64)
    places = graph.node("Mul", [graph.node("CumSum", [counted, graph.constant(np.array(0, np.int64))]), counted])
    return lambda table: graph.node("Gather", [table, places])


def _layer(graph: Graph, hidden: str, layer: Layer, encoder: Encoder, sight: Sight) -> str:
    """float32 [asking, batch, hidden]."""
    epsilon = encoder.epsilon
    inputs = normed(graph, [hidden], layer.before_attention, epsilon)
    attended = linear(graph, attend(graph, inputs, layer, encoder, sight), layer.output)
    attended = normed(graph, [attended], layer.after_attention, epsilon)
    hidden = normed(graph, [attended, sight.asked(hidden)], layer.attention_norm, epsilon)
    inputs = normed(graph, [hidden], layer.before_neurons, epsilon)
    codes = graph.quantize(inputs) if layer.up.coded and layer.gate is not None and layer.gate.coded else None
    inner = linear(graph, inputs, layer.up, codes=codes)
    if layer.gate is None:
        inner = activate(graph, inner, encoder.activation)
    else:
        gates = activate(graph, linear(graph, inputs, layer.gate, codes=codes), encoder.activation)
        inner = graph.node("Mul", [gates, inner])
    outputs = normed(graph, [linear(graph, inner, layer.down)], layer.after_neurons, epsilon)
    return normed(graph, [outputs, hidden], layer.output_norm, epsilon)


def _pool(graph: Graph, hidden: str, pooling: str) -> str:
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
