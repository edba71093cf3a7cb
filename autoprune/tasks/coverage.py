"""How much of a text is read as the dense model reads it: what a smaller vocabulary breaks into more pieces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from autoprune.runtime.encoder import SentenceEncoder
from autoprune.tasks.benchmark import MeanValue, Perturb
from autoprune.tasks.metric import Metric


class Coverage:
    """The tokens of a text under the whole vocabulary, as a share of those it is read in: 1 where nothing breaks.

    Args:
        texts: by split.
        dense: how many tokens each of some texts has to the dense model, int64 [n].
    """

    metrics: Mapping[str, Metric] = {"coverage": MeanValue("coverage")}

    def __init__(
        self, texts: Mapping[str, Sequence[str]], dense: Callable[[Sequence[str]], np.ndarray[Any, Any]]
    ) -> None:
        self._texts, self._dense = texts, dense

    def rows(self, served: SentenceEncoder, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        """The columns of `Benchmark.rows`."""
        texts = list(self._texts[split])
        asked = [perturb(text) for text in texts] if perturb else texts
        return pd.DataFrame(
            {
                "benchmark": "coverage",
                "unit": np.arange(len(texts)),
                "text": texts,
                "value": np.minimum(self._dense(texts) / served.count_tokens(asked), 1.0),
                "gold": np.nan,
            }
        )
