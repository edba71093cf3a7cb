"""What vectors are judged by: a benchmark turns what answers into rows, a metric turns the rows into a number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from autoprune.tasks.benchmarks import MeanValue, Spearman
from autoprune.tasks.metric import Metric
from autoprune.vectors.catalogue import Catalogue
from autoprune.vectors.neighbours import Places, nearest
from autoprune.vectors.queries import Queries
from autoprune.vectors.served import VectorIndex
from autoprune.vectors.similarity import compared, prepared

LOOK_QUERIES, LOOK_NEAR, LOOK_ROWS = 256, 50, 2**14
"""A look asks so many queries, among so many neighbours of each under the dense model and so many rows drawn."""

PAIRS_OF_A_QUERY = 4


class Benchmark(ABC):
    """Something to do with vectors for which it is known what would be right.

    Attributes:
        name: of the benchmark, as it stands in the rows.
        metrics: by name, the main one first; each reads no other rows than those of this benchmark.
        labelled: whether people said what is right; what only repeats the dense model is no purpose of its own.
    """

    name: str
    labelled: bool = False
    metrics: Mapping[str, Metric]

    @abstractmethod
    def rows(self, served: VectorIndex, split: str) -> pd.DataFrame:
        """What an index makes of a split.

        Returns:
            The columns of `autoprune.tasks.benchmarks`, and `asker`, int64: what slices are made from.
        """

    @abstractmethod
    def part(self) -> Benchmark:
        """The same with what a look asks of validation: a part that is quickly asked, and the same for every model."""

    @abstractmethod
    def describe(self) -> str:
        """A short phrase with counts."""

    @abstractmethod
    def content(self) -> Iterator[object]:
        """What it asks and what would be right, as texts, numbers and tensors: what its scores rest on."""


def as_rows(name: str, values: Any, *, asker: Any, gold: Any = None, units: Any = None) -> pd.DataFrame:
    """The rows of a benchmark; units are numbered as they stand unless they are given."""
    count = len(values)
    return pd.DataFrame(
        {
            "benchmark": pd.Categorical.from_codes(np.zeros(count, dtype=np.int8), pd.Index([name])),
            "unit": np.arange(count, dtype=np.int64) if units is None else np.asarray(units, dtype=np.int64),
            "value": np.asarray(values, dtype=np.float64),
            "gold": np.full(count, np.nan) if gold is None else np.asarray(gold, dtype=np.float64),
            "asker": np.asarray(asker, dtype=np.int64),
        }
    )


class Overlap(Benchmark):
    """The share of a query's k exact neighbours under the dense model that are among the k that are found.

    A row is not its own neighbour, and a row that was removed finds nothing.

    Args:
        catalogue: the dense vectors.
        queries: by split.
        among: rows of the catalogue that may be found, int64 [m]; None: all.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        queries: Mapping[str, Queries],
        *,
        similarity: str,
        k: int = 10,
        among: Tensor | None = None,
    ) -> None:
        self.name = "neighbours"
        self.metrics = {f"overlap@{k}": MeanValue(self.name)}
        self._catalogue, self._queries, self._similarity, self._k = catalogue, queries, similarity, k
        self._given, self._size = among, len(catalogue)
        self._right: dict[str, Places] = {}

    @property
    def _among(self) -> Tensor:
        return torch.arange(self._size) if self._given is None else self._given

    def rows(self, served: VectorIndex, split: str) -> pd.DataFrame:
        queries = self._queries[split]
        right, found = self.exact(split), found_by(served, queries, self._among, k=self._k)
        shared = (right[:, :, None] == found[:, None, :]).any(axis=2).sum(axis=1) / max(right.shape[1], 1)
        return as_rows(self.name, shared, asker=queries.places)

    def exact(self, split: str) -> Places:
        """The neighbours under the dense model, [n, k]."""
        if split not in self._right:
            self._right[split] = self._exact(self._queries[split], self._k)
        return self._right[split]

    def _exact(self, queries: Queries, k: int) -> Places:
        vectors = self._catalogue.vectors
        _, found = nearest(queries.vectors, vectors.__getitem__, self._among, similarity=self._similarity, k=k + 1)
        return without_itself(found, queries.own.numpy(), k)

    def part(self) -> Overlap:
        queries = self._queries["validation"].first(LOOK_QUERIES)
        near = self._exact(queries, LOOK_NEAR)
        draw = np.random.default_rng(0).choice(len(self._among), min(LOOK_ROWS, len(self._among)), replace=False)
        among = torch.from_numpy(np.unique(np.concatenate([near[near >= 0], self._among.numpy()[draw]])))
        return Overlap(self._catalogue, {"validation": queries}, similarity=self._similarity, k=self._k, among=among)

    def describe(self) -> str:
        counts = " and ".join(f"{len(queries):,} {split}" for split, queries in self._queries.items())
        return f"the {self._k} nearest of {counts} queries"

    def content(self) -> Iterator[object]:
        for queries in self._queries.values():
            yield from (queries.own, queries.places, queries.vectors)


class Similarities(Benchmark):
    """Spearman's ρ of the dense model's similarities and those that are found, over pairs of a query and a row.

    Half of the rows are drawn at random, half are neighbours under the dense model: random pairs alone say nothing of
    what is near. A row that was removed is as unlike as the most unlike pair.

    Args:
        neighbours: says what is near.
    """

    def __init__(
        self, catalogue: Catalogue, queries: Mapping[str, Queries], neighbours: Overlap, *, similarity: str
    ) -> None:
        self.name = "similarities"
        self.metrics = {"similarity": Spearman(self.name)}
        self._catalogue, self._queries = catalogue, queries
        self._neighbours, self._similarity = neighbours, similarity
        self._pairs: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def rows(self, served: VectorIndex, split: str) -> pd.DataFrame:
        if split not in self._pairs:
            self._pairs[split] = self._drawn(split)
        asking, rows, gold = self._pairs[split]
        queries = self._queries[split].of(asking)
        vectors, there = vectors_of(served, rows)
        asked, known = asked_as(served, queries)
        found = compared(asked, vectors, self._similarity)
        found[~(there & known)] = float(gold.min())
        return as_rows(self.name, found, asker=queries.places, gold=gold)

    def _drawn(self, split: str) -> tuple[Tensor, Tensor, Tensor]:
        """Positions of queries, rows, and how alike the dense model has them."""
        queries, near = self._queries[split], torch.from_numpy(self._neighbours.exact(split))
        draw = torch.Generator().manual_seed(0)
        asking = torch.arange(len(queries)).repeat_interleave(PAIRS_OF_A_QUERY // 2)
        random = torch.randint(len(self._catalogue), (len(asking),), generator=draw)
        close = near[asking, torch.randint(near.shape[1], (len(asking),), generator=draw)]
        asking, rows = torch.cat([asking, asking]), torch.cat([random, close])
        kept = (rows >= 0) & (rows != queries.own[asking])
        asking, rows = asking[kept], rows[kept]
        one, other = (
            prepared(held, self._similarity) for held in (queries.vectors[asking], self._catalogue.vectors[rows])
        )
        return asking, rows, compared(one, other, self._similarity)

    def part(self) -> Similarities:
        looked = {"validation": self._queries["validation"].first(LOOK_QUERIES)}
        return Similarities(self._catalogue, looked, self._neighbours.part(), similarity=self._similarity)

    def describe(self) -> str:
        return f"{PAIRS_OF_A_QUERY} similarities of each"

    def content(self) -> Iterator[object]:
        yield PAIRS_OF_A_QUERY


class Recall(Benchmark):
    """The share of the rows that are right for a query, as judgements say, among the k that are found.

    Args:
        queries: by split.
        relevant: by split, the rows of the catalogue that are right for each query.
    """

    labelled = True

    def __init__(
        self,
        queries: Mapping[str, Queries],
        relevant: Mapping[str, Sequence[Places]],
        *,
        k: int = 10,
        among: Tensor | None = None,
        size: int,
    ) -> None:
        self.name = "judgements"
        self.metrics = {f"recall@{k}": MeanValue(self.name)}
        self._queries, self._relevant, self._k = queries, relevant, k
        self._given, self._size = among, size

    @property
    def _among(self) -> Tensor:
        return torch.arange(self._size) if self._given is None else self._given

    def rows(self, served: VectorIndex, split: str) -> pd.DataFrame:
        queries, relevant = self._queries[split], self._relevant[split]
        found = found_by(served, queries, self._among, k=self._k)
        values = [np.isin(right, line).mean() for right, line in zip(relevant, found, strict=True)]
        return as_rows(self.name, values, asker=queries.places)

    def part(self) -> Recall:
        queries = self._queries["validation"].first(LOOK_QUERIES)
        relevant = self._relevant["validation"][: len(queries)]
        draw = np.random.default_rng(0).choice(self._size, min(LOOK_ROWS, self._size), replace=False)
        among = torch.from_numpy(np.unique(np.concatenate([draw, *relevant])))
        return Recall({"validation": queries}, {"validation": relevant}, k=self._k, among=among, size=self._size)

    def describe(self) -> str:
        counts = " and ".join(f"{len(queries):,} {split}" for split, queries in self._queries.items())
        return f"judgements of {counts} queries"

    def content(self) -> Iterator[object]:
        for split, queries in self._queries.items():
            yield queries.places
            yield from map(torch.from_numpy, self._relevant[split])


def vectors_of(served: VectorIndex, places: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors that answer for rows of the catalogue, as the table holds them, prepared; and for which there is one.

    Args:
        places: int64 [n].

    Returns:
        float32 [n, dim], of zeros where none does, and bool [n].
    """
    rows = torch.from_numpy(served.answer_of[places.numpy()])
    there = rows >= 0
    found = torch.zeros(len(rows), served.table.dim)
    found[there] = torch.from_numpy(served.rows(rows[there].numpy()))
    return prepared(found, served.similarity), there


def asked_as(served: VectorIndex, queries: Queries) -> tuple[Tensor, Tensor]:
    """Queries as the table holds vectors, prepared, rows as they are now; and which of them are there to ask."""
    if len(queries) and int(queries.own[0]) >= 0:
        return vectors_of(served, queries.own)
    asked = torch.from_numpy(served.asked(prepared(queries.vectors, served.similarity).numpy()))
    return asked, torch.ones(len(queries), dtype=torch.bool)


def found_by(served: VectorIndex, queries: Queries, among: Tensor, *, k: int) -> Places:
    """The k nearest rows of the catalogue that an index finds, [n, k]; -1 where there is none.

    Args:
        among: rows of the catalogue that may be found, int64 [m].
    """
    asked, known = asked_as(served, queries)
    rows = torch.from_numpy(served.row_of[among.numpy()])

    def decoded(some: Tensor) -> Tensor:
        return torch.from_numpy(served.rows(some.numpy()))

    _, found = nearest(asked, decoded, rows[rows >= 0], similarity=served.similarity, k=k + 1)
    own = np.where(queries.own >= 0, served.row_of[queries.own.clamp_min(0).numpy()], -1)
    places = without_itself(found, own, k)
    places = np.where(places >= 0, served.place_of[places], -1)
    places[~known.numpy()] = -1
    served.pause()
    filled: Places = np.pad(places, ((0, 0), (0, max(k - places.shape[1], 0))), constant_values=-1)
    return filled


def without_itself(found: Places, own: Places, k: int) -> Places:
    """Neighbours without the row that asks, [n, k] of [n, k + 1]; -1 where there is none.

    Args:
        own: the row that asks, [n]; -1 where it is none.
    """
    other = found != own[:, None]
    other[other.all(axis=1), k:] = False  # who is not found among its own neighbours drops the last
    kept: Places = np.full((len(found), min(k, found.shape[1])), -1, dtype=np.int64)
    where = (np.cumsum(other, axis=1) - 1)[other]
    line = np.nonzero(other)[0]
    fits = where < kept.shape[1]
    kept[line[fits], where[fits]] = found[other][fits]
    return kept
