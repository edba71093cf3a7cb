"""Sentence encoders that answer: the same question to two runtimes, onnxruntime and torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import layer_norm, linear, normalize, scaled_dot_product_attention

from autoprune.artifacts.served import Parts, Served
from autoprune.encoder.functional import ACTIVATIONS, padded, places, pool
from autoprune.encoder.onnx_session import open_session, run
from autoprune.encoder.prompts import Prompts
from autoprune.encoder.similarity import SIMILARITIES
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.errors import AutopruneError
from autoprune.packing import PackedTable

Vectors = NDArray[np.float32]


class SentenceEncoder(Served):
    """Texts to vectors.

    Attributes:
        out: dimensions of a vector.
        prompts: what stands before a text, by its role.
        similarity: how vectors are to be compared, one of `autoprune.encoder.similarity.SIMILARITIES`.
    """

    def __init__(self, parts: Parts) -> None:
        self._tokenizer = Tokenizer.read(
            parts.files["tokenizer.json"].decode(), max_tokens=parts.manifest["max_tokens"]
        )
        self.out = int(parts.manifest["out"])
        self.prompts = Prompts(**parts.manifest.get("prompts", {}))
        self.similarity = str(parts.manifest.get("similarity", SIMILARITIES[0]))

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

    @abstractmethod
    def forward(self, ids: Tensor, there: Tensor) -> Vectors:
        """The vectors of token ids, int64 [batch, tokens], of which those that are `there` (bool) count."""


class OnnxEncoder(SentenceEncoder):
    """Answers by onnxruntime, on the CPU, with as many threads as torch has when it is asked."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._model = parts.files["model.onnx"]
        self._sessions: dict[int, Any] = {}
        self._session()

    @property
    def memory_bytes(self) -> int:
        return len(self._model)

    def forward(self, ids: Tensor, there: Tensor) -> Vectors:
        return run(self._session(), ids.numpy(), there.numpy().astype(np.int64))

    def _session(self) -> Any:
        threads = torch.get_num_threads()
        if threads not in self._sessions:
            self._sessions[threads] = open_session(self._model, threads)
        return self._sessions[threads]


class TorchEncoder(SentenceEncoder):
    """Answers by torch: linear maps are widened to float32, the tables that are looked up stay packed."""

    def __init__(self, parts: Parts, *, device: torch.device | str) -> None:
        super().__init__(parts)
        self._settings = parts.manifest
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

    @torch.inference_mode()
    def forward(self, ids: Tensor, there: Tensor) -> Vectors:
        ids, there = ids.to(self._device), there.to(self._device)
        rows = places(ids, self._settings.get("padding"))
        words = self._tables["word"].decode(ids.flatten()).view(*ids.shape, -1)
        placed = self._tables["position"].decode(rows.flatten()).view(*rows.shape, -1)
        hidden = self._norm("embedding", words + placed)
        if "project" in self._weights:
            hidden = self._map("project", hidden)
        mask = None if there.all() else there[:, None, None, :]
        activate = ACTIVATIONS[self._settings["activation"]]
        for layer in range(len(self._settings["layers"])):
            query, key, value = (
                self._map(f"{name}_{layer}", hidden).view(*ids.shape, -1, self._settings["head_dim"]).transpose(1, 2)
                for name in ("query", "key", "value")
            )
            context = scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
            hidden = hidden + self._map(f"output_{layer}", context.reshape(*ids.shape, -1))
            hidden = self._norm(f"attention_{layer}", hidden)
            neurons = activate(self._map(f"up_{layer}", hidden))
            hidden = self._norm(f"ffn_{layer}", hidden + self._map(f"down_{layer}", neurons))
        vectors = pool(hidden, there, self._settings["pooling"])
        if "out" in self._weights:
            vectors = self._map("out", vectors)
        if self._settings["normalize"]:
            vectors = normalize(vectors)
        found: Vectors = vectors.cpu().numpy()
        return found

    def _map(self, name: str, vectors: Tensor) -> Tensor:
        return linear(vectors, self._weights[name], self._weights[f"{name}.bias"])

    def _norm(self, name: str, vectors: Tensor) -> Tensor:
        weight, bias = self._weights[f"{name}.norm"], self._weights[f"{name}.norm.bias"]
        return layer_norm(vectors, weight.shape, weight, bias, self._settings["epsilon"])


def serve_encoder(parts: Parts, *, device: torch.device | str) -> SentenceEncoder:
    """The encoder of an artifact's parts, on the runtime that it was made for."""
    return OnnxEncoder(parts) if parts.manifest["runtime"] == "onnx" else TorchEncoder(parts, device=device)
