"""Agreement with the dense model on a user's own texts, which can be judged without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from autoprune.encoder.benchmarks.benchmark import Benchmark, Encode, Perturb, Vectors, as_rows, embedded, sha256_of
from autoprune.encoder.benchmarks.part import Budget
from autoprune.encoder.benchmarks.retrieval import nearest_documents, order_of
from autoprune.encoder.similarity import SIMILARITIES, compared
from autoprune.tasks.benchmarks import MeanValue, Spearman

K = 10

MOST_PAIRS = 2000

PAIRS_OF_A_TEXT = 4
"""Pairs for each text, if there are few texts: more pairs would add nothing new."""

FEWEST = K + 1
"""The fewest texts of a part: among fewer, all are neighbours of one another, which says nothing."""

Dense = Callable[[str], Vectors]
"""Split → the dense model's vectors of its unperturbed texts, float32 [n, dim], prepared for the similarity."""


class Fidelity(Benchmark):
    """The base of the benchmarks of fidelity: texts, and the dense model's vectors of them.

    A perturbed text is compared with unperturbed texts, and should find what the dense model finds for it unperturbed.

    Args:
        texts: by split, `validation` and `test`; two or more, all different.
        dense: called for a split when its rows are first needed.
    """

    labelled = False

    def __init__(self, texts: Mapping[str, Sequence[str]], dense: Dense) -> None:
        self.texts = {split: list(texts[split]) for split in ("validation", "test")}
        self._dense = dense

    def part(self, budget: Budget) -> Fidelity:
        assert self.dense is not None, "the dense model must be known"
        whole, dense = self.texts["validation"], self.dense
        short = budget.short(whole)
        texts = list(dict.fromkeys(short[at] for at in budget.fitting(short)))
        if len(texts) < FEWEST:  # all begin with the same words, such as a header
            texts = list(dict.fromkeys([*whole[:FEWEST], *(whole[at] for at in budget.fitting(whole))]))
        return type(self)(dict.fromkeys(self.texts, texts), lambda split: dense(texts)).under(self.similarity)

    def fingerprint(self) -> str:
        return sha256_of([self.name, *(value for split, texts in self.texts.items() for value in (split, *texts))])

    def _vectors(self, encode: Encode, split: str, perturb: Perturb | None) -> tuple[Vectors, Vectors]:
        """Vectors of the queries, and of the texts that are searched; the same vectors without perturbation."""
        texts = self.texts[split]
        vectors = embedded(encode, texts)
        return (embedded(encode, [perturb(text) for text in texts]) if perturb else vectors), vectors

    def _counted(self) -> str:
        return " and ".join(f"{len(texts):,} {split}" for split, texts in self.texts.items())


class Neighbours(Fidelity):
    """The share of a text's 10 nearest texts under the dense model that are among the candidate's 10 nearest.

    A text is not its own neighbour. Among n <= 10 texts, all n - 1 others are neighbours, which says nothing.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]], dense: Dense) -> None:
        super().__init__(texts, dense)
        self.name = "neighbours"
        self.metrics = {f"overlap@{K}": MeanValue(self.name)}
        self._orders: dict[str, np.ndarray[Any, Any]] = {}
        self._right: dict[str, np.ndarray[Any, Any]] = {}

    def rows(self, encode: Encode, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        if split not in self._right:
            self._orders[split] = order_of(self.texts[split])
            dense = self._dense(split)
            self._right[split] = self._near(split, dense, dense)
        right, found = self._right[split], self._near(split, *self._vectors(encode, split, perturb))
        shared = np.empty(len(found))
        shared[self._orders[split]] = (right[:, :, None] == found[:, None, :]).any(axis=2).mean(axis=1)
        return as_rows(self.name, self.texts[split], shared)

    def _near(self, split: str, queries: Vectors, answers: Vectors) -> np.ndarray[Any, Any]:
        """The neighbours of texts in a neutral order, since the order decides ties."""
        order = self._orders[split]
        return neighbours(queries[order], answers[order], K, similarity=self.similarity)

    def describe(self) -> str:
        return f"the {K} neighbours of {self._counted()} texts under the dense model"


class Similarities(Fidelity):
    """Spearman's ρ of the dense model's cosines and the candidate's over pairs of texts.

    Half of the pairs are random, half are of a text and one of its neighbours under the dense model: random pairs alone
    say nothing about near texts, where answers are found. Every text is first in about as many pairs. The bootstrap
    draws pairs as if they had no texts in common.
    """

    def __init__(self, texts: Mapping[str, Sequence[str]], dense: Dense, *, seed: int = 0) -> None:
        super().__init__(texts, dense)
        self.name = "similarities"
        self.metrics = {"similarity": Spearman(self.name)}
        self._seed = seed
        self._pairs: dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]] = {}

    def rows(self, encode: Encode, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        if split not in self._pairs:
            dense = self._dense(split)
            one, other = drawn_pairs(dense, seed=self._seed, similarity=self.similarity)
            self._pairs[split] = one, other, compared(dense[one], dense[other], self.similarity)
        one, other, gold = self._pairs[split]
        queries, answers = self._vectors(encode, split, perturb)
        texts = [self.texts[split][at] for at in one]
        return as_rows(self.name, texts, compared(queries[one], answers[other], self.similarity), gold)

    def describe(self) -> str:
        what = "cosines" if self.similarity == "cosine" else "similarities"
        return f"the dense model's {what} of up to {MOST_PAIRS:,} pairs each of {self._counted()} texts"


class Elsewhere(Similarities):
    """The same on texts that distillation never reads: how much of what is not taught again is kept."""

    def __init__(self, texts: Mapping[str, Sequence[str]], dense: Dense, *, seed: int = 0) -> None:
        super().__init__(texts, dense, seed=seed)
        self.name = "elsewhere"
        self.metrics = {self.name: Spearman(self.name)}

    def describe(self) -> str:
        return f"elsewhere, {super().describe()}"


def neighbours(
    asked: Vectors, found: Vectors, count: int, *, similarity: str = SIMILARITIES[0]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The nearest other texts, best first, int64 [n, min(count, n - 1)].

    Args:
        asked: vectors of n texts, float32 [n, dim].
        found: vectors of the same n texts, perhaps without perturbation.
        count: number of neighbours.
        similarity: one of `autoprune.encoder.similarity.SIMILARITIES`.
    """
    count = min(count, len(found) - 1)
    nearest = nearest_documents(asked, found, count + 1, similarity=similarity)
    other = nearest != np.arange(len(asked))[:, None]
    other[other.all(axis=1), -1] = False  # a text that is not among its own neighbours drops the last one
    kept: np.ndarray[Any, np.dtype[np.int64]] = nearest[other].reshape(len(asked), count)
    return kept


def drawn_pairs(
    dense: Vectors, *, seed: int, similarity: str = SIMILARITIES[0]
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Positions of the two texts of each pair, at most `MOST_PAIRS` distinct pairs: random pairs, then neighbours.

    Args:
        dense: float32 [n, dim], n > 1.
        seed: draws the pairs.
        similarity: one of `autoprune.encoder.similarity.SIMILARITIES`.
    """
    count = len(dense)
    draw = np.random.default_rng(seed)
    half = min(MOST_PAIRS, PAIRS_OF_A_TEXT * count) // 2
    asking = np.resize(draw.permutation(count), half)
    random = (asking + draw.integers(1, count, size=half)) % count
    near = neighbours(dense, dense, K, similarity=similarity)
    close = near[asking, draw.integers(near.shape[1], size=half)]
    pairs = np.stack([np.concatenate([asking, asking]), np.concatenate([random, close])], axis=1)
    _, first = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)
    kept = pairs[np.sort(first)]
    return kept[:, 0], kept[:, 1]
