"""How a sentence encoder is judged: a benchmark turns it into rows, a metric turns the rows into a number."""

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
    """Something to do with embeddings for which it is known what would be right.

    Attributes:
        name: of the benchmark, as it stands in the rows.
        metrics: by name, the main one first; each reads no other rows than those of this benchmark.
        labelled: whether people said what is right; what only repeats the dense model is no purpose of its own.
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
        """Tells the benchmark the dense model, before rows are asked for."""
        self.dense = dense

    @abstractmethod
    def rows(self, encode: Encode, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        """What an encoder makes of a split.

        Args:
            encode: the encoder.
            split: `validation` or `test`.
            perturb: done to the texts that ask, not to those among which is searched.

        Returns:
            benchmark: its name, categorical.
            unit: int64, unique within the split and the same for every encoder.
            text: that asks, as it is without perturbation; what slices are made from.
            value: float64.
            gold: float64; nan where the benchmark has none.
        """

    @abstractmethod
    def part(self, budget: Budget) -> Benchmark:
        """The same benchmark with a part of its validation data, the same for every encoder; not for other splits.

        It is drawn so that it is about as hard as the whole, as the dense model has it.
        """

    @abstractmethod
    def describe(self) -> str:
        """A short phrase with counts."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of what it holds, wherever that lies."""


def embedded(encode: Encode, texts: Sequence[str], *, role: str | None = None) -> Vectors:
    """What the encoder makes of texts of a role; a vector that is not finite becomes 0, which is like nothing."""
    found = np.asarray(encode(texts) if role is None else encode(texts, role=role), dtype=np.float32)
    assert found.shape[:-1] == (len(texts),), f"{len(texts)} texts gave {found.shape}"
    return np.where(np.isfinite(found).all(axis=1, keepdims=True), found, np.float32(0))


def as_rows(
    name: str, texts: Sequence[str], values: np.ndarray[Any, Any], gold: np.ndarray[Any, Any] | None = None
) -> pd.DataFrame:
    """The rows of a benchmark; units are numbered as they stand."""
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
    """SHA-256 of values as text, each after its length, so that no two sequences read alike."""
    found = hashlib.sha256()
    for value in content:
        written = str(value).encode("utf-8", "surrogatepass")
        found.update(f"{len(written)}:".encode())
        found.update(written)
    return found.hexdigest()
