"""Lists: queries, each with the documents that a first stage found for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from autoprune.encoder.benchmarks.benchmark import sha256_of
from autoprune.encoder.benchmarks.part import Budget

Positions = np.ndarray[Any, np.dtype[np.int64]]

Pair = tuple[str, str]

PART_DEPTH = 12
"""The most documents of a query in a part."""

SEED = 0
"""Seed that draws parts: the same parts in every study."""


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Queries, and for each the documents that a first stage found, in a neutral order.

    Attributes:
        documents: texts.
        queries: by split, `validation` and `test`.
        found: by split, for each query: positions of documents, int64. Their order depends only on the documents,
            so that a model that scores all alike gains nothing from the order of the first stage.
    """

    documents: Sequence[str]
    queries: Mapping[str, Sequence[str]]
    found: Mapping[str, Sequence[Positions]]

    def pairs(self, split: str, places: Sequence[int], queries: Sequence[str]) -> list[Pair]:
        """The pairs of some queries, query by query.

        Args:
            places: positions of the queries in the split.
            queries: their texts, perhaps perturbed.
        """
        return [
            (query, self.documents[at])
            for place, query in zip(places, queries, strict=True)
            for at in self.found[split][place]
        ]

    def cut(self, split: str, places: Sequence[int], values: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Values of pairs, in the order of `pairs`, split by query."""
        return np.split(values, np.cumsum([len(self.found[split][place]) for place in places])[:-1])

    def part(self, budget: Budget, wanted: Sequence[Sequence[int]] | None = None) -> Part:
        """As many queries of validation as fit, drawn at random, with shorter lists.

        Args:
            budget: how much may be read; texts are shortened.
            wanted: for each query, the documents that must stay in its list; a query without these is left out.
        """
        split, spent = "validation", 0
        queries = budget.short(self.queries[split])
        costs, kept = budget.costs(queries), dict[int, Positions]()
        texts: dict[int, str] = {}
        for place in np.random.default_rng(SEED).permutation(len(queries)).tolist():
            listed = self.found[split][place]
            first = np.isin(listed, list(wanted[place])) if wanted else np.ones(len(listed), dtype=bool)
            near = listed[np.sort(np.argsort(~first, kind="stable")[:PART_DEPTH])]  # in the same neutral order
            short = budget.short([self.documents[at] for at in near])
            cost = int(budget.costs(short).sum()) + len(short) * int(costs[place]) if short else 0
            if (kept and spent + cost > budget.tokens) or not first.any():
                continue
            spent += cost
            kept[place] = near
            texts |= dict(zip(near.tolist(), short, strict=True))
        number = {at: new for new, at in enumerate(texts)}
        moved = [np.array([number[at] for at in near.tolist()], dtype=np.int64) for near in kept.values()]
        asked = [queries[place] for place in kept]
        return Part(Lists(documents=list(texts.values()), queries={split: asked}, found={split: moved}), kept)

    def fingerprint(self) -> str:
        """SHA-256 of all pairs."""
        return sha256_of(
            value
            for split in ("validation", "test")
            for query, listed in zip(self.queries[split], self.found[split], strict=True)
            for value in (split, query, *(self.documents[at] for at in listed))
        )

    def describe(self) -> str:
        """`100 validation and 113 test queries with lists of up to 30 documents`."""
        counts = " and ".join(f"{len(self.queries[split]):,} {split}" for split in ("validation", "test"))
        most = max(len(listed) for split in ("validation", "test") for listed in self.found[split])
        return f"{counts} queries with lists of up to {most} documents"


class Part(NamedTuple):
    """A part of some lists.

    Attributes:
        lists: lists of validation only.
        kept: position of a query in the whole → the positions of its list's documents in the whole.
    """

    lists: Lists
    kept: dict[int, Positions]
