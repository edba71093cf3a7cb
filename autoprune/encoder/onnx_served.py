"""Sentence encoders that answer by onnxruntime."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoprune.artifacts.served import Parts
from autoprune.encoder.inside import graph_inside, told_apart
from autoprune.encoder.onnx.session import open_session, run
from autoprune.encoder.served import SentenceEncoder, Vectors
from autoprune.encoder.tokenizer import unmarked
from autoprune.errors import AutopruneError
from autoprune.machine import threads


class OnnxEncoder(SentenceEncoder):
    """Answers by onnxruntime, on the CPU, with as many threads as torch has when it is asked, or else all cores.

    A graph that is a file is opened again for another number of threads, and in another process.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        held = parts.files["model.onnx"]
        self._model = held if isinstance(held, bytes) else held.resolve()  # whoever opens it again may be elsewhere
        self._known = None if isinstance(self._model, bytes) else _known(self._model)
        self._alone = "model.onnx.data" not in parts.files
        self._outside = _outside(parts) if isinstance(self._model, bytes) else {}  # a file's lie beside it
        graph = [held for name, held in parts.files.items() if name.startswith("model.onnx")]
        self._bytes = sum(len(held) if isinstance(held, bytes) else held.stat().st_size for held in graph)
        self._manifest = parts.manifest
        self._rows, self._padding = parts.manifest.get("rows"), parts.manifest.get("padding")
        self._sessions: dict[int, Any] = {}
        self._process, self._inherited = os.getpid(), dict[int, Any]()
        self._session()

    @property
    def memory_bytes(self) -> int:
        return self._bytes

    @property
    def positions(self) -> int | None:
        places = (self._rows or {}).get("position")
        return None if places is None else int(places) - (self._padding is not None)

    @property
    def inside(self) -> str:
        places = {"model": "model/model.onnx", "tokenizer": "model/tokenizer.json"}
        return graph_inside(self._manifest, **places, keeps_end=self._tokenizer.keeps_end)

    def forward(self, ids: NDArray[np.int64], there: NDArray[np.bool_]) -> Vectors:
        ids, segments = unmarked(ids)
        told = segments if told_apart(self._manifest) else None
        return run(self._session(), ids, there.astype(np.int64), told)

    def __getstate__(self) -> dict[str, Any]:
        """For another process, perhaps of another machine, which opens sessions of its own."""
        own: dict[str, Any] = {"_sessions": {}, "_inherited": {}}
        if isinstance(self._model, Path) and self._alone:
            own |= {"_model": self._file(self._model).read_bytes(), "_known": None}
        return {**self.__dict__, **own}

    def _session(self) -> Any:
        if self._process != os.getpid():  # a fork has its parent's sessions without their threads
            self._inherited, self._sessions, self._process = self._sessions, {}, os.getpid()
        count = threads()
        if count not in self._sessions:
            model = self._model if isinstance(self._model, bytes) else self._file(self._model)
            self._sessions[count] = open_session(model, count, self._outside)
        return self._sessions[count]

    def _file(self, path: Path) -> Path:
        """The graph's file, which must be the one that the tokenizer at hand was loaded with.

        Raises:
            AutopruneError: it is gone, or another one.
        """
        try:
            same = _known(path) == self._known
        except OSError as error:
            raise AutopruneError(f"{path}: gone since it was loaded; load the artifact again.") from error
        if not same:
            raise AutopruneError(f"{path}: replaced since it was loaded; load the artifact again.")
        return path


def _known(path: Path) -> tuple[int, int, int]:
    """What tells a file from one that takes its place."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _outside(parts: Parts) -> dict[str, NDArray[Any]]:
    """The weights that a graph of more than two gigabytes has no room for, by name."""
    data = parts.content("model.onnx.data") if "model.onnx.data" in parts.files else b""
    return {
        name: np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)
        for name, (dtype, shape, start) in (parts.manifest.get("outside") or {}).items()
    }
