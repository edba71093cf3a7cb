"""Judges encoders by benchmarks, and by the coverage of texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from autoprune.encoder.benchmarks.benchmark import Benchmark, Vectors
from autoprune.encoder.benchmarks.coverage import Coverage
from autoprune.encoder.benchmarks.fidelity import Elsewhere, Similarities
from autoprune.encoder.benchmarks.part import Budget
from autoprune.encoder.countdown import Countdown
from autoprune.encoder.served import QUERY, TextModel
from autoprune.encoder.similarity import prepared
from autoprune.encoder.slices import PERTURBATIONS, SLICES, slice_columns, word_frequency
from autoprune.encoder.stored import kept
from autoprune.encoder.tokenizer import Text, Tokenizer
from autoprune.errors import unknown
from autoprune.tasks.benchmarks import Spearman
from autoprune.tasks.task import Judging

LOOK_TOKENS = 8192
"""Tokens that a look reads, divided among the benchmarks: some 300 sentences, read in about the time it takes to build
a model."""

TIMES = 4
"""How many times as many tokens a closer look reads; fitting codes takes longer than reading them."""

UNITS = 10_000_000
"""The most units of one benchmark: each benchmark has its own range of unit numbers."""


E = TypeVar("E", bound=TextModel)
"""The kind of model that is judged."""


class EncoderJudging(Judging[E]):
    """Judges by the rows of several benchmarks together, with slices by the kind of text.

    Args:
        benchmarks: the first one's metric is `quality` unless `metric` names another.
        coverage: coverage of the texts on which fidelity is judged.
        metric: the metric that `quality` means; None: the first.
        tokenizer: that of the dense model.
        common: texts whose words do not count as rare.
    """

    slices = SLICES
    looks_closer = looks_in_haste = True

    def tell(self, message: str) -> None:
        """Reports the progress of long work; here it does nothing."""

    def __init__(
        self,
        benchmarks: Sequence[Benchmark],
        coverage: Coverage,
        *,
        metric: str | None,
        tokenizer: Tokenizer,
        common: Iterable[str],
    ) -> None:
        self.benchmarks, self._coverage = tuple(benchmarks), coverage
        self.metrics = {name: held for one in self.benchmarks for name, held in one.metrics.items()}
        self.metrics |= coverage.metrics
        if metric and metric not in self.metrics:
            raise unknown("task.metric", metric, self.metrics)
        self.metric = metric or next(iter(self.metrics))
        # A tokenizer that lower-cases reads upper case as the same tokens.
        mixed, upper = tokenizer.encode(["Deaf To Case", "DEAF TO CASE"])
        ignores_case = np.array_equal(mixed, upper)
        self.perturbations = tuple(name for name in PERTURBATIONS if name != "upper_case" or not ignores_case)
        self._words = word_frequency(common)
        self._vectors: WeakKeyDictionary[E, dict[Text, Vectors]] = WeakKeyDictionary()
        self._sliced: dict[tuple[str, str, int], pd.DataFrame] = {}
        self._parts: dict[bool, list[Benchmark]] = {}
        self._guides: dict[tuple[str, bool], Similarities] = {}
        self._tokenizer = tokenizer

    @property
    def main_metrics(self) -> tuple[str, ...]:
        """`metric`, then the first metric of every other labelled benchmark."""
        others = [one.metrics for one in self.benchmarks if one.labelled and self.metric not in one.metrics]
        return (self.metric, *(next(iter(metrics)) for metrics in others))

    @property
    def looked_at(self) -> tuple[str, ...]:
        elsewhere = [one.metrics for one in self.benchmarks if isinstance(one, Elsewhere)]
        return (*self.main_metrics, *(name for metrics in elsewhere for name in metrics))

    def score(self, served: E, split: str, perturbation: str | None = None) -> pd.DataFrame:
        """The rows of all benchmarks and of coverage, with the columns of slices."""
        perturb = PERTURBATIONS[perturbation] if perturbation else None

        def encode(texts: Sequence[Any], role: str | None = None) -> Vectors:
            return self._encode(served, texts, role)

        rows = [benchmark.rows(encode, split, perturb) for benchmark in self.benchmarks]
        return self._joined([*rows, self._coverage.rows(served, split, perturb)], split)

    def look(self, served: E, *, closer: bool = False) -> pd.DataFrame:
        """Rows of the benchmarks that have a main metric, for `LOOK_TOKENS` tokens of validation, or `TIMES` as many.

        Texts from elsewhere are added, as many as one benchmark has. The rows of a labelled benchmark are followed by
        rows that compare the cosines of its texts with those of the dense model.
        """
        texts_read = dict[Any, None]()

        def encode(texts: Sequence[Any], role: str | None = None) -> Vectors:
            texts_read.update(dict.fromkeys(texts))
            return self._encode(served, texts, role)

        rows = list[pd.DataFrame]()
        for part in self._looked_at(closer=closer):
            texts_read.clear()
            rows.append(part.rows(encode, "validation"))
            if part.name in self._guided:
                if (part.name, closer) not in self._guides:
                    self._guides[part.name, closer] = self._guide(part.name, list(texts_read))
                rows.append(self._guides[part.name, closer].rows(encode, "validation"))
        if self.metric in self._coverage.metrics:
            rows.append(self._coverage.rows(served, "validation"))
        return self._joined(rows, f"{'closer ' * closer}look")

    def _looked_at(self, *, closer: bool) -> list[Benchmark]:
        """The parts of benchmarks that looks use, or closer looks."""
        if closer not in self._parts:
            main = [one for one in self.benchmarks if not one.metrics.keys().isdisjoint(self.main_metrics)]
            extra = [one for one in self.benchmarks if one not in main and isinstance(one, Elsewhere)]
            most = (TIMES if closer else 1) * LOOK_TOKENS // max(1, len(main))
            self._parts[closer] = [one.part(Budget(tokens=most, tokenizer=self._tokenizer)) for one in [*main, *extra]]
        return self._parts[closer]

    def near(self, rows: pd.DataFrame) -> dict[str, float]:
        nearness = {metric: Spearman(_near(name))(rows) for name, metric in self._guided.items()}
        # Without those of vectors that are all alike, which have no rank correlation.
        return {metric: value for metric, value in nearness.items() if math.isfinite(value)}

    @cached_property
    def _guided(self) -> dict[str, str]:
        """Labelled benchmark → its main metric; empty if vectors are not compared."""
        if not any(isinstance(one, Similarities) for one in self.benchmarks):
            return {}
        return {
            one.name: metric
            for one in self.benchmarks
            for metric in self.main_metrics
            if one.labelled and metric in one.metrics
        }

    def _guide(self, name: str, texts: list[Any]) -> Similarities:
        """Compares the cosines of a benchmark's texts with those of the dense model."""
        benchmark = next(one for one in self.benchmarks if one.name == name)
        assert benchmark.dense is not None, "the dense model must be known"
        dense, splits = benchmark.dense, dict.fromkeys(("validation", "test"), texts)
        guide = Similarities(splits, lambda _: dense(texts)).under(benchmark.similarity)
        guide.name = _near(name)
        return guide

    def _joined(self, tables: list[pd.DataFrame], split: str) -> pd.DataFrame:
        """The rows of several benchmarks as one table, with the columns of slices and unit numbers of their own."""
        for number, rows in enumerate(tables):
            rows["unit"] += number * UNITS
        columns = [self._slices(split, rows) for rows in tables]
        whole = pd.concat(
            [pd.concat([rows.drop(columns="text"), cut], axis=1) for rows, cut in zip(tables, columns, strict=True)],
            ignore_index=True,
        )
        return whole.astype({"benchmark": "category"})

    def _slices(self, split: str, rows: pd.DataFrame) -> pd.DataFrame:
        """The slices of rows; cached by benchmark, split and number of rows (some benchmarks perturb only a part)."""
        key = split, str(rows["benchmark"].iloc[0]), len(rows)
        if key not in self._sliced:
            self._sliced[key] = slice_columns(rows["text"].tolist(), self._words)
        return self._sliced[key]

    def _encode(self, served: E, texts: Sequence[Any], role: str | None) -> Vectors:
        """Vectors prepared for the model's similarity, computed once for each text; as stored, unless of queries."""
        cached = self._vectors.setdefault(served, {})
        prompted = served.prompts.before(texts, role)
        missing = [text for text in dict.fromkeys(prompted) if text not in cached]
        if missing:
            countdown = Countdown(f"reading {len(missing):,} texts", 1.0, self.tell)
            computed = served.vectors(missing, told=countdown.reached)
            cached.update(zip(missing, prepared(computed, served.similarity), strict=True))
        vectors = np.stack([cached[text] for text in prompted])
        return vectors if role == QUERY else kept(vectors, served.stored_bits)


def _near(benchmark: str) -> str:
    """The name under which a benchmark's rows of nearness are recorded."""
    return f"near {benchmark}"
