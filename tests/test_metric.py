"""Bootstrap samples: against a slow loop, and against what statistics says of a mean."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from autoprune.tasks import metric
from autoprune.tasks.metric import DRAWS, MeanMetric, Resamples


def test_the_mean_of_a_sample_is_the_mean_of_what_was_drawn() -> None:
    values = pd.Series([1.0, 10.0, 100.0, 1000.0], index=[7, 3, 11, 5])
    resamples = Resamples(np.array([3, 5, 7, 7, 11, 3]), seed=4)
    draw = np.random.default_rng(4)
    expected = [values[[3, 5, 7, 11]].to_numpy()[draw.integers(4, size=4)].mean() for _ in range(DRAWS)]
    assert resamples.means(values) == pytest.approx(expected)


def test_units_without_a_value_are_left_out() -> None:
    resamples = Resamples(np.arange(3), seed=1)
    found = resamples.means(pd.Series([5.0], index=[1]))
    assert set(found[~np.isnan(found)]) == {5.0}
    missing = np.isnan(found).mean()
    assert missing == pytest.approx((2 / 3) ** 3, abs=0.08), "samples that did not draw it have no mean"


def test_the_spread_of_means_is_the_standard_error() -> None:
    values = pd.Series(np.random.default_rng(0).exponential(size=900))
    found = Resamples(np.arange(900)).means(values)
    assert found.std(ddof=1) == pytest.approx(values.std() / 30, rel=0.1)
    assert found.mean() == pytest.approx(values.mean(), rel=0.01)


def test_many_units_are_drawn_in_groups_and_err_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    values = pd.Series(np.random.default_rng(0).exponential(size=8000))
    one_by_one = Resamples(np.arange(8000)).means(values).std(ddof=1)
    monkeypatch.setattr(metric, "MOST_GROUPS", 500)
    grouped = Resamples(np.arange(8000))
    assert grouped.means(values).std(ddof=1) == pytest.approx(one_by_one, rel=0.15)
    assert grouped.means(values).mean() == pytest.approx(values.mean(), rel=0.01)


def test_samples_are_the_same_for_everybody() -> None:
    values = pd.Series(np.arange(50.0))
    assert (Resamples(np.arange(50)).means(values) == Resamples(np.arange(50)).means(values)).all()
    both = Resamples(np.arange(50))
    assert both.means(values + 1) - both.means(values) == pytest.approx(np.ones(DRAWS), abs=1e-4)


def test_a_mean_metric_is_the_mean_of_its_units() -> None:
    class Share(MeanMetric):
        def per_unit(self, rows: pd.DataFrame) -> pd.Series:
            return rows.groupby("user")["hit"].mean()

    rows = pd.DataFrame({"user": [0, 0, 1, 2], "hit": [1.0, 0.0, 1.0, 1.0]})
    assert Share()(rows) == pytest.approx(2.5 / 3)
    assert Share().draws(rows, Resamples(np.array([0, 1, 2]))).mean() == pytest.approx(2.5 / 3, abs=0.03)
