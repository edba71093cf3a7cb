"""Scores of artifacts, and the standard errors of their ratios to the baseline's."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from autoprune.artifacts.served import Served
from autoprune.measure.measurement import WHOLE
from autoprune.measure.reading import binding, reading_name
from autoprune.tasks.metric import DRAWS, Numbers, Resamples, cautious_error
from autoprune.tasks.task import Judging


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The scores of an artifact; the fields are those of `Measurement`."""

    quality: dict[str, dict[str, float]]
    units: dict[str, dict[str, int]]
    errors: dict[str, float]
    draws: tuple[float, ...]
    asides: dict[str, str] = field(default_factory=dict)


class Judge:
    """Scores artifacts on one split, all compared with the same baseline.

    Args:
        task: computes the scores.
        split: `validation` or `test`.
        baseline: the artifact that all others are compared with.
        working: called with a message before each set of requests is scored.
    """

    def __init__(
        self, task: Judging, split: str, baseline: Served, *, working: Callable[[str], None] = lambda message: None
    ) -> None:
        self._task, self._split, self._working = task, split, working
        self._comparison = Comparison(task, self.rows(baseline))

    @property
    def baseline(self) -> Judged:
        """The scores of the baseline."""
        return self._comparison.baseline

    def first(self, served: Served) -> pd.DataFrame:
        """The rows of the whole split, by which an artifact can be rejected before perturbations are scored."""
        self._working(f"judging on {self._split} data")
        return self._task.score(served, self._split)

    def rows(self, served: Served, first: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
        """All rows of an artifact, by slice.

        Args:
            served: the artifact.
            first: the result of `first`, if it was called.
        """
        return score(self._task, served, self._split, first, working=self._working)

    def judge(self, rows: Mapping[str, pd.DataFrame]) -> Judged:
        """The scores of rows, and the standard errors of their ratios to the baseline."""
        return self._comparison.judge(rows)


class Comparison:
    """Compares rows with the baseline's by a paired bootstrap: the same units are drawn for all.

    Args:
        task: whose metrics are compared.
        rows: of the baseline, by slice, as `score` returns them.
    """

    def __init__(self, task: Judging, rows: Mapping[str, pd.DataFrame]) -> None:
        self._task = task
        self._resamples = Resamples(rows[WHOLE][task.unit].to_numpy())
        self._baseline_draws = self._draws(rows)
        self._influences = {
            reading_name(name, slice_name): metric.influence(sliced)
            for name, metric in task.metrics.items()
            for slice_name, sliced in rows.items()
        }
        values, units = quality(task, rows)
        self._asides = {name: meaning for name, meaning in task.asides.items() if name in rows}
        self._binding = [
            (metric, slice_name)
            for metric in task.main_metrics
            for slice_name in binding(values[metric], units[metric], asides=self._asides)
        ]
        exact = dict.fromkeys([*self._baseline_draws, "worst_slice"], 0.0)
        self.baseline = Judged(quality=values, units=units, errors=exact, draws=(1.0,) * DRAWS, asides=self._asides)

    def judge(self, rows: Mapping[str, pd.DataFrame]) -> Judged:
        """The scores of rows, and the standard error of each ratio to the baseline's.

        Args:
            rows: by slice; without rows of slices, there is no error for the worst slice.
        """
        values, units = quality(self._task, rows)
        drawn = self._draws(rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = {name: drawn[name] / self._baseline_draws[name] for name in drawn}
        errors = {}
        for metric, by_slice in values.items():
            for slice_name, value in by_slice.items():
                name = reading_name(metric, slice_name)
                errors[name] = self._error(metric, slice_name, ratios[name], rows[slice_name], value)
        if not self._binding:
            errors["worst_slice"] = errors[self._task.metric]
        elif all(slice_name in rows for _, slice_name in self._binding):
            metric, worst = min(self._binding, key=lambda pair: values[pair[0]][pair[1]] / self._baseline_value(*pair))
            lowest = np.min([ratios[reading_name(*pair)] for pair in self._binding], axis=0)
            errors["worst_slice"] = self._error(metric, worst, lowest, rows[worst], values[metric][worst])
        return Judged(
            quality=values,
            units=units,
            errors={name: error for name, error in errors.items() if math.isfinite(error)},
            draws=tuple(round(float(ratio), 5) for ratio in ratios[self._task.metric]),
            asides=self._asides,
        )

    def _baseline_value(self, metric: str, slice_name: str) -> float:
        return self.baseline.quality[metric][slice_name]

    def _error(self, metric: str, slice_name: str, drawn: Numbers, rows: pd.DataFrame, value: float) -> float:
        before = self._baseline_value(metric, slice_name)
        return cautious_error(
            drawn,
            ratio=value / before if before > 0 else math.nan,
            ours=self._task.metrics[metric].influence(rows),
            before=self._influences[reading_name(metric, slice_name)],
            value=value,
            value_before=before,
        )

    def _draws(self, rows: Mapping[str, pd.DataFrame]) -> dict[str, Numbers]:
        return {
            reading_name(name, slice_name): metric.draws(sliced, self._resamples)
            for name, metric in self._task.metrics.items()
            for slice_name, sliced in rows.items()
        }


def score(
    task: Judging,
    served: Served,
    split: str,
    whole: pd.DataFrame | None = None,
    *,
    working: Callable[[str], None] = lambda message: None,
) -> dict[str, pd.DataFrame]:
    """The rows of every slice, by name: the whole, its slices, the perturbations, and on test data the asides.

    Args:
        task: computes the scores.
        served: the artifact.
        split: `validation` or `test`.
        whole: the rows of the whole split, if they were computed before.
        working: called with a message before each set of requests is scored.
    """
    if whole is None:
        working(f"judging on {split} data")
        whole = task.score(served, split)
    rows = {WHOLE: whole}
    for column, names in task.slices.items():
        rows |= {name: whole[whole[column] == name] for name in names}
    perturbations = [*task.perturbations, *(task.asides if split == "test" else ())]
    for name in perturbations:
        working(f"judging on {split} data: {name}")
        rows[name] = task.score(served, split, name)
    return rows


def quality(
    task: Judging, rows: Mapping[str, pd.DataFrame], *, of: Collection[str] | None = None
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    """Every metric on every slice, and the number of units that each value rests on.

    Args:
        task: whose metrics are computed.
        rows: by slice, as `score` returns them.
        of: the names of the metrics to compute; None: all.
    """
    metrics = {name: metric for name, metric in task.metrics.items() if of is None or name in of}
    values = {name: {part: metric(sliced) for part, sliced in rows.items()} for name, metric in metrics.items()}
    units = {name: {part: metric.units(sliced) for part, sliced in rows.items()} for name, metric in metrics.items()}
    return values, units
