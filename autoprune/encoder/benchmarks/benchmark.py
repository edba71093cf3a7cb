"""Judging a sentence encoder: a benchmark turns it into rows, and a metric turns the rows into a number."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd

from autoprune.encoder.benchmarks.part import Budget
from autoprune.encoder.similarity import SIMILARITIES
from autoprune.tasks.metric import Metric

Vectors = np.ndarray[Any, np.dtype[np.float32]]
"""Float32 [n, dim]."""

Encode = Callable[..., Vectors]
"""Texts, perhaps with `role=`, → float32 [n, dim], as `autoprune.encoder.similarity.prepared` gives them."""

Perturb = Callable[[str], str]


class Benchmark(ABC):
    """A job for embeddings whose right result is known.

    Attributes:
        name: name of the benchmark in the rows.
        metrics: by name, the main one first; each reads only the rows of this benchmark.
        labelled: whether people gave the right results; agreement with the dense model alone is not a goal in itself.
        similarity: how vectors are compared, as the dense model declares it.
        dense: the dense model, once it is known.
    """

    name: str
    labelled: bool = True
    metrics: Mapping[str, Metric]
    similarity: str = SIMILARITIES[0]
    dense: Encode | None = None

    def under(self, similarity: str) -> Self:
        """The same benchmark with another similarity."""
        changed = copy.copy(self)
        changed.similarity = similarity
        return changed

    def prepare(self, dense: Encode) -> None:
        """Gives the benchmark the dense model, before `rows` is called."""
        self.dense = dense

    @abstractmethod
    def rows(self, encode: Encode, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        """The results of an encoder on a split.

        Args:
            encode: the encoder.
            split: `validation` or `test`.
            perturb: applied to the queries, not to the texts that are searched.

        Returns:
            benchmark: its name, categorical.
            unit: int64, unique within the split and the same for every encoder.
            text: the query without perturbation; slices are made from it.
            value: float64.
            gold: float64; nan where the benchmark has none.
        """

    @abstractmethod
    def part(self, budget: Budget) -> Benchmark:
        """The same benchmark with a part of its validation data, the same for every encoder, and no other splits.

        The part is drawn so that it is about as hard for the dense model as the whole.
        """

    @abstractmethod
    def describe(self) -> str:
        """A short phrase with counts."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of its content, independent of paths."""


def embedded(encode: Encode, texts: Sequence[str], *, role: str | None = None) -> Vectors:
    """The encoder's vectors of texts of a role; one that is not finite becomes 0, which is similar to nothing."""
    vectors = np.asarray(encode(texts) if role is None else encode(texts, role=role), dtype=np.float32)
    assert vectors.shape[:-1] == (len(texts),), f"{len(texts)} texts gave {vectors.shape}"
    return np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, np.float32(0))


def as_rows(
    name: str, texts: Sequence[str], values: np.ndarray[Any, Any], gold: np.ndarray[Any, Any] | None = None
) -> pd.DataFrame:
    """The rows of a benchmark; units are numbered in their order."""
    count = len(texts)
    return pd.DataFrame(
        {
            "benchmark": pd.Categorical.from_codes(np.zeros(count, dtype=np.int8), pd.Index([name])),
            "unit": np.arange(count, dtype=np.int64),
            "text": pd.Series(list(texts), dtype=object),
            "value": np.asarray(values, dtype=np.float64),
            "gold": np.full(count, np.nan) if gold is None else np.asarray(gold, dtype=np.float64),
        }
    )


def sha256_of(content: Iterable[object]) -> str:
    """SHA-256 of values as text, each after its length, so that no two sequences give the same content."""
    digest = hashlib.sha256()
    for value in content:
        written = str(value).encode("utf-8", "surrogatepass")
        digest.update(f"{len(written)}:".encode())
        digest.update(written)
    return digest.hexdigest()
