"""Benchmarks of rerankers: where they put relevant documents, and how far they agree with the dense model's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from autoprune.encoder.benchmarks.benchmark import Benchmark, Encode, Perturb, as_rows, sha256_of
from autoprune.encoder.benchmarks.part import Budget
from autoprune.encoder.benchmarks.retrieval import ndcg
from autoprune.encoder.reranker.lists import Lists, Pair
from autoprune.tasks.benchmarks import MeanValue

Scores = np.ndarray[Any, np.dtype[np.float64]]

K = 10

PERTURBED = 3
"""One of so many queries is perturbed, since every pair of a perturbed query must be read again."""

DIGITS = 6
"""Decimal places of scores; closer scores count as equal, so that rounding errors decide nothing."""


def scored(encode: Encode, pairs: Sequence[Pair]) -> Scores:
    """The scores of a model for pairs, float64 [n]; one that is not finite comes last."""
    scores = np.asarray(encode(pairs), dtype=np.float64)[:, 0] if pairs else np.empty(0)
    return np.where(np.isfinite(scores), np.round(scores, DIGITS), -np.inf)


class Reranking(Benchmark):
    """The gain of the relevant documents that a first stage found, by their new places.

    Documents that the first stage did not find, and those beyond place `K`, gain nothing; the ideal list has all of
    them, as in `trec_eval`. Documents of equal score keep the order of `Lists`.

    Args:
        lists: queries with their documents.
        grades: by split, for each query: position of a document → its gain, above 0.
        metric: `ndcg@10` or `mrr@10` (the reciprocal place of the first relevant document).
        found: the share of the relevant documents that the first stage found, for people.
    """

    def __init__(
        self, lists: Lists, grades: Mapping[str, Sequence[Mapping[int, float]]], *, metric: str, found: str = ""
    ) -> None:
        self.name = f"reranking {metric}"
        self.metrics = {metric: MeanValue(self.name)}
        self.lists, self.grades, self._metric, self._found = lists, grades, metric, found
        self.labelled = metric == METRICS[0]  # the other metrics are shown in addition

    def rows(self, encode: Encode, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        places, texts = _asked(self.lists, split, perturb)
        scores = scored(encode, self.lists.pairs(split, places, changed(texts, perturb)))
        values = [
            GAINS[self._metric](
                self.lists.found[split][place][np.argsort(-one, kind="stable")[:K]].tolist(),
                self.grades[split][place],
            )
            for place, one in zip(places, self.lists.cut(split, places, scores), strict=True)
        ]
        return _as_rows(self.name, places, texts, np.array(values))

    def part(self, budget: Budget) -> Reranking:
        known = self.grades["validation"]
        lists, kept = self.lists.part(budget, [list(grades) for grades in known])
        if not kept:  # the first stage found nothing relevant
            return self
        grades = [
            {
                new: known[place][int(at)]
                for at, new in zip(near, moved.tolist(), strict=True)
                if int(at) in known[place]
            }
            for (place, near), moved in zip(kept.items(), lists.found["validation"], strict=True)
        ]
        return Reranking(lists, {"validation": grades}, metric=self._metric)

    def describe(self) -> str:
        return f"{' and '.join(METRICS)} of {self.lists.describe()}" + (f" ({self._found})" if self._found else "")

    def fingerprint(self) -> str:
        grades = [
            sorted(
                (self.lists.documents[at] if at < len(self.lists.documents) else str(at), gain)
                for at, gain in one.items()
            )
            for split in ("validation", "test")
            for one in self.grades[split]
        ]
        return sha256_of([self.name, self.lists.fingerprint(), *grades])


def _ndcg(best: Sequence[int], known: Mapping[int, float]) -> float:
    return ndcg([known.get(at, 0.0) for at in best], known) if known else 0.0


def _mrr(best: Sequence[int], known: Mapping[int, float]) -> float:
    return next((1 / place for place, at in enumerate(best, start=1) if at in known), 0.0)


GAINS = {f"ndcg@{K}": _ndcg, f"mrr@{K}": _mrr}
METRICS = tuple(GAINS)


class Agreement(Benchmark):
    """Agreement with the order in which the dense model puts lists.

    A perturbed query is compared with the order of the dense model for the unperturbed query.

    Args:
        lists: queries with their documents.
        metric: `kendall` (τ-b of both orders, Kendall 1945) or `overlap@10` (the share of the dense model's first ten
            that are among the first ten; for a list of ten or fewer it says nothing).
    """

    labelled = False

    def __init__(self, lists: Lists, *, metric: str) -> None:
        self.name = f"agreement {metric}"
        self.metrics = {metric: MeanValue(self.name)}
        self.lists, self._metric = lists, metric
        self._right: dict[str, Scores] = {}

    def rows(self, encode: Encode, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        places, texts = _asked(self.lists, split, perturb)
        if split not in self._right:
            assert self.dense is not None, "the dense model must be known"
            whole = range(len(self.lists.queries[split]))
            self._right[split] = scored(self.dense, self.lists.pairs(split, whole, self.lists.queries[split]))
        right = self.lists.cut(split, range(len(self.lists.queries[split])), self._right[split])
        found = scored(encode, self.lists.pairs(split, places, changed(texts, perturb)))
        values = [
            AGREEMENTS[self._metric](right[place], one)
            for place, one in zip(places, self.lists.cut(split, places, found), strict=True)
        ]
        return _as_rows(self.name, places, texts, np.array(values))

    def part(self, budget: Budget) -> Agreement:
        part = Agreement(self.lists.part(budget).lists, metric=self._metric).under(self.similarity)
        part.dense = self.dense
        return part

    def describe(self) -> str:
        return f"{' and '.join(AGREEMENTS)} with the dense model's order of {self.lists.describe()}"

    def fingerprint(self) -> str:
        return sha256_of([self.name, self.lists.fingerprint()])


def kendall(right: Scores, found: Scores) -> float:
    """τ-b of two lists of scores; 0 if only one of them has all scores equal, 1 if both have."""
    above, below = np.triu_indices(len(right), k=1)
    one, other = right[above] > right[below], found[above] > found[below]
    less, fewer = right[above] < right[below], found[above] < found[below]
    # Not the sign of a difference: infinities have an order, but no difference.
    signs, others = one.astype(int) - less, other.astype(int) - fewer
    scale = np.sqrt(float(np.abs(signs).sum()) * float(np.abs(others).sum()))
    return float((signs * others).sum() / scale) if scale else float(not signs.any() and not others.any())


def overlap(right: Scores, found: Scores) -> float:
    """The share of the first `K` of one list that are among the first `K` of another."""
    if not len(right):
        return 1.0
    best = [set(np.argsort(-one, kind="stable")[:K].tolist()) for one in (right, found)]
    return len(best[0] & best[1]) / len(best[0])


AGREEMENTS = {"kendall": kendall, f"overlap@{K}": overlap}


def _asked(lists: Lists, split: str, perturb: Perturb | None) -> tuple[list[int], list[str]]:
    """The positions of the queries that are used, and their unperturbed texts."""
    places = list(range(0, len(lists.queries[split]), PERTURBED if perturb else 1))
    return places, [lists.queries[split][place] for place in places]


def changed(texts: Sequence[str], perturb: Perturb | None) -> list[str]:
    """The texts, perturbed if `perturb` is given."""
    return [perturb(text) for text in texts] if perturb else list(texts)


def _as_rows(name: str, places: Sequence[int], texts: Sequence[str], values: np.ndarray[Any, Any]) -> pd.DataFrame:
    rows = as_rows(name, texts, values)
    rows["unit"] = np.array(places, dtype=np.int64)
    return rows
