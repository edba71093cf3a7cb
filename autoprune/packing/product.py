"""Product quantisation: a row is a few numbers of codebook entries, one for each run of dimensions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.packing.codes import pack_codes, unpack_codes
from autoprune.packing.packed import PackedTable, StoredTable, block_rows

ROUNDS = 20
"""Of the k-means."""

POINTS = 64
"""Rows, drawn, that each entry is learned from, at most: learning is most of what coding a large table costs."""

ASSIGNED_ROWS = 2**11
"""Rows whose nearest entries are found at a time: their products with all entries stay in a core's second cache."""


@dataclass(frozen=True, kw_only=True)
class ProductCodes:
    """Codes of a table: run m of row r is codebook[m, codes[r, m]] * unit.

    Attributes:
        codes: uint8 [rows, runs].
        codebook: float16 [runs, entries, width], in multiples of `unit`; the last run may be padded with zeros.
        unit: the largest absolute value of the table.
        dim: of the table; runs * width may be larger.
    """

    codes: Tensor
    codebook: Tensor
    unit: float
    dim: int

    def values(self) -> Tensor:
        """The table the codes stand for, float32 [rows, dim]."""
        return _decode(self.codes, self.codebook.float() * self.unit, self.dim)

    def pack(self) -> StoredTable:
        """The table as it ships."""
        entries = self.codebook.shape[1]
        bits = 4 if entries <= 16 else 8
        entry = {"rows": len(self.codes), "dim": self.dim, "pattern": "product", "bits": bits}
        tensors = {"codes": pack_codes(self.codes, bits), "codebook": self.codebook, "unit": torch.tensor(self.unit)}
        return StoredTable(entry=entry, tensors={name: tensor.contiguous() for name, tensor in tensors.items()})


@dataclass(frozen=True, kw_only=True)
class Book:
    """Codebooks that rows can be coded by, whichever they are; attributes as of `ProductCodes`."""

    codebook: Tensor
    unit: float
    dim: int

    def code(self, values: Tensor) -> ProductCodes:
        """The nearest entries of float32 [n, dim], as they are stored."""
        runs, _, width = self.codebook.shape
        codes = torch.zeros(len(values), runs, dtype=torch.uint8)
        for run, part in enumerate(_runs(values / self.unit, width)):
            book = self.codebook[run].float().cpu()
            lengths = -0.5 * book.square().sum(1)
            for start in range(0, len(part), ASSIGNED_ROWS):  # the least distance is the largest v·c - |c|² / 2
                near = torch.addmm(lengths, part[start : start + ASSIGNED_ROWS], book.T).argmax(1)
                codes[start : start + ASSIGNED_ROWS, run] = near.to(torch.uint8)
        return ProductCodes(codes=codes.to(values.device), codebook=self.codebook, unit=self.unit, dim=self.dim)


@dataclass(frozen=True, kw_only=True)
class Codebooks:
    """Product quantisation (Jégou, Douze & Schmid 2011) by the k-means of Faiss.

    Attributes:
        width: dimensions in a run, at most all of them; the last run is filled up with zeros.
        entries: of each run's codebook, at most 256; never more than there are rows.
        seed: of the k-means.
        rounds: of the k-means; 0 takes the first rows for the codebook.
    """

    width: int
    entries: int
    seed: int
    rounds: int = ROUNDS

    @property
    def points(self) -> int:
        """Rows that are enough to learn from."""
        return POINTS * self.entries if self.rounds else self.entries

    def learn(self, values: Tensor, *, largest: float | None = None) -> Book:
        """The codebooks of a table.

        Args:
            values: float32 [rows, dim], finite; perhaps `points` of its rows that were drawn.
            largest: absolute value of the table, where some of its rows alone are given; one that is too large will do.
        """
        unit = max(float(values.abs().max()) if largest is None else largest, 1e-30)
        dim, width, entries = values.shape[1], min(self.width, values.shape[1]), min(self.entries, len(values))
        codebook = torch.stack(
            [
                _means(part, entries, seed=self.seed + run, rounds=self.rounds) if self.rounds else part[:entries]
                for run, part in enumerate(_runs(values / unit, width))
            ]
        )
        return Book(codebook=codebook.half().to(values.device), unit=unit, dim=dim)


def learn_product(values: Tensor, *, width: int, entries: int, seed: int, rounds: int = ROUNDS) -> ProductCodes:
    """A table coded by codebooks of its own; arguments as of `Codebooks`."""
    return Codebooks(width=width, entries=entries, seed=seed, rounds=rounds).learn(values).code(values)


def _runs(values: Tensor, width: int) -> Iterator[Tensor]:
    """The runs of dimensions of some rows, float32 [n, width] each; the last is filled up with zeros."""
    padded = torch.nn.functional.pad(values, (0, -values.shape[1] % width)).cpu()
    for start in range(0, padded.shape[1], width):
        yield padded[:, start : start + width].contiguous()


def load_faiss() -> ModuleType:
    """Faiss, imported where it is needed: what loads a small artifact should not wait for it."""
    with warnings.catch_warnings():  # Python finds fault with its generated types
        warnings.simplefilter("ignore")
        import faiss
    module: ModuleType = faiss
    return module


def _means(part: Tensor, entries: int, *, seed: int, rounds: int) -> Tensor:
    faiss = load_faiss()
    means = faiss.Kmeans(
        part.shape[1], entries, niter=rounds, seed=seed, min_points_per_centroid=1, max_points_per_centroid=POINTS
    )
    means.train(part.numpy())
    return torch.from_numpy(np.asarray(means.centroids))


@dataclass(frozen=True, kw_only=True)
class PackedProduct(PackedTable):
    """A product-quantised table in memory: packed codes (`bits` is 8 or 4), and the codebook widened to float32."""

    @staticmethod
    def restore(entry: Mapping[str, Any], stored: Mapping[str, Tensor]) -> PackedProduct:
        """From a manifest entry and the tensors of a file."""
        codebook = stored["codebook"].float() * stored["unit"]
        return PackedProduct(**entry, tensors={"codes": stored["codes"], "codebook": codebook})

    def decode(self, index: Tensor) -> Tensor:
        return self._decoded(self.tensors["codes"][index])

    def scores(self, queries: Tensor) -> Tensor:
        """Dot products of `queries` (float32 [n, dim]) with every row: float32 [n, rows].

        One query looks its products with the codebook up (asymmetric distances, Jégou et al. 2011, section III);
        for many, decoding a block and multiplying is faster.
        """
        out = torch.empty(len(queries), self.rows, device=queries.device)
        table = self._products(queries[0]) if len(queries) == 1 else None
        step = block_rows(self.dim, len(queries))
        for start in range(0, self.rows, step):
            rows = slice(start, min(start + step, self.rows))
            packed = self.tensors["codes"][rows]
            if table is None:
                torch.matmul(queries, self._decoded(packed).T, out=out[:, rows])
            else:
                runs, entries = table.shape
                where = unpack_codes(packed, self.bits, runs).int()
                where += torch.arange(0, runs * entries, entries, dtype=torch.int32, device=where.device)
                out[0, rows] = torch.nn.functional.embedding_bag(where, table.view(-1, 1), mode="sum")[:, 0]
        return out

    def _products(self, query: Tensor) -> Tensor:
        """The dot products of a query's runs with every codebook entry: float32 [runs, entries]."""
        runs, _, width = self.tensors["codebook"].shape
        parts = torch.nn.functional.pad(query, (0, runs * width - self.dim)).view(runs, width, 1)
        return (self.tensors["codebook"] @ parts)[:, :, 0].contiguous()

    def _decoded(self, packed: Tensor) -> Tensor:
        codebook = self.tensors["codebook"]
        return _decode(unpack_codes(packed, self.bits, len(codebook)), codebook, self.dim)


def _decode(codes: Tensor, codebook: Tensor, dim: int) -> Tensor:
    runs, entries, width = codebook.shape
    where = codes.int() + torch.arange(0, runs * entries, entries, dtype=torch.int32, device=codes.device)
    values = codebook.view(-1, width)[where.flatten()]
    return values.view(len(codes), runs * width)[:, :dim]
