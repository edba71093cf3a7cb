"""How vectors are judged: by several benchmarks, with slices by the row or query that asks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import pandas as pd

from autoprune.errors import AutopruneError, unknown
from autoprune.tasks.metric import Metric
from autoprune.tasks.task import Judging
from autoprune.vectors.benchmarks import Benchmark
from autoprune.vectors.retention import WEIGHT, Retention
from autoprune.vectors.served import VectorIndex
from autoprune.vectors.slices import SLICES, Facts, slice_columns

UNITS = 10_000_000
"""Most units of a benchmark: each benchmark has its own range of unit numbers."""

RETENTION = "retention"


class VectorJudging(Judging[VectorIndex]):
    """The rows of several benchmarks.

    If several of them are labelled, `retention` is the first metric: how much of each is kept.

    Args:
        benchmarks: the first one's metric is `quality` unless there is `retention`, or `metric` names another.
        facts: properties of askers, from which slices are made.
        dense: the dense model.
        metric: the metric that `quality` means; None: the first.

    Raises:
        AutopruneError: there is no such metric, or the dense model scores no better than 0 in a labelled benchmark.
    """

    def __init__(
        self, benchmarks: Sequence[Benchmark], *, facts: Facts, dense: VectorIndex, metric: str | None
    ) -> None:
        self.benchmarks, self._facts, self._dense = tuple(benchmarks), facts, dense
        self.slices = {column: SLICES[column] for column in facts}
        labelled = {
            benchmark.name: next(iter(benchmark.metrics.values())) for benchmark in benchmarks if benchmark.labelled
        }
        self._labelled = labelled if len(labelled) > 1 else {}
        self.metrics: dict[str, Metric] = {RETENTION: Retention(labelled)} if self._labelled else {}
        self.metrics |= {
            name: its_metric for benchmark in self.benchmarks for name, its_metric in benchmark.metrics.items()
        }
        if metric and metric not in self.metrics:
            raise unknown("task.metric", metric, self.metrics)
        self.metric = metric or next(iter(self.metrics))
        self._weights: dict[tuple[str, str], float] = {}

    @property
    def main_metrics(self) -> tuple[str, ...]:
        """`metric`, and if it is not of a labelled benchmark, the first that is."""
        labelled = [name for benchmark in self.benchmarks if benchmark.labelled for name in benchmark.metrics]
        if not labelled or self.metric in (RETENTION, *labelled):
            return (self.metric,)
        return self.metric, RETENTION if self._labelled else labelled[0]

    def score(self, served: VectorIndex, split: str, perturbation: str | None = None) -> pd.DataFrame:
        """The rows of every benchmark, with the columns of slices; unit numbers differ between benchmarks."""
        assert perturbation is None, "vectors have no perturbations"
        return self._joined(served, self.benchmarks, split)

    def look(self, served: VectorIndex, *, closer: bool = False) -> pd.DataFrame:
        """The rows of every benchmark on its part of validation."""
        del closer
        return self._joined(served, self._parts, "validation", look=True)

    @cached_property
    def _parts(self) -> list[Benchmark]:
        return [benchmark.part() for benchmark in self.benchmarks]

    def _joined(
        self, served: VectorIndex, benchmarks: Sequence[Benchmark], split: str, *, look: bool = False
    ) -> pd.DataFrame:
        frames = []
        for number, benchmark in enumerate(benchmarks):
            rows = benchmark.rows(served, split)
            rows["unit"] += number * UNITS
            rows[WEIGHT] = self._weight(benchmark, "look" if look else split, split)
            slices = slice_columns(rows["asker"].to_numpy(), self._facts)
            frames.append(pd.concat([rows.drop(columns="asker"), slices], axis=1))
        return pd.concat(frames, ignore_index=True).astype({"benchmark": "category"})

    def _weight(self, benchmark: Benchmark, kind: str, split: str) -> float:
        """The weight of a benchmark's score in `retention`; 0 if it is not a part of it."""
        if benchmark.name not in self._labelled:
            return 0.0
        key = kind, benchmark.name
        if key not in self._weights:
            name, metric = next(iter(benchmark.metrics.items()))
            value = metric(benchmark.rows(self._dense, split))
            if not value > 0:
                raise AutopruneError(
                    f"task: the vectors score {value:.3g} in {name} ({benchmark.describe()}), so no share of it "
                    "can be kept; leave it out, or name another set."
                )
            self._weights[key] = 1 / (len(self._labelled) * value)
        return self._weights[key]


def described(benchmarks: Sequence[Benchmark]) -> str:
    """All benchmarks in a line."""
    return "; ".join(benchmark.describe() for benchmark in benchmarks)
