"""Benchmarks of rerankers on labelled pairs: whether scores follow the labels, and separate two labels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from autoprune.encoder.benchmarks.benchmark import Benchmark, Encode, Perturb, as_rows, sha256_of
from autoprune.encoder.benchmarks.pairs import Scored
from autoprune.encoder.benchmarks.part import Budget
from autoprune.encoder.reranker.benchmarks import Scores, changed, scored
from autoprune.tasks.benchmarks import MeanValue, Spearman

Labels = np.ndarray[Any, np.dtype[np.bool_]]


class LabelledPairs(Benchmark):
    """Whether pairs with higher labels have higher scores: Spearman's ρ, even with only two labels.

    Args:
        pairs: by split, `validation` and `test`: queries, documents and labels.
    """

    def __init__(self, pairs: Mapping[str, Scored]) -> None:
        self.name = "labelled pairs"
        self.metrics = {"spearman": Spearman(self.name)}
        self.pairs = dict(pairs)

    def rows(self, encode: Encode, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        pairs = self.pairs[split]
        asked = list(zip(changed(pairs.first, perturb), pairs.second, strict=True))
        return as_rows(self.name, pairs.first, scored(encode, asked), np.array(pairs.score))

    def part(self, budget: Budget) -> LabelledPairs:
        held = self.pairs["validation"]
        first, second = budget.short(held.first), budget.short(held.second)
        chosen = budget.fitting([f"{one} {other}" for one, other in zip(first, second, strict=True)])
        columns = ([values[at] for at in chosen] for values in (first, second, held.score))
        return LabelledPairs({"validation": Scored(*columns)})

    def describe(self) -> str:
        counts = " and ".join(f"{len(pairs.score):,} {split}" for split, pairs in self.pairs.items())
        return f"{counts} pairs that people labelled"

    def fingerprint(self) -> str:
        return sha256_of(
            value
            for split, pairs in self.pairs.items()
            for value in (self.name, split, *pairs.first, *pairs.second, *pairs.score)
        )


class TwoLabels(LabelledPairs):
    """Accuracy on pairs with two labels, with one fixed threshold for all models.

    It is the threshold at which the dense model is most accurate on validation, as one would choose it in use. So a
    smaller model loses if its scores have shifted, even if their order is kept.

    Args:
        pairs: as for `LabelledPairs`.
        upper: the larger label.
    """

    def __init__(self, pairs: Mapping[str, Scored], *, upper: float) -> None:
        super().__init__(pairs)
        self._label = upper
        self.name = "two labels"
        self.metrics = {"accuracy": MeanValue(self.name)}

    def rows(self, encode: Encode, split: str, perturb: Perturb | None = None) -> pd.DataFrame:
        rows = super().rows(encode, split, perturb)
        rows["value"] = ((rows["value"] > self.threshold) == self._upper(split)).astype(np.float64)
        return rows

    @cached_property
    def threshold(self) -> float:
        """The threshold: pairs that score above it get the upper label."""
        assert self.dense is not None, "the threshold is known once the dense model is"
        held = self.pairs["validation"]
        found = scored(self.dense, list(zip(held.first, held.second, strict=True)))
        return best_threshold(found, self._upper("validation"))

    def _upper(self, split: str) -> Labels:
        found: Labels = np.array(self.pairs[split].score) == self._label
        return found

    def part(self, budget: Budget) -> TwoLabels:
        part = TwoLabels(super().part(budget).pairs, upper=self._label)
        part.dense = self.dense
        return part

    def describe(self) -> str:
        return "accuracy at the threshold that suits the dense model"


def read_labelled(pairs: Mapping[str, Scored]) -> list[Benchmark]:
    """The benchmarks of labelled pairs: by their order, and also by accuracy if there are two labels."""
    labels = {label for held in pairs.values() for label in held.score}
    return [LabelledPairs(pairs), *([TwoLabels(pairs, upper=max(labels))] if len(labels) == 2 else [])]


def best_threshold(scores: Scores, upper: Labels) -> float:
    """The most accurate threshold for the upper label: between two scores, or beyond all."""
    order = np.argsort(scores, kind="stable")
    ordered, above = scores[order], upper[order]
    right = np.concatenate([[0], np.cumsum(~above)]) + above.sum() - np.concatenate([[0], np.cumsum(above)])
    right[1:-1][ordered[1:] == ordered[:-1]] = -1  # nothing lies between equal scores
    between = np.concatenate([[ordered[0] - 1], (ordered[1:] + ordered[:-1]) / 2, [ordered[-1] + 1]])
    return float(between[right.argmax()])
