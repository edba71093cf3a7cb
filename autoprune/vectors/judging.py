"""How vectors are judged: by benchmarks beside one another, with slices by what asks."""

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
"""Units of one benchmark, at most: each has a range of numbers of its own."""

RETENTION = "retention"


class VectorJudging(Judging[VectorIndex]):
    """The rows of several benchmarks.

    Where people said what is right in several of them, `retention` is the first metric: how much of each is kept.

    Args:
        benchmarks: the first one's metric is `quality` unless there is `retention`, or `metric` names another.
        facts: what is known of askers.
        dense: the dense model.
        metric: the metric that `quality` means; None: the first.

    Raises:
        AutopruneError: there is no such metric, or of a benchmark the dense model knows nothing.
    """

    def __init__(
        self, benchmarks: Sequence[Benchmark], *, facts: Facts, dense: VectorIndex, metric: str | None
    ) -> None:
        self.benchmarks, self._facts, self._dense = tuple(benchmarks), facts, dense
        self.slices = {column: SLICES[column] for column in facts}
        labelled = {one.name: next(iter(one.metrics.values())) for one in benchmarks if one.labelled}
        self._labelled = labelled if len(labelled) > 1 else {}
        self.metrics: dict[str, Metric] = {RETENTION: Retention(labelled)} if self._labelled else {}
        self.metrics |= {name: held for one in self.benchmarks for name, held in one.metrics.items()}
        if metric and metric not in self.metrics:
            raise unknown("task.metric", metric, self.metrics)
        self.metric = metric or next(iter(self.metrics))
        self._weights: dict[tuple[str, str], float] = {}

    @property
    def main_metrics(self) -> tuple[str, ...]:
        """`metric`, and where it is none of those of what people labelled, the first of these."""
        main = [name for one in self.benchmarks if one.labelled for name in one.metrics]
        if not main or self.metric in (RETENTION, *main):
            return (self.metric,)
        return self.metric, RETENTION if self._labelled else main[0]

    def score(self, served: VectorIndex, split: str, perturbation: str | None = None) -> pd.DataFrame:
        """The rows of every benchmark, with the columns of slices; units count on from benchmark to benchmark."""
        assert perturbation is None, "nothing is made harder"
        return self._joined(served, self.benchmarks, split)

    def look(self, served: VectorIndex, *, closer: bool = False) -> pd.DataFrame:
        """The same of a part of validation."""
        del closer
        return self._joined(served, self._looked_at, "validation", look=True)

    @cached_property
    def _looked_at(self) -> list[Benchmark]:
        return [one.part() for one in self.benchmarks]

    def _joined(
        self, served: VectorIndex, benchmarks: Sequence[Benchmark], split: str, *, look: bool = False
    ) -> pd.DataFrame:
        found = []
        for number, one in enumerate(benchmarks):
            rows = one.rows(served, split)
            rows["unit"] += number * UNITS
            rows[WEIGHT] = self._weight(one, "look" if look else split, split)
            cut = slice_columns(rows["asker"].to_numpy(), self._facts)
            found.append(pd.concat([rows.drop(columns="asker"), cut], axis=1))
        return pd.concat(found, ignore_index=True).astype({"benchmark": "category"})

    def _weight(self, benchmark: Benchmark, kind: str, split: str) -> float:
        """What a score of a benchmark counts in `retention`; 0 where there is none."""
        if benchmark.name not in self._labelled:
            return 0.0
        key = kind, benchmark.name
        if key not in self._weights:
            name, metric = next(iter(benchmark.metrics.items()))
            value = metric(benchmark.rows(self._dense, split))
            if not value > 0:
                raise AutopruneError(
                    f"task: the vectors score {value:.3g} in {name} ({benchmark.describe()}), and of nothing no share "
                    "can be kept; leave it out, or bring another set."
                )
            self._weights[key] = 1 / (len(self._labelled) * value)
        return self._weights[key]


def described(benchmarks: Sequence[Benchmark]) -> str:
    """All of them in a line."""
    return "; ".join(one.describe() for one in benchmarks)
