"""Loads an encoder's artifact on its runtime, to answer with vectors or with scores of pairs."""

from __future__ import annotations

from autoprune.artifacts.served import Parts
from autoprune.encoder.onnx_served import OnnxEncoder
from autoprune.encoder.reranker.served import Reranker
from autoprune.encoder.served import SentenceEncoder, TextModel
from autoprune.errors import AutopruneError
from autoprune.extras import need


def serve_encoder(parts: Parts, *, device: str, prefer: str | None = None) -> TextModel:  # noqa: ARG001
    """The encoder or cross-encoder of an artifact's parts, on the runtime that it was made for.

    Args:
        device: device of the runtime `torch`; onnxruntime always answers on the CPU.
        prefer: has no effect. Without its memory arena, onnxruntime was measured to hold more memory, not less.

    Raises:
        AutopruneError: a library that it needs is not installed, or its prompts are invalid.
        ValueError: its parts cannot be read or do not fit together, for example because a file is damaged.
    """
    try:
        if parts.manifest["runtime"] == "onnx":
            encoder: SentenceEncoder = OnnxEncoder(parts)
        else:
            need("torch", "search", "an encoder whose runtime is torch")
            from autoprune.encoder.torch_served import TorchEncoder  # here, because onnxruntime needs no torch

            encoder = TorchEncoder(parts, device=device)
        encoder.check()
        if "score" in parts.manifest:
            return Reranker(encoder, parts.manifest["score"])
    except (AutopruneError, MemoryError):
        raise
    except Exception as error:  # tokenizers and onnxruntime raise their own errors, some as plain Exception
        if type(error).__name__ == "OutOfMemoryError":  # torch's own error class
            raise
        raise ValueError((str(error).strip().splitlines() or [type(error).__name__])[0][:200]) from error
    return encoder
