"""Sentence encoders that answer with onnxruntime."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.artifacts.served import Parts
from autoprune.encoder.inside import graph_inside, has_segments
from autoprune.encoder.onnx.session import open_session, run
from autoprune.encoder.served import BATCH, SentenceEncoder, Vectors
from autoprune.encoder.tokenizer import unmarked
from autoprune.errors import AutopruneError
from autoprune.machine import threads

ATTENTION = 2**30
"""Bytes that the attention of a batch may take: 32 texts of 512 tokens with 16 heads. A single text may take more."""


class OnnxEncoder(SentenceEncoder):
    """Answers with onnxruntime on the CPU, with as many threads as torch has then, or on all cores without torch.

    A graph in a file is opened again for another number of threads, and in another process.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        model = parts.files["model.onnx"]
        if isinstance(parts.files.get("model.onnx.data"), bytes):  # a graph in a file would not find these
            model = parts.content("model.onnx")
        self._model = model if isinstance(model, bytes) else model.resolve()  # the working directory may change
        self._identity = None if isinstance(self._model, bytes) else _identity(self._model)
        self._alone = "model.onnx.data" not in parts.files
        self._outside = _outside(parts) if isinstance(self._model, bytes) else {}  # those of a file lie beside it
        graph = [content for name, content in parts.files.items() if name.startswith("model.onnx")]
        self._bytes = sum(len(part) if isinstance(part, bytes) else part.stat().st_size for part in graph)
        self._bytes += _widened(parts.manifest)
        self._heads: int = max(layer["heads"] for layer in parts.manifest["layers"]) * parts.manifest.get("shared", 1)
        self._manifest = parts.manifest
        self._rows, self._padding = parts.manifest.get("rows"), parts.manifest.get("padding")
        self._sessions: dict[int, Any] = {}
        self._process, self._inherited = os.getpid(), dict[int, Any]()
        self._session()

    @property
    def memory_bytes(self) -> int:
        # A graph in memory is held in addition to its session, which copies it.
        return self._bytes + (len(self._model) if isinstance(self._model, bytes) else 0)

    @property
    def positions(self) -> int | None:
        places = (self._rows or {}).get("position")
        return None if places is None else int(places) - (self._padding is not None)

    @property
    def inside(self) -> str:
        places = {"model": "model/model.onnx", "tokenizer": "model/tokenizer.json"}
        return graph_inside(self._manifest, **places, keeps_end=self._tokenizer.keeps_end)

    def texts_at_once(self, tokens: int) -> int:
        # The scores of all heads in float32, before and after the softmax: for long texts nothing else takes as much.
        return max(1, min(BATCH, ATTENTION // (8 * self._heads * max(1, tokens) ** 2)))

    def forward(self, ids: NDArray[np.int64], there: NDArray[np.bool_]) -> Vectors:
        ids, segments = unmarked(ids)
        token_types = segments if has_segments(self._manifest) else None
        return run(self._session(), ids, there.astype(np.int64), token_types)

    def __getstate__(self) -> dict[str, Any]:
        """State for another process, perhaps on another machine, which opens sessions of its own."""
        own: dict[str, Any] = {"_sessions": {}, "_inherited": {}}
        if isinstance(self._model, Path) and self._alone:
            own |= {"_model": self._file(self._model).read_bytes(), "_identity": None}
        return {**self.__dict__, **own}

    def _session(self) -> Any:
        if self._process != os.getpid():  # a forked process has its parent's sessions, but not their threads
            self._inherited, self._sessions, self._process = self._sessions, {}, os.getpid()
        count = threads()
        if count not in self._sessions:
            model = self._model if isinstance(self._model, bytes) else self._file(self._model)
            self._sessions[count] = open_session(model, count, self._outside)
        return self._sessions[count]

    def _file(self, path: Path) -> Path:
        """The graph's file, which must be the one that was loaded together with the tokenizer.

        Raises:
            AutopruneError: it is gone or was replaced.
        """
        try:
            same = _identity(path) == self._identity
        except OSError as error:
            raise AutopruneError(f"{path}: gone since it was loaded; load the artifact again.") from error
        if not same:
            raise AutopruneError(f"{path}: replaced since it was loaded; load the artifact again.")
        return path


def _identity(path: Path) -> tuple[int, int, int]:
    """The inode, size and time of a file, which change when another file takes its place."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _widened(manifest: Mapping[str, Any]) -> int:
    """Bytes that linear layers take beyond those in the file: in an open session, each code takes a byte."""
    bits, hidden, size = manifest.get("bits") or {}, manifest["hidden"], manifest["head_dim"]
    blocks, extra = sorted({int(number) for name in bits if (number := name.partition("_")[2])}), 0
    for place, layer in enumerate(manifest["layers"] if bits else ()):
        block, inner = blocks[layer.get("block", place)], layer["heads"] * size
        queries = inner * manifest.get("shared", 1)
        widths = {"query": queries, "key": inner, "value": inner, "output": queries}
        for name, width in {**widths, **dict.fromkeys(("up", "gate", "down"), layer["ffn"])}.items():
            extra += hidden * width * max(0, 8 - bits.get(f"{name}_{block}", 8)) // 8
    return extra


def _outside(parts: Parts) -> dict[str, NDArray[Any]]:
    """The weights, by name, for which a graph of more than two gigabytes has no room."""
    data = parts.content("model.onnx.data") if "model.onnx.data" in parts.files else b""
    return {
        name: np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)
        for name, (dtype, shape, start) in (parts.manifest.get("outside") or {}).items()
    }
