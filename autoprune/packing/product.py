"""Product quantisation: a row is a few codebook entry numbers, one for each run of dimensions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from autoprune.packing.arrays import Array, cast, filled, namespace, norms, numbers, numpy_of
from autoprune.packing.bits import pack_codes, scales, unpack_codes
from autoprune.packing.packed import PackedTable, StoredTable, block_rows

ROUNDS = 20
"""Iterations of k-means."""

POINTS = 64
"""The most rows per entry, drawn at random, to learn from: learning is most of the cost of coding a large table."""

STRETCH = math.log(4)
"""The largest factor by which rows are made longer or shorter, as a logarithm; steps are 1.1 %."""

STEPS = 254
"""Steps of a byte from the shortest to the longest; 0 is a row of zeros."""

GRID = (-STRETCH, 2 * STRETCH / STEPS)

ASSIGNED_ROWS = 2**11
"""Rows whose nearest entries are found at a time: their products with all entries fit into a core's L2 cache."""


@dataclass(frozen=True, kw_only=True)
class ProductCodes:
    """Codes of a table: run m of row r is codebook[m, codes[r, m]] * unit, times the row's scale if there are scales.

    Attributes:
        codes: uint8 [rows, runs].
        codebook: float16 [runs, entries, width], in multiples of `unit`; the last run may be padded with zeros.
        unit: the largest absolute value of the table.
        dim: of the table; runs * width may be larger.
        scale: uint8 [rows], as `autoprune.packing.bits.scales` reads it: gives each row its original length; or None.
    """

    codes: Array
    codebook: Array
    unit: float
    dim: int
    scale: Array | None = None

    def values(self) -> Array:
        """The table the codes stand for, float32 [rows, dim]."""
        decoded = _decode(self.codes, cast(self.codebook, "float32") * self.unit, self.dim)
        return decoded if self.scale is None else decoded * scales(self.scale, GRID)[:, None]

    def pack(self) -> StoredTable:
        """The table as it ships."""
        entries = self.codebook.shape[1]
        bits = 4 if entries <= 16 else 8
        entry = {"rows": len(self.codes), "dim": self.dim, "pattern": "product", "bits": bits}
        tensors = {"codes": pack_codes(self.codes, bits), "codebook": self.codebook, "unit": np.array(self.unit, "f4")}
        if self.scale is not None:
            tensors |= {"scale": self.scale, "grid": np.array(GRID, "f4")}
        return StoredTable(entry=entry, tensors={name: numpy_of(tensor) for name, tensor in tensors.items()})


@dataclass(frozen=True, kw_only=True)
class Book:
    """Learned codebooks, which code any rows; attributes as of `ProductCodes` and `Codebooks`."""

    codebook: Array
    unit: float
    dim: int
    lengths: bool = False

    def code(self, values: Array) -> ProductCodes:
        """The nearest entries to float32 [n, dim], in torch, in stored precision."""
        torch, (runs, _, width) = namespace(values), self.codebook.shape
        codes = torch.zeros(len(values), runs, dtype=torch.uint8)
        for run, part in enumerate(_runs(values / self.unit, width)):
            book = self.codebook[run].float().cpu()
            lengths = -0.5 * book.square().sum(1)
            for start in range(0, len(part), ASSIGNED_ROWS):  # the least distance is the largest v·c - |c|² / 2
                nearest = torch.addmm(lengths, part[start : start + ASSIGNED_ROWS], book.T).argmax(1)
                codes[start : start + ASSIGNED_ROWS, run] = nearest.to(torch.uint8)
        coded = ProductCodes(codes=codes.to(values.device), codebook=self.codebook, unit=self.unit, dim=self.dim)
        return replace(coded, scale=_scale(values, coded.values())) if self.lengths else coded


@dataclass(frozen=True, kw_only=True)
class Codebooks:
    """Product quantisation (Jégou, Douze & Schmid 2011) by the k-means of Faiss.

    Attributes:
        width: dimensions in a run, at most all of them; the last run is padded with zeros.
        entries: size of each run's codebook, at most 256 and at most the number of rows.
        seed: of k-means.
        rounds: of k-means; 0 takes the first rows as the codebook.
        lengths: whether decoded rows get their original length, for one byte per row: entries are means, so too short.
    """

    width: int
    entries: int
    seed: int
    rounds: int = ROUNDS
    lengths: bool = False

    @property
    def points(self) -> int:
        """How many rows are enough to learn from."""
        return POINTS * self.entries if self.rounds else self.entries

    def learn(self, values: Array, *, largest: float | None = None) -> Book:
        """The codebooks of a table.

        Args:
            values: float32 [rows, dim] in torch, finite; all rows, or a random sample of `points`.
            largest: the largest absolute value of the whole table, or more, if `values` is a sample.
        """
        unit = max(float(values.abs().max()) if largest is None else largest, 1e-30)
        dim, width, entries = values.shape[1], min(self.width, values.shape[1]), min(self.entries, len(values))
        codebook = namespace(values).stack(
            [
                _means(part, entries, seed=self.seed + run, rounds=self.rounds) if self.rounds else part[:entries]
                for run, part in enumerate(_runs(values / unit, width))
            ]
        )
        return Book(codebook=codebook.half().to(values.device), unit=unit, dim=dim, lengths=self.lengths)


def _scale(values: Array, decoded: Array) -> Array:
    """The scales that give decoded rows the original lengths, in torch, as in `ProductCodes`: uint8 [n]."""
    torch = namespace(values)
    length, decoded_length = norms(values), norms(decoded)
    steps = 1 + ((length / decoded_length.clamp_min(1e-30)).log().nan_to_num() - GRID[0]).div(GRID[1]).round()
    return torch.where((length > 0) & (decoded_length > 0), steps.clamp(1, STEPS + 1), 0.0).to(torch.uint8)


def _runs(values: Array, width: int) -> Iterator[Array]:
    """The runs of dimensions of rows, float32 [n, width] each; the last is padded with zeros."""
    padded = namespace(values).nn.functional.pad(values, (0, -values.shape[1] % width)).cpu()
    for start in range(0, padded.shape[1], width):
        yield padded[:, start : start + width].contiguous()


def load_faiss() -> ModuleType:
    """Faiss, imported only when needed: loading a small artifact should not wait for it."""
    with warnings.catch_warnings():  # its generated types cause warnings
        warnings.simplefilter("ignore")
        import faiss
    module: ModuleType = faiss
    return module


def _means(part: Array, entries: int, *, seed: int, rounds: int) -> Array:
    """The entries that k-means finds, in torch: float32 [entries, width]."""
    faiss = load_faiss()
    means = faiss.Kmeans(
        part.shape[1], entries, niter=rounds, seed=seed, min_points_per_centroid=1, max_points_per_centroid=POINTS
    )
    means.train(part.numpy())
    return namespace(part).from_numpy(np.asarray(means.centroids))


@dataclass(frozen=True, kw_only=True)
class PackedProduct(PackedTable):
    """A product-quantised table in memory: packed codes (`bits` is 8 or 4), and the codebook in float32."""

    @staticmethod
    def restore(entry: Mapping[str, Any], stored: Mapping[str, Array]) -> PackedProduct:
        """From a manifest entry and the arrays of a file."""
        tensors = {"codes": stored["codes"], "codebook": cast(stored["codebook"], "float32") * stored["unit"]}
        if "scale" in stored:
            tensors["scale"] = scales(stored["scale"], stored["grid"])
        return PackedProduct(**entry, tensors=tensors)

    def decode(self, index: Array) -> Array:
        decoded = self._decoded(self.tensors["codes"][index])
        return decoded * self.tensors["scale"][index][:, None] if "scale" in self.tensors else decoded

    def scores(self, queries: Array) -> Array:
        """Dot products of `queries` (float32 [n, dim]) with every row: float32 [n, rows].

        One query looks up its products with the codebook (asymmetric distances, Jégou et al. 2011, section III); for
        many queries decoding a block and multiplying is faster.
        """
        out = filled((len(queries), self.rows), 0, queries)
        table = self._products(queries[0]) if len(queries) == 1 else None
        step = block_rows(self.dim, len(queries))
        for start in range(0, self.rows, step):
            rows = slice(start, min(start + step, self.rows))
            packed = self.tensors["codes"][rows]
            if table is None:
                namespace(queries).matmul(queries, self._decoded(packed).T, out=out[:, rows])
            else:
                _look_up(table, unpack_codes(packed, self.bits, len(table)), out[0, rows])
        return out * self.tensors["scale"] if "scale" in self.tensors else out

    def _products(self, query: Array) -> Array:
        """The dot products of a query's runs with every codebook entry: float32 [runs, entries]."""
        runs, _, width = self.tensors["codebook"].shape
        whole = filled((runs * width,), 0, query)
        whole[: self.dim] = query
        return (self.tensors["codebook"] @ whole.reshape(runs, width, 1))[:, :, 0]

    def _decoded(self, packed: Array) -> Array:
        codebook = self.tensors["codebook"]
        return _decode(unpack_codes(packed, self.bits, len(codebook)), codebook, self.dim)


def _look_up(table: Array, codes: Array, out: Array) -> None:
    """Sums, for each row of codes, uint8 [rows, runs], its entries of [runs, entries]: float32 [rows]."""
    if isinstance(table, np.ndarray):
        for products, column in zip(table, codes.T, strict=True):
            out += products.take(column)
        return
    library, (runs, entries) = namespace(table), table.shape
    where = cast(codes, "int32") + cast(numbers(runs, codes) * entries, "int32")
    out[:] = library.nn.functional.embedding_bag(where, table.reshape(-1, 1), mode="sum")[:, 0]


def _decode(codes: Array, codebook: Array, dim: int) -> Array:
    runs, entries, width = codebook.shape
    where = cast(codes, "int64") + numbers(runs, codes) * entries
    values = codebook.reshape(-1, width)[where.flatten()]
    return values.reshape(len(codes), runs * width)[:, :dim]
