"""The nodes and constants of an ONNX graph, and the files they are kept in."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autoprune.encoder.onnx.spec import Array, Encoder

OPSET, IR_VERSION = 18, 8
"""Version 18 brings BitwiseAnd; onnxruntime reads both since 1.14."""
CONTRIB = "com.microsoft"
SMALLEST = float(np.finfo(np.float32).tiny)
STEP, ZERO = 1 / 127, np.array(128, np.uint8)
"""Of the codes of activations, whose rows are divided by their largest number: value = (code - ZERO) * STEP."""

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


class Graph:
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
