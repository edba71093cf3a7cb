"""Benchmarks of vectors: a benchmark turns a served index into rows, a metric turns the rows into a number."""

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
"""A look: its queries, the dense model's neighbours of each that it searches, and the random rows that it adds."""

PAIRS_OF_A_QUERY = 4


class Benchmark(ABC):
    """A use of vectors with known right answers.

    Attributes:
        name: of the benchmark, as in the column `benchmark` of its rows.
        metrics: by name, the main one first; each reads only the rows of this benchmark.
        labelled: whether people gave the right answers; otherwise they are the dense model's.
    """

    name: str
    labelled: bool = False
    metrics: Mapping[str, Metric]

    @abstractmethod
    def rows(self, served: VectorIndex, split: str) -> pd.DataFrame:
        """The results of an index on a split.

        Returns:
            The columns of `autoprune.tasks.benchmarks`, and `asker`, int64, from which slices are made.
        """

    @abstractmethod
    def part(self) -> Benchmark:
        """The part of validation that a look uses: quick to evaluate, and the same for every model."""

    @abstractmethod
    def describe(self) -> str:
        """A short phrase with counts."""

    @abstractmethod
    def content(self) -> Iterator[object]:
        """Its questions and right answers as texts, numbers and tensors: everything that its scores depend on."""


def as_rows(name: str, values: Any, *, asker: Any, gold: Any = None, units: Any = None) -> pd.DataFrame:
    """The rows of a benchmark; units are numbered in order unless they are given."""
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
    """The share of a query's k exact neighbours under the dense model that are among the k that the index finds.

    A row is not its own neighbour, and a removed row finds nothing.

    Args:
        catalogue: the dense vectors.
        queries: by split.
        among: rows of the catalogue that are searched, int64 [m]; None: all.
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
        self._searched, self._size = among, len(catalogue)
        self._exact_places: dict[str, Places] = {}

    @property
    def _among(self) -> Tensor:
        return torch.arange(self._size) if self._searched is None else self._searched

    def rows(self, served: VectorIndex, split: str) -> pd.DataFrame:
        queries = self._queries[split]
        exact, found = self.exact(split), neighbours_found(served, queries, self._among, k=self._k)
        shared = (exact[:, :, None] == found[:, None, :]).any(axis=2).sum(axis=1) / max(exact.shape[1], 1)
        return as_rows(self.name, shared, asker=queries.places)

    def exact(self, split: str) -> Places:
        """The neighbours under the dense model, [n, k]."""
        if split not in self._exact_places:
            self._exact_places[split] = self._exact(self._queries[split], self._k)
        return self._exact_places[split]

    def _exact(self, queries: Queries, k: int) -> Places:
        vectors = self._catalogue.vectors
        _, places = nearest(queries.vectors, vectors.__getitem__, self._among, similarity=self._similarity, k=k + 1)
        return without_itself(places, queries.own.numpy(), k)

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
    """Spearman's ρ of the dense model's similarities and the index's, over pairs of a query and a row.

    Half of the rows are random, half are neighbours under the dense model: random pairs alone say nothing about
    neighbours. A removed row gets the similarity of the least similar pair.

    Args:
        neighbours: gives the dense model's neighbours.
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
        positions, rows, gold = self._pairs[split]
        queries = self._queries[split].of(positions)
        vectors, answered = vectors_of(served, rows)
        query_vectors, exists = prepared_queries(served, queries)
        similarities = compared(query_vectors, vectors, self._similarity)
        similarities[~(answered & exists)] = float(gold.min())
        return as_rows(self.name, similarities, asker=queries.places, gold=gold)

    def _drawn(self, split: str) -> tuple[Tensor, Tensor, Tensor]:
        """Random pairs: positions of queries, rows, and their similarities under the dense model."""
        queries, nearest_rows = self._queries[split], torch.from_numpy(self._neighbours.exact(split))
        draw = torch.Generator().manual_seed(0)
        positions = torch.arange(len(queries)).repeat_interleave(PAIRS_OF_A_QUERY // 2)
        random = torch.randint(len(self._catalogue), (len(positions),), generator=draw)
        neighbours = nearest_rows[positions, torch.randint(nearest_rows.shape[1], (len(positions),), generator=draw)]
        positions, rows = torch.cat([positions, positions]), torch.cat([random, neighbours])
        usable = (rows >= 0) & (rows != queries.own[positions])
        positions, rows = positions[usable], rows[usable]
        left, right = (
            prepared(vectors, self._similarity)
            for vectors in (queries.vectors[positions], self._catalogue.vectors[rows])
        )
        return positions, rows, compared(left, right, self._similarity)

    def part(self) -> Similarities:
        queries = {"validation": self._queries["validation"].first(LOOK_QUERIES)}
        return Similarities(self._catalogue, queries, self._neighbours.part(), similarity=self._similarity)

    def describe(self) -> str:
        return f"{PAIRS_OF_A_QUERY} similarities of each"

    def content(self) -> Iterator[object]:
        yield PAIRS_OF_A_QUERY


class Recall(Benchmark):
    """The share of a query's relevant rows, according to judgements, that are among the k that the index finds.

    Args:
        queries: by split.
        relevant: by split, the relevant rows of the catalogue for each query.
        among: rows of the catalogue that are searched, int64 [m]; None: all `size` rows.
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
        self._searched, self._size = among, size

    @property
    def _among(self) -> Tensor:
        return torch.arange(self._size) if self._searched is None else self._searched

    def rows(self, served: VectorIndex, split: str) -> pd.DataFrame:
        queries, relevant = self._queries[split], self._relevant[split]
        found = neighbours_found(served, queries, self._among, k=self._k)
        values = [
            np.isin(relevant_rows, found_rows).mean() for relevant_rows, found_rows in zip(relevant, found, strict=True)
        ]
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
    """The prepared vectors, as the table holds them, that answer for rows of the catalogue.

    Args:
        places: rows of the catalogue, int64 [n].

    Returns:
        float32 [n, dim], zeros where no row answers; and whether one answers, bool [n].
    """
    rows = torch.from_numpy(served.answer_of[places.numpy()])
    answered = rows >= 0
    vectors = torch.zeros(len(rows), served.table.dim)
    vectors[answered] = torch.from_numpy(served.rows(rows[answered].numpy()))
    return prepared(vectors, served.similarity), answered


def prepared_queries(served: VectorIndex, queries: Queries) -> tuple[Tensor, Tensor]:
    """Prepared queries as the table holds vectors, and which exist; queries that are rows are read from the index."""
    if len(queries) and int(queries.own[0]) >= 0:
        return vectors_of(served, queries.own)
    vectors = torch.from_numpy(served.projected(prepared(queries.vectors, served.similarity).numpy()))
    return vectors, torch.ones(len(queries), dtype=torch.bool)


def neighbours_found(served: VectorIndex, queries: Queries, among: Tensor, *, k: int) -> Places:
    """The k nearest rows of the catalogue that an index finds, [n, k]; -1 if there are fewer.

    Args:
        among: rows of the catalogue that are searched, int64 [m].
    """
    vectors, exists = prepared_queries(served, queries)
    rows = torch.from_numpy(served.row_of[among.numpy()])

    def decoded(block: Tensor) -> Tensor:
        return torch.from_numpy(served.rows(block.numpy()))

    _, found = nearest(vectors, decoded, rows[rows >= 0], similarity=served.similarity, k=k + 1)
    own = np.where(queries.own >= 0, served.row_of[queries.own.clamp_min(0).numpy()], -1)
    places = without_itself(found, own, k)
    places = np.where(places >= 0, served.place_of[places], -1)
    places[~exists.numpy()] = -1
    served.pause()
    padded: Places = np.pad(places, ((0, 0), (0, max(k - places.shape[1], 0))), constant_values=-1)
    return padded


def without_itself(found: Places, own: Places, k: int) -> Places:
    """Neighbours without the query's own row, [n, k] of [n, k + 1]; -1 if there are fewer.

    Args:
        own: the row of each query, [n]; -1 if it is not a row.
    """
    is_other = found != own[:, None]
    is_other[is_other.all(axis=1), k:] = False  # a query whose own row was not found drops the last neighbour
    others: Places = np.full((len(found), min(k, found.shape[1])), -1, dtype=np.int64)
    column = (np.cumsum(is_other, axis=1) - 1)[is_other]
    row = np.nonzero(is_other)[0]
    fits = column < others.shape[1]
    others[row[fits], column[fits]] = found[is_other][fits]
    return others
