"""Honest measuring: always the artifact as it was saved and loaded, latency in turns with the baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
    """What an artifact scored; the fields are those of `Measurement`."""

    quality: dict[str, dict[str, float]]
    units: dict[str, dict[str, int]]
    errors: dict[str, float]
    draws: tuple[float, ...]
    asides: dict[str, str] = field(default_factory=dict)


class Judge:
    """Scores artifacts on one split, each beside the same baseline.

    Args:
        task: scores.
        split: `validation` or `test`.
        baseline: what all others are compared with.
        working: called with a few words before each set of requests is scored.
    """

    def __init__(
        self, task: Judging, split: str, baseline: Served, *, working: Callable[[str], None] = lambda message: None
    ) -> None:
        self._task, self._split, self._working = task, split, working
        self._comparison = Comparison(task, score(task, baseline, split, working=working))

    @property
    def baseline(self) -> Judged:
        """What the baseline scored."""
        return self._comparison.baseline

    def judge(self, served: Served) -> Judged:
        """What an artifact scored, and how sure one can be of its distance from the baseline."""
        return self._comparison.judge(score(self._task, served, self._split, working=self._working))


class Comparison:
    """Compares rows with the baseline's by a paired bootstrap: the same units are drawn for all.

    Args:
        task: whose metrics are compared.
        rows: of the baseline, by slice, as `score` gives them.
    """

    def __init__(self, task: Judging, rows: Mapping[str, pd.DataFrame]) -> None:
        self._task = task
        self._resamples = Resamples(rows[WHOLE][task.unit].to_numpy())
        self._before = self._draws(rows)
        self._influences = {
            reading_name(name, slice_name): metric.influence(sliced)
            for name, metric in task.metrics.items()
            for slice_name, sliced in rows.items()
        }
        values, units = quality(task, rows)
        self._asides = {name: told for name, told in task.asides.items() if name in rows}
        self._binding = [
            (name, of) for name in task.main_metrics for of in binding(values[name], units[name], asides=self._asides)
        ]
        exact = dict.fromkeys([*self._before, "worst_slice"], 0.0)
        self.baseline = Judged(quality=values, units=units, errors=exact, draws=(1.0,) * DRAWS, asides=self._asides)

    def judge(self, rows: Mapping[str, pd.DataFrame]) -> Judged:
        """What rows are worth, and the standard error of each ratio to the baseline's."""
        values, units = quality(self._task, rows)
        drawn = self._draws(rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = {name: drawn[name] / self._before[name] for name in drawn}
        errors = {}
        for metric, by_slice in values.items():
            for slice_name, value in by_slice.items():
                name = reading_name(metric, slice_name)
                errors[name] = self._error(metric, slice_name, ratios[name], rows[slice_name], value)
        if self._binding:
            metric, worst = min(self._binding, key=lambda pair: values[pair[0]][pair[1]] / self._before_of(*pair))
            lowest = np.min([ratios[reading_name(*pair)] for pair in self._binding], axis=0)
            errors["worst_slice"] = self._error(metric, worst, lowest, rows[worst], values[metric][worst])
        else:
            errors["worst_slice"] = errors[self._task.metric]
        return Judged(
            quality=values,
            units=units,
            errors={name: error for name, error in errors.items() if math.isfinite(error)},
            draws=tuple(round(float(ratio), 5) for ratio in ratios[self._task.metric]),
            asides=self._asides,
        )

    def _before_of(self, metric: str, slice_name: str) -> float:
        return self.baseline.quality[metric][slice_name]

    def _error(self, metric: str, slice_name: str, drawn: Numbers, rows: pd.DataFrame, value: float) -> float:
        before = self._before_of(metric, slice_name)
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
    task: Judging, served: Served, split: str, *, working: Callable[[str], None] = lambda message: None
) -> dict[str, pd.DataFrame]:
    """The rows of every slice, by its name: the whole, its slices, the perturbations, and on test data the asides."""

    def scored(perturbation: str | None = None) -> pd.DataFrame:
        working(f"judging on {split} data" + (f": {perturbation}" if perturbation else ""))
        return task.score(served, split, perturbation)

    whole = scored()
    rows = {WHOLE: whole}
    for column, names in task.slices.items():
        rows |= {name: whole[whole[column] == name] for name in names}
    asked = [*task.perturbations, *(task.asides if split == "test" else ())]
    return rows | {name: scored(name) for name in asked}


def quality(
    task: Judging, rows: Mapping[str, pd.DataFrame]
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    """Every metric on every slice, and the number of units that each value rests on.

    Args:
        rows: by slice, as `score` gives them.
    """
    values = {name: {of: metric(sliced) for of, sliced in rows.items()} for name, metric in task.metrics.items()}
    units = {name: {of: metric.units(sliced) for of, sliced in rows.items()} for name, metric in task.metrics.items()}
    return values, units
