"""How an encoder is judged: by benchmarks, and by how much of a text it still reads."""

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
"""That a look reads, shared out among the benchmarks: some 300 sentences, read about as fast as a model is made."""

TIMES = 4
"""Times as many tokens a closer look reads; fitting codes takes it longer than reading these."""

UNITS = 10_000_000
"""Units of one benchmark, at most: each has a range of numbers of its own."""


E = TypeVar("E", bound=TextModel)
"""What is judged."""


class EncoderJudging(Judging[E]):
    """The rows of several benchmarks beside one another, with slices by the kind of text that asks.

    Args:
        benchmarks: the first one's metric is `quality` unless `metric` names another.
        coverage: of the texts that fidelity is judged on.
        metric: the metric that `quality` means; None: the first.
        tokenizer: of the dense model.
        common: texts whose words are not rare.
    """

    slices = SLICES
    looks_closer = looks_in_haste = True

    def tell(self, message: str) -> None:
        """Says how far long work is; nothing here."""

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
        # To a tokenizer that lower-cases, upper case is nothing new.
        one, other = tokenizer.encode(["Deaf To Case", "DEAF TO CASE"])
        deaf = np.array_equal(one, other)
        self.perturbations = tuple(name for name in PERTURBATIONS if name != "upper_case" or not deaf)
        self._words = word_frequency(common)
        self._known: WeakKeyDictionary[E, dict[Text, Vectors]] = WeakKeyDictionary()
        self._sliced: dict[tuple[str, str, int], pd.DataFrame] = {}
        self._parts: dict[bool, list[Benchmark]] = {}
        self._guides: dict[tuple[str, bool], Similarities] = {}
        self._tokenizer = tokenizer

    @property
    def main_metrics(self) -> tuple[str, ...]:
        """`metric`, then the first metric of every other benchmark that people labelled."""
        others = [one.metrics for one in self.benchmarks if one.labelled and self.metric not in one.metrics]
        return (self.metric, *(next(iter(metrics)) for metrics in others))

    @property
    def looked_at(self) -> tuple[str, ...]:
        elsewhere = [one.metrics for one in self.benchmarks if isinstance(one, Elsewhere)]
        return (*self.main_metrics, *(name for metrics in elsewhere for name in metrics))

    def score(self, served: E, split: str, perturbation: str | None = None) -> pd.DataFrame:
        """The rows of every benchmark, with the columns of slices; units count on from benchmark to benchmark."""
        perturb = PERTURBATIONS[perturbation] if perturbation else None

        def encode(texts: Sequence[Any], role: str | None = None) -> Vectors:
            return self._encode(served, texts, role)

        found = [one.rows(encode, split, perturb) for one in self.benchmarks]
        return self._joined([*found, self._coverage.rows(served, split, perturb)], split)

    def look(self, served: E, *, closer: bool = False) -> pd.DataFrame:
        """Rows of each benchmark that has a main metric: of `LOOK_TOKENS` tokens of validation, or `TIMES` as many.

        Texts from elsewhere are beside them, as many as one benchmark has. After those of one that people
        labelled come rows of how near the cosines of its texts are to the dense model's.
        """
        asked = dict[Any, None]()

        def encode(texts: Sequence[Any], role: str | None = None) -> Vectors:
            asked.update(dict.fromkeys(texts))
            return self._encode(served, texts, role)

        found = list[pd.DataFrame]()
        for one in self._looked_at(closer=closer):
            asked.clear()
            found.append(one.rows(encode, "validation"))
            if one.name in self._guided:
                if (one.name, closer) not in self._guides:
                    self._guides[one.name, closer] = self._guide(one.name, list(asked))
                found.append(self._guides[one.name, closer].rows(encode, "validation"))
        if self.metric in self._coverage.metrics:
            found.append(self._coverage.rows(served, "validation"))
        return self._joined(found, f"{'closer ' * closer}look")

    def _looked_at(self, *, closer: bool) -> list[Benchmark]:
        """The parts of benchmarks that looks ask, or closer looks."""
        if closer not in self._parts:
            main = [one for one in self.benchmarks if not one.metrics.keys().isdisjoint(self.main_metrics)]
            beside = [one for one in self.benchmarks if one not in main and isinstance(one, Elsewhere)]
            most = (TIMES if closer else 1) * LOOK_TOKENS // max(1, len(main))
            self._parts[closer] = [one.part(Budget(tokens=most, tokenizer=self._tokenizer)) for one in [*main, *beside]]
        return self._parts[closer]

    def near(self, rows: pd.DataFrame) -> dict[str, float]:
        found = {metric: Spearman(_near(name))(rows) for name, metric in self._guided.items()}
        return {metric: value for metric, value in found.items() if math.isfinite(value)}  # not of vectors all alike

    @cached_property
    def _guided(self) -> dict[str, str]:
        """The benchmarks that people labelled, and their main metrics; nothing where vectors are not compared."""
        if not any(isinstance(one, Similarities) for one in self.benchmarks):
            return {}
        return {
            one.name: metric
            for one in self.benchmarks
            for metric in self.main_metrics
            if one.labelled and metric in one.metrics
        }

    def _guide(self, name: str, texts: list[Any]) -> Similarities:
        """Tells how near the cosines of what a benchmark asks are to the dense model's."""
        of = next(one for one in self.benchmarks if one.name == name)
        assert of.dense is not None, "what is right is known once the dense model is"
        dense = of.dense
        found = Similarities(dict.fromkeys(("validation", "test"), texts), lambda _: dense(texts)).under(of.similarity)
        found.name = _near(name)
        return found

    def _joined(self, found: list[pd.DataFrame], split: str) -> pd.DataFrame:
        """The rows of several benchmarks as one table, with the columns of slices."""
        for number, rows in enumerate(found):
            rows["unit"] += number * UNITS
        columns = [self._slices(split, rows) for rows in found]
        whole = pd.concat(
            [pd.concat([rows.drop(columns="text"), cut], axis=1) for rows, cut in zip(found, columns, strict=True)],
            ignore_index=True,
        )
        return whole.astype({"benchmark": "category"})

    def _slices(self, split: str, rows: pd.DataFrame) -> pd.DataFrame:
        """What kinds of texts ask; always the same for one benchmark, split and number: some perturb only a part."""
        key = split, str(rows["benchmark"].iloc[0]), len(rows)
        if key not in self._sliced:
            self._sliced[key] = slice_columns(rows["text"].tolist(), self._words)
        return self._sliced[key]

    def _encode(self, served: E, texts: Sequence[Any], role: str | None) -> Vectors:
        """Vectors prepared for the model's similarity, each text of a role computed once; all but queries as stored."""
        known = self._known.setdefault(served, {})
        asked = served.prompts.before(texts, role)
        missing = [text for text in dict.fromkeys(asked) if text not in known]
        if missing:
            countdown = Countdown(f"reading {len(missing):,} texts", 1.0, self.tell)
            found = served.vectors(missing, told=countdown.reached)
            known.update(zip(missing, prepared(found, served.similarity), strict=True))
        found = np.stack([known[text] for text in asked])
        return found if role == QUERY else kept(found, served.stored_bits)


def _near(benchmark: str) -> str:
    """What the rows of how near cosines are stand under."""
    return f"near {benchmark}"
