"""Runs encoders that `autoprune.encoder.onnx.build` wrote, with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autoprune.extras import need
from autoprune.quiet import environment

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

QUIET = 3
"""The severity level at which onnxruntime logs errors, but no warnings."""


def open_session(
    model: bytes | Path, threads: int, outside: Mapping[str, NDArray[Any]] | None = None
) -> InferenceSession:
    """A session on the CPU.

    Args:
        model: a serialised ModelProto, or its file, so that it is not held in memory twice.
        threads: threads of one run.
        outside: weights that are not in the ModelProto, by name; for a file, onnxruntime finds them beside it.

    Raises:
        AutopruneError: onnxruntime is not installed.
    """
    need("onnxruntime", "encoder", "what encodes texts")
    # Otherwise onnxruntime sends telemetry, and writes a device id into the home folder.
    with environment(ORT_DISABLE_TELEMETRY="1"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = QUIET
    if outside:
        weights = [onnxruntime.OrtValue.ortvalue_from_numpy(weight) for weight in outside.values()]
        options.add_external_initializers(list(outside), weights)
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(
    session: InferenceSession,
    ids: NDArray[np.int64],
    mask: NDArray[np.int64],
    segments: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """The output of a graph, float32 [batch, out], for ids, mask and perhaps token types, int64 [batch, tokens]."""
    inputs = {"input_ids": ids, "attention_mask": mask} | ({} if segments is None else {"token_type_ids": segments})
    result: Any = session.run(None, inputs)
    return np.asarray(result[0], np.float32)
