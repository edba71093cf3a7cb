"""An encoder as an artifact: packed tables for torch, or a graph for onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from autoprune.artifacts.served import Beside, Parts
from autoprune.encoder import onnx_spec
from autoprune.encoder.architecture import LayerNorm
from autoprune.encoder.model import Encoder
from autoprune.encoder.onnx_graph import build
from autoprune.models.table import FLOAT_BITS, Linear, Table
from autoprune.packing.arrays import numpy_of
from autoprune.packing.bits import pack_codes
from autoprune.packing.codes import RowCodes, symmetric_zero


def encoder_parts(model: Encoder, runtime: str, beside: Beside) -> Parts:
    """What an artifact of an encoder consists of.

    Args:
        model: nothing of it hidden any more.
        runtime: `onnx` or `torch`.
    """
    tokenizer = model.tokenizer.restricted(model.pieces.numpy()).to_json().encode()
    settings = {**model.settings(), "runtime": runtime}
    if runtime == "onnx":
        widths = {name: _written_bits(table) for name, table in model.tables.items()}
        # what latency depends on; a graph says the same, but not in a few words
        rows = {"word": model.tables["word"].rows, "position": _positions(model)}
        coded = any(isinstance(table, Linear) and table.coded is not None for table in model.tables.values())
        scales = {"activation_scales": "token"} if coded else {}  # without: one for a whole request
        return Parts(
            manifest={**settings, **scales, "rows": rows, "bits": widths},
            tensors={},
            beside=beside,
            files={"model.onnx": build(_graph(model)), "tokenizer.json": tokenizer},
        )
    number = {layer: place for place, layer in enumerate(model.layers)}

    def renumbered(name: str) -> str:
        stem, _, layer = name.partition("_")
        return f"{stem}_{number[int(layer)]}" if layer else name

    tables: dict[str, Any] = {}
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for name, table in model.tables.items():
        stored, ours = table.packed(), renumbered(name)
        tables[ours] = stored.entry
        tensors |= {f"{ours}.{key}": tensor for key, tensor in stored.tensors.items()}
        if isinstance(table, Linear):
            tensors[f"{ours}.bias"] = numpy_of(table.bias)
    for name, norm in model.norms.items():
        assert isinstance(norm, LayerNorm), "only norms are kept"
        ours = renumbered(name)
        tensors |= {f"{ours}.norm": numpy_of(norm.weight), f"{ours}.norm.bias": numpy_of(norm.bias)}
    return Parts(
        manifest={**settings, "tables": tables}, tensors=tensors, beside=beside, files={"tokenizer.json": tokenizer}
    )


def _positions(model: Encoder) -> int:
    """Rows of the position table that a text can need; the padding has one of its own where it is not counted."""
    return model.architecture.max_tokens + (model.padding is not None)


def _written_bits(table: Table) -> int:
    """Of a weight in the graph: pruned zeros of a table that is looked up are no code, so it is written as floats."""
    looked_up = not isinstance(table, Linear)
    return FLOAT_BITS if looked_up and not bool(table.mask.all()) else int(table.bits[0])


def _graph(model: Encoder) -> onnx_spec.Encoder:
    tables, architecture = model.tables, model.architecture

    def norm(name: str) -> onnx_spec.Norm:
        held = model.norms[name]
        assert isinstance(held, LayerNorm), "only norms are kept"
        return onnx_spec.Norm(gain=_array(held.weight), bias=_array(held.bias))

    layers = tuple(
        onnx_spec.Layer(
            heads=model.size(model.axes[f"heads.{layer}"]),
            query=_linear(tables[f"query_{layer}"]),
            key=_linear(tables[f"key_{layer}"]),
            value=_linear(tables[f"value_{layer}"]),
            output=_linear(tables[f"output_{layer}"]),
            attention_norm=norm(f"attention_{layer}"),
            up=_linear(tables[f"up_{layer}"]),
            down=_linear(tables[f"down_{layer}"]),
            output_norm=norm(f"ffn_{layer}"),
        )
        for layer in model.layers
    )
    return onnx_spec.Encoder(
        word=_embedding(tables["word"]),
        position=_embedding(tables["position"], rows=_positions(model)),
        norm=norm("embedding"),
        layers=layers,
        head_dim=architecture.head_dim,
        activation=architecture.activation,
        epsilon=architecture.epsilon,
        pooling=architecture.pooling,
        padding=model.padding,
        project=_linear(tables["project"]) if "project" in tables else None,
        dense=_linear(tables["out"]) if "out" in tables else None,
        normalize=architecture.normalize,
    )


def _linear(table: Table) -> onnx_spec.Linear:
    assert isinstance(table, Linear), "what is multiplied by is a linear map"
    bias = _array(table.bias)
    if table.coded is None:
        return onnx_spec.Linear(weight=_array(table.values()), bias=bias)
    coded = _row_codes(table)
    zero = symmetric_zero(coded.bits)[:, None]
    codes = (coded.codes.float() - zero) * table.mask
    scale = coded.scale.float() * coded.unit
    return onnx_spec.Linear(
        weight=_array(codes).astype(np.int8), bias=bias, scale=_array(scale), bits=int(coded.bits[0])
    )


def _embedding(table: Table, rows: int | None = None) -> onnx_spec.Embedding:
    """A table that is looked up; of the positions only those that a text can have."""
    if table.coded is None or not bool(table.mask.all()):  # pruned zeros are no code
        return onnx_spec.Embedding(table=_array(table.values()[:rows]), dim=table.dim)
    coded = _row_codes(table)
    bits = int(coded.bits[0])
    return onnx_spec.Embedding(
        table=_array(pack_codes(coded.codes[:rows], bits)),
        dim=table.dim,
        bits=bits,
        scale=_array(coded.scale[:rows]),
        offset=_array(coded.offset[:rows]),
        unit=coded.unit,
    )


def _row_codes(table: Table) -> RowCodes:
    assert isinstance(table.coded, RowCodes), "steps refuse other codes for encoders"
    assert int(table.bits[0]) < FLOAT_BITS, "what is coded has a width"
    return table.coded


def _array(tensor: Tensor) -> Any:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
