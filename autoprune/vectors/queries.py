"""What is searched for: rows of the catalogue themselves, or vectors of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.packing.ids import Ids
from autoprune.readers.named import NamedRows
from autoprune.vectors.catalogue import Catalogue, whole_numbers

SPLITS = ("validation", "test")

FEWEST = 20
"""Rows or queries that there must be."""


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Vectors that ask.

    Attributes:
        vectors: float32 [n, width].
        own: the row of the catalogue that each is, which is no neighbour of itself: int64 [n]; -1 where it is none.
        places: where each stands among all that could be asked, int64 [n]; it tells units apart.
    """

    vectors: Tensor
    own: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.vectors)

    def first(self, count: int) -> Queries:
        """Some of them; they stand in an order that was drawn."""
        return Queries(vectors=self.vectors[:count], own=self.own[:count], places=self.places[:count])

    def of(self, places: Tensor) -> Queries:
        """Those at some positions, int64 [m]."""
        return Queries(vectors=self.vectors[places], own=self.own[places], places=self.places[places])


def drawn_rows(catalogue: Catalogue, *, judged: int, seed: int) -> dict[str, Queries]:
    """Rows of the catalogue that ask, by split; drawn as often as they are looked up, or all alike, each once.

    Raises:
        AutopruneError: there are too few.
    """
    count = len(catalogue)
    if count < FEWEST:
        raise AutopruneError(
            f"task.vectors: at least {FEWEST} vectors are needed to judge neighbours by, but {catalogue.where} holds "
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


def own_queries(rows: NamedRows, catalogue: Catalogue) -> tuple[Queries, Ids]:
    """Vectors of somebody else that ask, all of them, and their ids; without ids they are numbered from 0.

    Raises:
        AutopruneError: they are of another width, or too few.
    """
    if rows.dim != catalogue.width:
        raise AutopruneError(
            f"task.queries: {rows.where} holds vectors of {rows.dim} dimensions, but those of {catalogue.where} have "
            f"{catalogue.width}; both must be of one width."
        )
    if len(rows) < FEWEST:
        raise AutopruneError(f"task.queries: at least {FEWEST} are needed, but {rows.where} holds {len(rows)}.")
    names: np.ndarray = np.arange(len(rows))
    order = names
    if rows.ids is not None:
        numbers = whole_numbers(rows.ids)
        names = np.array(rows.ids, dtype=np.dtypes.StringDType()) if numbers is None else numbers
        order = np.argsort(names, kind="stable")
    vectors = torch.from_numpy(np.asarray(rows.vectors)[order])
    none = torch.full((len(rows),), -1)
    return Queries(vectors=vectors, own=none, places=torch.arange(len(rows))), Ids(names[order])


def split_queries(queries: Queries, *, judged: int, seed: int) -> dict[str, Queries]:
    """Halves that are drawn, of at most `judged` each."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(queries)))
    half = min(judged, len(queries) // 2)
    return {
        split: queries.of(places) for split, places in zip(SPLITS, (order[:half], order[half : 2 * half]), strict=True)
    }
