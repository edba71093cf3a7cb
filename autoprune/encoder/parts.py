"""An encoder as an artifact: packed tables for torch, or a graph for onnxruntime."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.artifacts.served import Beside, Parts
from autoprune.encoder.architecture import MAPS
from autoprune.encoder.model import Encoder
from autoprune.encoder.onnx import spec
from autoprune.encoder.onnx.build import build
from autoprune.encoder.sizes import Norm
from autoprune.encoder.transformer import buckets
from autoprune.models.table import FLOAT_BITS, Linear, Table
from autoprune.packing.arrays import numpy_of
from autoprune.packing.bits import pack_codes
from autoprune.packing.codes import RowCodes, symmetric_zero


def encoder_parts(model: Encoder, runtime: str, beside: Beside) -> Parts:
    """The parts of an encoder's artifact.

    Args:
        model: a model of which nothing is hidden but not yet cut.
        runtime: `onnx` or `torch`.
    """
    tokenizer = model.tokenizer.restricted(model.pieces.numpy()).to_json().encode()
    parts = _graph(model, beside) if runtime == "onnx" else _packed(model, beside)
    return replace(
        parts,
        manifest={**model.settings(), "runtime": runtime, **parts.manifest},
        files={**parts.files, "tokenizer.json": tokenizer},
        entropy=model.entropy,
    )


def _graph(model: Encoder, beside: Beside) -> Parts:
    """What the runtime `onnx` needs: all weights are in the graph."""
    widths = {name: _written_bits(table) for name, table in model.tables.items()}
    # Latency depends on these; the graph holds the same facts, but they are not easy to read from it.
    rows = {"word": model.tables["word"].rows}
    rows |= {"position": _positions(model)} if "position" in model.tables else {}
    rows |= {"segment": model.tables["segment"].rows} if "segment" in model.tables else {}
    coded = any(isinstance(table, Linear) and table.coded is not None for table in model.tables.values())
    scales = {"activation_scales": "token"} if coded else {}  # absent: one scale for a whole request
    written = build(_specified(model))
    outside = {"outside": written.outside} if written.outside else {}
    manifest = {**scales, "rows": rows, "bits": widths, **outside}
    return Parts(manifest=manifest, tensors={}, beside=beside, files={**written.files()})


def _packed(model: Encoder, beside: Beside) -> Parts:
    """What the runtime `torch` needs: packed tables; the remaining blocks are renumbered."""
    number = {block: place for place, block in enumerate(model.blocks)}

    def renumbered(name: str) -> str:
        stem, _, block = name.partition("_")
        return f"{stem}_{number[int(block)]}" if block else name

    entries, packed = model.packed()
    tables = {renumbered(name): entry for name, entry in entries.items()}
    tensors = dict[str, np.ndarray[Any, Any]]()
    for name, tensor in packed.items():
        table, _, key = name.partition(".")
        tensors[f"{renumbered(table)}.{key}"] = tensor
    for name, norm in model.norms.items():
        assert isinstance(norm, Norm), "an encoder's norms are `Norm`s"
        ours = renumbered(name)
        tensors[f"{ours}.norm"] = numpy_of(norm.weight)
        if norm.bias is not None:
            tensors[f"{ours}.norm.bias"] = numpy_of(norm.bias)
    for place, layer in enumerate(model.layers):
        distances = model.distances_of(layer)
        if distances is not None:
            tensors[f"distances_{place}.bias"] = numpy_of(distances)
    return Parts(manifest={"tables": tables}, tensors=tensors, beside=beside)


def _positions(model: Encoder) -> int:
    """Rows of the position table that a text can need; a padding that is not counted has a row of its own."""
    return model.architecture.max_tokens + (model.padding is not None)


def _written_bits(table: Table) -> int:
    """Bits of a weight in the graph. A lookup table with pruned zeros is written as floats: no code stands for zero."""
    if not isinstance(table, Linear) and not bool(table.mask.all()):
        return FLOAT_BITS
    return int(table.coded.bits[0]) if isinstance(table.coded, RowCodes) else int(table.bits[0])


NORMS = {
    "attention_norm": "attention",
    "output_norm": "ffn",
    "before_attention": "preattention",
    "after_attention": "postattention",
    "before_neurons": "preffn",
    "after_neurons": "postffn",
    "queries": "queries",
    "keys": "keys",
}
"""The names of a layer's norms in a graph → those in a model."""


def _specified(model: Encoder) -> spec.Encoder:
    tables, architecture = model.tables, model.architecture
    return spec.Encoder(
        word=_embedding(tables["word"]),
        position=_embedding(tables["position"], rows=_positions(model)) if "position" in tables else None,
        segment=_embedding(tables["segment"]) if "segment" in tables else None,
        norm=_norm(model, "embedding"),
        layers=tuple(_layer(model, layer) for layer in model.layers),
        head_dim=architecture.head_dim,
        shared=architecture.shared,
        scale=architecture.scale,
        causal=architecture.causal,
        activation=architecture.activation,
        epsilon=architecture.epsilon,
        final=_norm(model, "final"),
        pooling=architecture.pooling,
        padding=model.padding,
        project=_linear(tables["project"]) if "project" in tables else None,
        dense=_linear(tables["dense"]) if "dense" in tables else None,
        dense_activation=architecture.dense,
        dense_norm=_norm(model, "head"),
        projection=_linear(tables["out"]) if "out" in tables else None,
        normalize=architecture.normalize,
        output="logits" if architecture.score else "sentence_embedding",
    )


def _layer(model: Encoder, layer: int) -> spec.Layer:
    block, tables = model.architecture.block(layer), model.tables
    maps: dict[str, Any] = {name: _linear(tables[f"{name}_{block}"]) for name in MAPS if f"{name}_{block}" in tables}
    norms: dict[str, Any] = {theirs: _norm(model, f"{ours}_{block}") for theirs, ours in NORMS.items()}
    settings = model.architecture.of_layer(layer)
    return spec.Layer(
        heads=model.size(model.axes[f"heads.{block}"]),
        **maps,
        **norms,
        reach=settings.get("reach"),
        theta=settings.get("theta"),
        distances=_distances(model, layer),
    )


def _distances(model: Encoder, layer: int) -> Any:
    """What each distance adds to the scores of each head, for distances up to `farthest` on both sides."""
    learned, farthest = model.distances_of(layer), model.architecture.farthest
    if learned is None or farthest is None:
        return None
    return _array(learned[:, buckets(torch.arange(-farthest, farthest + 1), learned.shape[1], farthest)])


def _norm(model: Encoder, name: str) -> spec.Norm | None:
    if name not in model.norms:
        return None
    norm = model.norms[name]
    assert isinstance(norm, Norm), "an encoder's norms are `Norm`s"
    bias = None if norm.bias is None else _array(norm.bias)
    return spec.Norm(gain=_array(norm.weight), bias=bias, rms=norm.rms)


def _linear(table: Table) -> spec.Linear:
    assert isinstance(table, Linear), "only linear layers multiply"
    bias = None if table.bias is None else _array(table.bias)
    if table.coded is None:
        return spec.Linear(weight=_array(table.values()), bias=bias)
    coded = _row_codes(table)
    zero = symmetric_zero(coded.bits)[:, None]
    codes = (coded.codes.float() - zero) * table.mask
    scale = coded.scale.float() * coded.unit
    return spec.Linear(weight=_array(codes).astype(np.int8), bias=bias, scale=_array(scale), bits=int(coded.bits[0]))


def _embedding(table: Table, rows: int | None = None) -> spec.Embedding:
    """A lookup table; of the position table only the rows that a text can need."""
    if table.coded is None or not bool(table.mask.all()):  # no code stands for a pruned zero
        return spec.Embedding(table=_array(table.values()[:rows]), dim=table.dim)
    coded = _row_codes(table)
    bits = int(coded.bits[0])
    return spec.Embedding(
        table=_array(pack_codes(coded.codes[:rows], bits)),
        dim=table.dim,
        bits=bits,
        scale=_array(coded.scale[:rows]),
        offset=_array(coded.offset[:rows]),
        unit=coded.unit,
    )


def _row_codes(table: Table) -> RowCodes:
    assert isinstance(table.coded, RowCodes), "steps refuse other codes for encoders"
    return table.coded


def _array(tensor: Tensor) -> Any:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
