"""The runtime that an encoder's artifact was made for, made to answer: with vectors, or with scores of pairs."""

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
        device: of the runtime `torch`; onnxruntime answers on the CPU, whatever a study asks of its candidates.
        prefer: changes nothing. Without its arena of memory onnxruntime was measured to hold more, not less.

    Raises:
        AutopruneError: a library that it needs is not installed, or its prompts cannot be meant.
        ValueError: its parts cannot be read, or do not fit one another, as where a file of it is damaged.
    """
    try:
        if parts.manifest["runtime"] == "onnx":
            made: SentenceEncoder = OnnxEncoder(parts)
        else:
            need("torch", "search", "an encoder whose runtime is torch")
            from autoprune.encoder.torch_served import TorchEncoder  # here, because onnxruntime does without

            made = TorchEncoder(parts, device=device)
        made.check()
        if "score" in parts.manifest:
            return Reranker(made, parts.manifest["score"])
    except (AutopruneError, MemoryError):
        raise
    except Exception as error:  # tokenizers and onnxruntime have errors of their own, some of no class but this
        if type(error).__name__ == "OutOfMemoryError":  # of torch
            raise
        raise ValueError((str(error).strip().splitlines() or [type(error).__name__])[0][:200]) from error
    return made
