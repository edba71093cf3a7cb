"""The nodes and constants of an ONNX graph, and the files it is written to."""

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
"""Codes of activations, whose rows are first divided by their largest absolute value: value = (code - ZERO) * STEP."""

MOST = 2**31 - 2**24
"""The most bytes of weights in the graph's own file: a ModelProto has less than 2**31, some for nodes and names."""
FEW = 1024
"""Constants of fewer bytes always stay in the graph's own file: onnxruntime looks into small ones."""
BESIDE = "model.onnx.data"
"""The file for weights that do not fit into the graph; onnxruntime looks for it in the graph's folder."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A graph as files.

    Attributes:
        model: a serialised ModelProto.
        data: weights that do not fit into it, one after the other; mostly empty.
        outside: name of such a weight → its dtype, its shape, and the byte where it begins.
    """

    model: bytes
    data: bytes = b""
    outside: dict[str, list[Any]] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """Contents by file name; the second file only if there are weights in it."""
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

        The codes of a row depend on this row only, not on other rows or on padding.
        """
        largest = self.node("ReduceMax", [self.node("Abs", [value]), self.numbers(-1)], keepdims=1)
        largest = self.node("Max", [largest, self.number(SMALLEST)])  # so that a row of zeros can be divided
        even = self.node("Div", [value, largest])
        return self.node("QuantizeLinear", [even, self.number(STEP), self.constant(ZERO)]), largest

    def constant(self, value: Array) -> str:
        """The name of a constant; equal constants are written once."""
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
        """The graph as files; if its weights do not fit, the large ones go to a second file."""
        weights = sum(len(constant.raw_data) for constant in self.constants)
        large = [constant for constant in self.constants if len(constant.raw_data) >= FEW] if weights > MOST else []
        outside, data, start = dict[str, list[Any]](), list[bytes](), 0
        for tensor in large:
            content = tensor.raw_data
            outside[tensor.name] = [helper.tensor_dtype_to_np_dtype(tensor.data_type).name, list(tensor.dims), start]
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", BESIDE), ("offset", start), ("length", len(content))):
                tensor.external_data.add(key=key, value=str(value))
            data.append(content)
            start += len(content)
        return Written(model=self._model(encoder).SerializeToString(), data=b"".join(data), outside=outside)

    def _model(self, encoder: Encoder) -> onnx.ModelProto:
        names = ["input_ids", "attention_mask", *(["token_type_ids"] if encoder.segment is not None else [])]
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names]
        result = helper.make_tensor_value_info(encoder.output, TensorProto.FLOAT, ["batch", encoder.out])
        graph = helper.make_graph(self.nodes, "encoder", inputs, [result], self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="autoprune")
