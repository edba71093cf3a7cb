"""Sentence encoders that answer with torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from autoprune.artifacts.served import Parts, Threads
from autoprune.encoder.architecture import normed, read_architecture
from autoprune.encoder.inside import tables_inside
from autoprune.encoder.served import SentenceEncoder, Vectors
from autoprune.encoder.transformer import Layer, embed, unwatched
from autoprune.machine import at_once
from autoprune.packing import PackedTable
from autoprune.packing.arrays import tensor_of


class TorchEncoder(SentenceEncoder):
    """Answers with torch: linear layers are widened to float32, lookup tables stay packed."""

    def __init__(self, parts: Parts, *, device: str) -> None:
        super().__init__(parts)
        self._threads = Threads()
        self._architecture, self._padding = read_architecture(parts.manifest), parts.manifest.get("padding")
        self._layers = [Layer(at, self._architecture.block(at)) for at in range(len(parts.manifest["layers"]))]
        self._manifest, self._device = parts.manifest, torch.device(device)
        self._tables: dict[str, PackedTable] = {}
        self._weights = {
            name: tensor_of(tensor, self._device)
            for name, tensor in parts.tensors.items()
            if name.rpartition(".")[2] in ("bias", "norm")
        }
        for name, packed in parts.tables().items():
            table = packed.to(self._device)
            if name in ("word", "position", "segment"):
                self._tables[name] = table
            else:
                self._weights[name] = table.values().contiguous()

    @property
    def memory_bytes(self) -> int:
        packed = sum(table.memory_bytes for table in self._tables.values())
        return packed + sum(int(tensor.nbytes) for tensor in self._weights.values())

    @property
    def positions(self) -> int | None:
        places = self._tables.get("position")
        return None if places is None else places.rows - (self._padding is not None)

    @property
    def inside(self) -> str:
        return tables_inside(self._manifest)

    def texts_at_once(self, tokens: int) -> int:
        # Memory of the largest layer: hidden states, queries, keys and values, neurons, and each head's attention.
        hidden, width = self._architecture.hidden, max(len(weight) for weight in self._weights.values())
        queries = max((len(weight) for name, weight in self._weights.items() if name.startswith("query_")), default=0)
        numbers = 4 * hidden + 3 * width + 2 * (queries // self._architecture.head_dim) * tokens
        return at_once(self._device, 4 * tokens * numbers, usual=super().texts_at_once(tokens))

    @torch.inference_mode()
    def forward(self, ids: NDArray[np.int64], there: NDArray[np.bool_]) -> Vectors:
        self._threads.do_without()
        vectors = embed(
            self,
            tensor_of(ids, self._device),
            tensor_of(there, self._device),
            unwatched,
            architecture=self._architecture,
            padding=self._padding,
            layers=self._layers,
        )
        array: Vectors = vectors.cpu().numpy()
        return array

    def has(self, name: str) -> bool:
        return name in self._tables or name in self._weights

    def looked_up(self, name: str, rows: Tensor) -> Tensor:
        decoded: Tensor = self._tables[name].decode(rows.flatten()).view(*rows.shape, -1)
        return decoded

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
