"""Sentence encoders that answer: the same question to two runtimes, onnxruntime and torch."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from autoprune.artifacts.served import Parts, Served
from autoprune.encoder.architecture import normed, read_architecture
from autoprune.encoder.functional import padded
from autoprune.encoder.onnx_session import open_session, run
from autoprune.encoder.prompts import Prompts
from autoprune.encoder.similarity import SIMILARITIES
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.encoder.transformer import Layer, embed, unwatched
from autoprune.errors import AutopruneError
from autoprune.fits import fits
from autoprune.packing import PackedTable

Vectors = NDArray[np.float32]

SETTINGS: dict[str, Any] = {
    "runtime": str,
    "max_tokens": int,
    "out": int,
    "head_dim": int,
    "layers": list[dict[str, Any]],
    "pooling": str,
    "normalize": bool,
    "activation": str,
    "epsilon": float,
    "padding": int | None,
    "prompts": dict[str, Any] | None,
    "similarity": str | None,
    "rows": dict[str, int] | None,
    "outside": dict[str, list[Any]] | None,
}
"""What a manifest must say, and of what type it is; that which may be None may be absent."""


class SentenceEncoder(Served):
    """Texts to vectors.

    Attributes:
        out: dimensions of a vector.
        prompts: what stands before a text, by its role.
        similarity: how vectors are to be compared, one of `autoprune.encoder.similarity.SIMILARITIES`.
    """

    def __init__(self, parts: Parts) -> None:
        wrong = [name for name, kind in SETTINGS.items() if not fits(parts.manifest.get(name), kind)]
        if wrong:
            raise ValueError(f"{wrong[0]} in its manifest is {parts.manifest.get(wrong[0])!r}")
        self._max_tokens: int = parts.manifest["max_tokens"]
        self._tokenizer = Tokenizer.read(parts.files["tokenizer.json"].decode(), max_tokens=self._max_tokens)
        self.out: int = parts.manifest["out"]
        self.prompts = Prompts(**parts.manifest.get("prompts", {}))
        self.similarity: str = parts.manifest.get("similarity", SIMILARITIES[0])
        if self.similarity not in SIMILARITIES:
            raise ValueError(f"similarity in its manifest is {self.similarity!r}")

    @property
    def example(self) -> str:
        role = ", role='query'" if self.prompts.describe() else ""
        return f"model.encode(['a text', 'another one']{role})"

    @overload
    def encode(self, texts: str, *, role: str | None = None, batch_size: int = 32) -> Vectors: ...
    @overload
    def encode(self, texts: Sequence[str], *, role: str | None = None, batch_size: int = 32) -> Vectors: ...
    def encode(self, texts: str | Sequence[str], *, role: str | None = None, batch_size: int = 32) -> Vectors:
        """The vectors of texts, float32 [n, out]; of a single text, [out].

        Args:
            texts: one that is longer than the model reads is cut off.
            role: `query` or `document` where texts are searched for or in, or the name of a prompt: what the model
                wants before such a text is put there. None: what it wants before any text, mostly nothing.
            batch_size: texts that are computed at a time, those of like length together.

        Raises:
            AutopruneError: something is no text, there is no such role, or `batch_size` is not positive.
        """
        if isinstance(texts, str):
            only: Vectors = self.encode([texts], role=role)[0]
            return only
        if not isinstance(batch_size, int) or batch_size < 1:
            raise AutopruneError(f"encode: batch_size >= 1 must hold, but got {batch_size!r}.")
        if not isinstance(texts, Iterable):
            raise AutopruneError(f"encode: a text or a list of texts must be given, but got {texts!r}.")
        texts = list(texts)
        for text in texts:
            if not isinstance(text, str):
                raise AutopruneError(f"encode: texts are strings, but among them is {text!r}.")
        return self.vectors(self.prompts.before(texts, role), batch_size=batch_size)

    def vectors(self, texts: Sequence[str], *, batch_size: int = 32) -> Vectors:
        """The vectors of texts as they stand, with no prompt before them: float32 [n, out]."""
        tokens = self._tokenizer.encode(texts)
        order = np.argsort([len(ids) for ids in tokens], kind="stable")
        found = np.empty((len(texts), self.out), dtype=np.float32)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            ids, there = padded([tokens[at] for at in chosen])
            found[chosen] = self.forward(ids, there)
            self.pause()
        return found

    def count(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many tokens each text has, and how many of them say that a word could not be read: int64 [n] each."""
        return self._tokenizer.count(texts)

    def check(self) -> None:
        """Answers once: two texts of unlike length, and the piece of the largest id.

        Raises:
            ValueError: the answer is none.
        """
        one, *_ = self._tokenizer.encode(["a"])
        ids, there = padded([one, np.append(one, self._tokenizer.size - 1).astype(np.int32)[-self._max_tokens :]])
        found = self.forward(ids, there)
        if found.shape != (2, self.out) or found.dtype != np.float32:
            raise ValueError(f"its vectors are {found.dtype} {list(found.shape)}, not float32 {[2, self.out]}")
        if self.positions is not None and self._max_tokens > self.positions:
            raise ValueError(f"there are places for {self.positions} tokens, but texts may have {self._max_tokens}")

    @property
    @abstractmethod
    def positions(self) -> int | None:
        """Tokens for which there are places; None: an older artifact does not say."""

    @abstractmethod
    def forward(self, ids: Tensor, there: Tensor) -> Vectors:
        """The vectors of token ids, int64 [batch, tokens], of which those that are `there` (bool) count."""


class OnnxEncoder(SentenceEncoder):
    """Answers by onnxruntime, on the CPU, with as many threads as torch has when it is asked."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._model = parts.files["model.onnx"]
        self._outside = _outside(parts)
        self._rows, self._padding = parts.manifest.get("rows"), parts.manifest.get("padding")
        self._sessions: dict[int, Any] = {}
        self._session()

    @property
    def memory_bytes(self) -> int:
        return len(self._model) + sum(weight.nbytes for weight in self._outside.values())

    @property
    def positions(self) -> int | None:
        places = (self._rows or {}).get("position")
        return None if places is None else int(places) - (self._padding is not None)

    def forward(self, ids: Tensor, there: Tensor) -> Vectors:
        return run(self._session(), ids.numpy(), there.numpy().astype(np.int64))

    def _session(self) -> Any:
        threads = torch.get_num_threads()
        if threads not in self._sessions:
            self._sessions[threads] = open_session(self._model, threads, self._outside)
        return self._sessions[threads]


class TorchEncoder(SentenceEncoder):
    """Answers by torch: linear maps are widened to float32, the tables that are looked up stay packed."""

    def __init__(self, parts: Parts, *, device: torch.device | str) -> None:
        super().__init__(parts)
        self._architecture, self._padding = read_architecture(parts.manifest), parts.manifest.get("padding")
        self._layers = [Layer(at, self._architecture.block(at)) for at in range(len(parts.manifest["layers"]))]
        self._device = torch.device(device)
        self._tables: dict[str, PackedTable] = {}
        self._weights = {
            name: tensor.to(self._device)
            for name, tensor in parts.tensors.items()
            if name.rpartition(".")[2] in ("bias", "norm")
        }
        for name, packed in parts.tables().items():
            table = packed.to(self._device)
            if name in ("word", "position"):
                self._tables[name] = table
            else:
                self._weights[name] = table.decode(torch.arange(table.rows, device=self._device)).contiguous()

    @property
    def memory_bytes(self) -> int:
        packed = sum(table.memory_bytes for table in self._tables.values())
        return packed + sum(tensor.nbytes for tensor in self._weights.values())

    @property
    def positions(self) -> int | None:
        places = self._tables.get("position")
        return None if places is None else places.rows - (self._padding is not None)

    @torch.inference_mode()
    def forward(self, ids: Tensor, there: Tensor) -> Vectors:
        ids, there = ids.to(self._device), there.to(self._device)
        vectors = embed(
            self,
            ids,
            there,
            unwatched,
            architecture=self._architecture,
            padding=self._padding,
            layers=self._layers,
        )
        found: Vectors = vectors.cpu().numpy()
        return found

    def has(self, name: str) -> bool:
        return name in self._tables or name in self._weights

    def looked_up(self, name: str, rows: Tensor) -> Tensor:
        return self._tables[name].decode(rows.flatten()).view(*rows.shape, -1)

    def mapped(self, name: str, vectors: Tensor) -> Tensor:
        return linear(vectors, self._weights[name], self._weights.get(f"{name}.bias"))

    def normed(self, name: str, vectors: Tensor) -> Tensor:
        weight, architecture = self._weights.get(f"{name}.norm"), self._architecture
        if weight is None:
            return vectors
        bias = self._weights.get(f"{name}.norm.bias")
        return normed(vectors, weight, bias, architecture.epsilon, rms=architecture.rms)

    def relative(self, layer: int) -> Tensor | None:
        return self._weights.get(f"distances_{layer}.bias")


def _outside(parts: Parts) -> dict[str, NDArray[Any]]:
    """The weights that a graph of more than two gigabytes has no room for, by name."""
    data = parts.files.get("model.onnx.data", b"")
    return {
        name: np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)
        for name, (dtype, shape, start) in (parts.manifest.get("outside") or {}).items()
    }


def serve_encoder(parts: Parts, *, device: torch.device | str) -> SentenceEncoder:
    """The encoder of an artifact's parts, on the runtime that it was made for.

    Raises:
        AutopruneError: a library that it needs is not installed, or its prompts cannot be meant.
        ValueError: its parts cannot be read, or do not fit one another, as where a file of it is damaged.
    """
    try:
        made = OnnxEncoder(parts) if parts.manifest["runtime"] == "onnx" else TorchEncoder(parts, device=device)
        made.check()
    except (AutopruneError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # tokenizers and onnxruntime have errors of their own, some of no class but this
        raise ValueError((str(error).strip().splitlines() or [type(error).__name__])[0][:200]) from error
    return made
