"""Queries: rows of the catalogue, or vectors from a file of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.packing.ids import Ids
from autoprune.readers.named import NamedRows
from autoprune.vectors.catalogue import Catalogue, whole_numbers

Numbers = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

SPLITS = ("validation", "test")

FEWEST = 20
"""The fewest rows or queries that a task needs."""


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Query vectors.

    Attributes:
        vectors: float32 [n, width].
        own: the row of the catalogue that each query is, and which is not its own neighbour, int64 [n]; -1 if none.
        places: the position of each among all possible queries, int64 [n]; it identifies units.
    """

    vectors: Tensor
    own: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.vectors)

    def first(self, count: int) -> Queries:
        """The first queries; their order is random."""
        return Queries(vectors=self.vectors[:count], own=self.own[:count], places=self.places[:count])

    def of(self, positions: Tensor) -> Queries:
        """The queries at some positions, int64 [m]."""
        return Queries(vectors=self.vectors[positions], own=self.own[positions], places=self.places[positions])


@dataclass(frozen=True, kw_only=True)
class QueryTable:
    """All possible queries; only the queries that are drawn are copied.

    Attributes:
        vectors: float32 [m, width], perhaps mapped from a file.
        order: the row of each query in `vectors`, int64 [n]; a query's place is its position in `order`.
        own: as in `Queries`, int64 [n].
    """

    vectors: Numbers
    order: Places
    own: Tensor

    @staticmethod
    def of_rows(catalogue: Catalogue) -> QueryTable:
        """The rows of the catalogue themselves."""
        rows = torch.arange(len(catalogue))
        return QueryTable(vectors=catalogue.vectors.numpy(), order=rows.numpy(), own=rows)

    def __len__(self) -> int:
        return len(self.order)

    def at(self, places: Tensor) -> Queries:
        """The queries at some places, int64 [k]."""
        vectors = torch.from_numpy(np.asarray(self.vectors)[self.order[places.numpy()]])
        return Queries(vectors=vectors, own=self.own[places], places=places)


def drawn_rows(catalogue: Catalogue, *, judged: int, seed: int) -> dict[str, Queries]:
    """Random rows of the catalogue as queries, by split, each at most once; weighted by their counts, if known.

    Raises:
        AutopruneError: the catalogue has too few rows.
    """
    count = len(catalogue)
    if count < FEWEST:
        raise AutopruneError(
            f"task.vectors: at least {FEWEST} vectors are needed to judge neighbours, but {catalogue.where} holds "
            f"{count}."
        )
    weights = None if catalogue.counts is None else catalogue.counts.double().numpy() + 1e-9
    share = None if weights is None else weights / weights.sum()
    wanted = min(2 * judged, 2 * (count // 2))
    chosen = torch.from_numpy(np.random.default_rng(seed).choice(count, wanted, replace=False, p=share))
    return {
        split: Queries(vectors=catalogue.vectors[rows], own=rows, places=rows)
        for split, rows in zip(SPLITS, (chosen[::2], chosen[1::2]), strict=True)
    }


def own_queries(rows: NamedRows, catalogue: Catalogue) -> tuple[QueryTable, Ids]:
    """Query vectors from a file, and their ids; without ids they are numbered from 0.

    Raises:
        AutopruneError: their width differs from the catalogue's, or there are too few.
    """
    if rows.dim != catalogue.width:
        raise AutopruneError(
            f"task.queries: {rows.where} holds vectors of {rows.dim} dimensions, but those of {catalogue.where} have "
            f"{catalogue.width}; both must have the same width."
        )
    if len(rows) < FEWEST:
        raise AutopruneError(f"task.queries: at least {FEWEST} are needed, but {rows.where} holds {len(rows)}.")
    names: np.ndarray = np.arange(len(rows))
    order = names
    if rows.ids is not None:
        numbers = whole_numbers(rows.ids)
        names = np.array(rows.ids, dtype=np.dtypes.StringDType()) if numbers is None else numbers
        order = np.argsort(names, kind="stable")
    own = torch.full((len(rows),), -1)
    return QueryTable(vectors=rows.vectors, order=order, own=own), Ids(names[order])


def split_queries(table: QueryTable, places: Tensor, *, judged: int, seed: int) -> dict[str, Queries]:
    """Two random halves of the queries at some places (int64 [n]), with at most `judged` queries each."""
    shuffled = places[torch.from_numpy(np.random.default_rng(seed).permutation(len(places)))]
    size = min(judged, len(places) // 2)
    return {
        split: table.at(part) for split, part in zip(SPLITS, (shuffled[:size], shuffled[size : 2 * size]), strict=True)
    }
