"""Coverage: the share of a text that a smaller vocabulary reads as the dense model does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from autoprune.encoder.benchmarks.benchmark import Perturb
from autoprune.encoder.served import TextModel
from autoprune.encoder.tokenizer import Tokenizer
from autoprune.tasks.benchmarks import MeanValue
from autoprune.tasks.metric import Metric

Counts = np.ndarray[Any, Any]
"""Int64 [n]."""


class Coverage:
    """The number of a text's tokens under the whole vocabulary, divided by that under the smaller: 1 if they are equal.

    Of a long text, the part that the dense model reads counts. Words that can no longer be read count as nothing.

    Args:
        texts: the texts by split.
        tokenizer: that of the dense model.
    """

    metrics: Mapping[str, Metric] = {"coverage": MeanValue("coverage")}

    def __init__(self, texts: Mapping[str, Sequence[str]], tokenizer: Tokenizer) -> None:
        self._texts, self._tokenizer = texts, tokenizer

    @cached_property
    def _reached(self) -> dict[str, list[str]]:
        """By split, the part of each text that the dense model reads."""
        return {split: self._tokenizer.reached(texts) for split, texts in self._texts.items()}

    @cached_property
    def cuts(self) -> bool:
        """Whether the dense model cuts off any text."""
        return any(self._reached[split] != list(texts) for split, texts in self._texts.items())

    def rows(self, served: TextModel, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        """The columns of `Benchmark.rows`."""
        texts, reached = list(self._texts[split]), self._reached[split]
        queries = [perturb(text) for text in reached] if perturb else reached
        return pd.DataFrame(
            {
                "benchmark": "coverage",
                "unit": np.arange(len(texts)),
                "text": texts,
                "value": self._covered(served, reached, queries),
                "gold": np.nan,
            }
        )

    def _covered(self, served: TextModel, reached: Sequence[str], queries: Sequence[str]) -> Counts:
        (before, unknown_before), (after, unknown) = self._tokenizer.count(reached), served.count(queries)
        read = after - np.maximum(unknown - unknown_before, 0)
        covered: Counts = np.minimum(before, read) / np.maximum(before, after)
        return covered
