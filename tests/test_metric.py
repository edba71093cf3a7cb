"""Bootstrap samples: against a slow loop, and against what statistics says of a mean."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from autoprune.measure.reading import SURE, scored_reading
from autoprune.tasks import metric
from autoprune.tasks.metric import DRAWS, FEWEST_DIFFERING, MeanMetric, Resamples, cautious_error


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


class Share(MeanMetric):
    def per_unit(self, rows: pd.DataFrame) -> pd.Series:
        return rows.groupby("user")["hit"].mean()


def test_a_mean_metric_is_the_mean_of_its_units() -> None:
    rows = pd.DataFrame({"user": [0, 0, 1, 2], "hit": [1.0, 0.0, 1.0, 1.0]})
    assert Share()(rows) == pytest.approx(2.5 / 3)
    assert Share().draws(rows, Resamples(np.array([0, 1, 2]))).mean() == pytest.approx(2.5 / 3, abs=0.03)
    influence = Share().influence(rows)
    assert influence.tolist() == pytest.approx([(0.5 - 2.5 / 3) / 3, (1 - 2.5 / 3) / 3, (1 - 2.5 / 3) / 3])


def compared(ours: np.ndarray, before: np.ndarray) -> tuple[float, float]:
    """The error, and the plain spread of the bootstrap."""
    rows = [pd.DataFrame({"user": np.arange(len(values)), "hit": values}) for values in (ours, before)]
    resamples = Resamples(np.arange(len(ours)))
    drawn = Share().draws(rows[0], resamples) / Share().draws(rows[1], resamples)
    error = cautious_error(
        drawn,
        ratio=ours.mean() / before.mean(),
        ours=Share().influence(rows[0]),
        before=Share().influence(rows[1]),
        value=float(ours.mean()),
        value_before=float(before.mean()),
    )
    return error, float(drawn.std(ddof=1))


def test_where_many_units_differ_the_error_is_the_bootstrap_s() -> None:
    draw = np.random.default_rng(0)
    before = draw.uniform(size=2000)
    error, plain = compared(before + draw.normal(0, 0.1, size=2000), before)
    assert plain < error < 1.02 * plain


@pytest.mark.parametrize("count", [60, 300, 20_000])
def test_where_none_of_n_units_differs_the_bound_is_that_of_three_of_them(count: int) -> None:
    values = np.random.default_rng(0).uniform(size=count)
    error, plain = compared(values, values.copy())
    assert plain == 0.0
    assert scored_reading(1.0, 1.0, error).bound(SURE, upper=False) == pytest.approx(1 - 3 / count)
    assert (1 - 3 / count) ** count == pytest.approx(0.05, rel=0.1), "so many of which none is seen in 5 of 100 cases"
    other = values.copy()
    other[0] *= 0.5
    assert compared(other, values)[0] > 0.5 * error, "of one that differs the error is of no other kind"


def test_where_few_units_differ_the_error_covers_others() -> None:
    draw = np.random.default_rng(1)
    inside = {"cautious": 0, "plain": 0}
    counted = 0
    for _ in range(150):
        before = draw.uniform(0.2, 1, size=(2, 400))
        after = np.where(draw.random((2, 400)) < 0.012, 0.0, before)  # about five users lose all they had
        ratios = after.mean(axis=1) / before.mean(axis=1)
        if ratios[0] == 1:
            continue
        error, plain = compared(after[0], before[0])
        counted += 1
        for name, one in (("cautious", error), ("plain", plain)):
            inside[name] += abs(ratios[1] - ratios[0]) <= 1.96 * 2**0.5 * one
    assert inside["plain"] / counted < 0.93
    assert inside["cautious"] / counted > 0.95


def test_the_missing_units_move_as_much_as_the_one_that_moves_most() -> None:
    before = np.full(100, 0.5)
    ours = before.copy()
    ours[0] = 0.0
    error, plain = compared(ours, before)
    largest = 0.01 * (1 - 0.01)  # of the ratio, by the one unit that differs
    assert error > np.sqrt(plain**2 + (FEWEST_DIFFERING - 1) * largest**2)
