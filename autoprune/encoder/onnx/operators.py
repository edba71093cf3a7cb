"""The operators of an encoder's graph: linear layers, norms, activations, table lookups."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from autoprune.encoder.onnx.nodes import STEP, ZERO, Graph
from autoprune.encoder.onnx.spec import Array, Embedding, Linear, Norm
from autoprune.packing.bits import pack_codes, packed_width

GELU = {"gelu": "Gelu", "gelu_new": "FastGelu"}


def linear(graph: Graph, inputs: str, layer: Linear, *, codes: tuple[str, str] | None = None) -> str:
    """A linear layer applied to float32 [..., in]: float32 [..., out].

    Args:
        codes: the result of `Graph.quantize` for `inputs`, if other layers use it as well.
    """
    weight = _weight(graph, layer)
    if layer.scale is None:
        product = graph.node("MatMul", [inputs, weight])
    else:
        coded, largest = codes or graph.quantize(inputs)
        scales = graph.number(STEP), graph.constant(layer.scale)
        product = graph.contrib("MatMulIntegerToFloat", [coded, weight, *scales, graph.constant(ZERO)])
        product = graph.node("Mul", [product, largest])
    return product if layer.bias is None else graph.node("Sum", [product, graph.constant(layer.bias)])


def activate(graph: Graph, inner: str, activation: str | None) -> str:
    """An activation by its name in transformers; None: no activation."""
    if activation is None:
        return inner
    if activation == "silu":
        return graph.node("Mul", [inner, graph.node("Sigmoid", [inner])])
    plain = {"relu": "Relu", "tanh": "Tanh"}
    if activation in plain:
        return graph.node(plain[activation], [inner])
    return graph.contrib(GELU[activation], [inner])


def normed(graph: Graph, terms: list[str], norm: Norm | None, epsilon: float) -> str:
    """The sum of terms after a norm."""
    total = graph.node("Sum", terms) if len(terms) > 1 else terms[0]
    if norm is None:
        return total
    gain = graph.constant(norm.gain)
    if not norm.rms:
        given = [total, gain] + ([] if norm.bias is None else [graph.constant(norm.bias)])
        return graph.node("LayerNormalization", given, axis=-1, epsilon=epsilon)
    # onnxruntime recognises this pattern and fuses it into one kernel; with Mul instead of Pow it would not.
    mean = graph.node("ReduceMean", [graph.node("Pow", [total, graph.number(2)]), graph.numbers(-1)], keepdims=1)
    length = graph.node("Sqrt", [graph.node("Add", [mean, graph.number(epsilon)])])
    return graph.node("Mul", [graph.node("Div", [total, length]), gain])


def looked_up(graph: Graph, table: Embedding, rows: Callable[[str], str]) -> str:
    """Looks up rows with `rows`, and decodes only these."""
    packed = rows(graph.constant(table.table))
    if table.scale is None or table.offset is None:
        return packed
    unpacked = _unpacked(graph, packed, table.bits, table.dim)
    scale, offset = (_of_row(graph, values, table.unit, rows) for values in (table.scale, table.offset))
    codes = graph.node("Cast", [unpacked], to=TensorProto.FLOAT)
    return graph.node("Add", [graph.node("Mul", [codes, scale]), offset])


def _unpacked(graph: Graph, packed: str, bits: int, dim: int) -> str:
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


def _weight(graph: Graph, linear: Linear) -> str:
    """The weight, [in, out]. Fewer bits than 8 save space in the file only: codes are widened once, on loading."""
    if linear.scale is None or linear.bits == 8:
        return graph.constant(linear.weight.T)
    zero = 2 ** (linear.bits - 1)
    packed = pack_codes((linear.weight.T.astype(np.int16) + zero).astype(np.uint8), linear.bits)
    codes = _unpacked(graph, graph.constant(packed), linear.bits, len(linear.weight))
    wide = graph.node(
        "Sub", [graph.node("Cast", [codes], to=TensorProto.INT32), graph.constant(np.array(zero, np.int32))]
    )
    return graph.node("Cast", [wide], to=TensorProto.INT8)


def _of_row(graph: Graph, values: Array, unit: float, rows: Callable[[str], str]) -> str:
    """One float32 for each row that was looked up; the file keeps the narrower dtype of `values`."""
    chosen = rows(graph.constant(values[:, None]))
    if values.dtype != np.float32:
        chosen = graph.node("Cast", [chosen], to=TensorProto.FLOAT)
    return chosen if unit == 1 else graph.node("Mul", [chosen, graph.number(unit)])
