"""How much of a text is read as the dense model reads it: what a smaller vocabulary breaks into more pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from autoprune.encoder.benchmarks.benchmark import Perturb
from autoprune.encoder.served import TextModel
from autoprune.tasks.benchmarks import MeanValue
from autoprune.tasks.metric import Metric

Counts = np.ndarray[Any, Any]
"""Int64 [n]."""


class Coverage:
    """The tokens of a text under the whole vocabulary, as a share of those it is read in: 1 where nothing breaks.

    What cannot be read any more counts as nothing.

    Args:
        texts: by split.
        dense: how many tokens each of some texts has to the dense model, and how many of these are unknown.
    """

    metrics: Mapping[str, Metric] = {"coverage": MeanValue("coverage")}

    def __init__(
        self, texts: Mapping[str, Sequence[str]], dense: Callable[[Sequence[str]], tuple[Counts, Counts]]
    ) -> None:
        self._texts, self._dense = texts, dense

    def rows(self, served: TextModel, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        """The columns of `Benchmark.rows`."""
        texts = list(self._texts[split])
        asked = [perturb(text) for text in texts] if perturb else texts
        return pd.DataFrame(
            {
                "benchmark": "coverage",
                "unit": np.arange(len(texts)),
                "text": texts,
                "value": self._covered(served, texts, asked),
                "gold": np.nan,
            }
        )

    def _covered(self, served: TextModel, texts: Sequence[str], asked: Sequence[str]) -> Counts:
        (before, unknown_before), (after, unknown) = self._dense(texts), served.count(asked)
        read = after - np.maximum(unknown - unknown_before, 0)
        covered: Counts = np.minimum(before, read) / np.maximum(before, after)
        return covered
