"""Encoders that `autoprune.encoder.onnx.build` wrote, run by onnxruntime."""

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
"""onnxruntime logs errors, and no warnings."""


def open_session(
    model: bytes | Path, threads: int, outside: Mapping[str, NDArray[Any]] | None = None
) -> InferenceSession:
    """A session on the CPU.

    Args:
        model: a serialised ModelProto, or the file of one, which then is not held twice.
        threads: that one run takes.
        outside: the weights that do not lie in it, by name; those of a file are found beside it.

    Raises:
        AutopruneError: onnxruntime is not installed.
    """
    need("onnxruntime", "encoder", "what encodes texts")
    # Imported without it, onnxruntime reports home, and leaves the number of the device in the home folder.
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
    held = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(held, options, providers=["CPUExecutionProvider"])


def run(
    session: InferenceSession,
    ids: NDArray[np.int64],
    mask: NDArray[np.int64],
    segments: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """What a graph gives, float32 [batch, out], for ids, mask and perhaps token types, int64 [batch, tokens]."""
    told = {"input_ids": ids, "attention_mask": mask} | ({} if segments is None else {"token_type_ids": segments})
    result: Any = session.run(None, told)
    return np.asarray(result[0], np.float32)
