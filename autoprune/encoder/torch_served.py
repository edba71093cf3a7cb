"""Sentence encoders that torch answers for."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import layer_norm, linear, normalize, scaled_dot_product_attention

from autoprune.artifacts.served import Parts
from autoprune.encoder.functional import ACTIVATIONS, places, pool
from autoprune.encoder.served import SentenceEncoder, Vectors
from autoprune.packing import PackedTable
from autoprune.packing.arrays import tensor_of


class TorchEncoder(SentenceEncoder):
    """Answers by torch: linear maps are widened to float32, the tables that are looked up stay packed."""

    def __init__(self, parts: Parts, *, device: str) -> None:
        super().__init__(parts)
        self._settings = parts.manifest
        self._device = torch.device(device)
        self._tables: dict[str, PackedTable] = {}
        self._weights = {
            name: tensor_of(tensor, self._device)
            for name, tensor in parts.tensors.items()
            if name.rpartition(".")[2] in ("bias", "norm")
        }
        for name, packed in parts.tables().items():
            table = packed.to(self._device)
            if name in ("word", "position"):
                self._tables[name] = table
            else:
                self._weights[name] = table.values().contiguous()

    @property
    def memory_bytes(self) -> int:
        packed = sum(table.memory_bytes for table in self._tables.values())
        return packed + sum(int(tensor.nbytes) for tensor in self._weights.values())

    @property
    def positions(self) -> int:
        return self._tables["position"].rows - (self._settings.get("padding") is not None)

    @torch.inference_mode()
    def forward(self, ids: NDArray[np.int64], there: NDArray[np.bool_]) -> Vectors:
        return self._forward(tensor_of(ids, self._device), tensor_of(there, self._device))

    def _forward(self, ids: Tensor, there: Tensor) -> Vectors:
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
