"""Metrics of benchmarks: against scipy, against explicit samples, against leaving units out."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from autoprune.encoder.benchmarks.benchmark import as_rows, embedded, sha256_of
from autoprune.tasks.benchmarks import MeanValue, Spearman
from autoprune.tasks.metric import DRAWS, Resamples


def made(count: int = 60, *, seed: int = 0, levels: int = 8) -> pd.DataFrame:
    """Rows with ties in both columns."""
    draw = np.random.default_rng(seed)
    gold = draw.integers(levels, size=count).astype(float)
    value = np.round(gold / levels + draw.normal(0, 0.5, size=count), 1)
    return as_rows("pairs", [f"text {at}" for at in range(count)], value, gold)


def test_rank_correlation_matches_scipy() -> None:
    for seed in range(5):
        rows = made(seed=seed)
        expected = scipy.stats.spearmanr(rows["value"], rows["gold"]).statistic
        assert Spearman("pairs")(rows) == pytest.approx(expected)


def test_rank_correlation_of_too_little_or_of_a_constant_is_unknown() -> None:
    rows = made()
    metric = Spearman("pairs")
    assert np.isnan(metric(rows[:2]))
    assert np.isnan(metric(rows.assign(value=0.5)))
    assert np.isnan(metric(rows.assign(gold=np.nan)))
    assert np.isnan(metric(rows[:0]))
    assert np.isnan(metric.draws(rows[:0], Resamples(np.arange(60)))).all()
    assert metric.influence(rows.assign(value=0.5)).tolist() == [0.0] * len(rows)


def test_rank_correlation_of_samples_matches_explicit_samples() -> None:
    rows = made()
    found = Spearman("pairs").draws(rows, Resamples(rows["unit"].to_numpy(), seed=3))
    draw = np.random.default_rng(3)
    for at in range(DRAWS):
        sample = rows.iloc[draw.integers(60, size=60)]
        if at % 25 == 0:
            assert found[at] == pytest.approx(scipy.stats.spearmanr(sample["value"], sample["gold"]).statistic)


def test_many_rows_are_drawn_in_half_a_second() -> None:
    rows = made(1500, levels=26)
    resamples = Resamples(rows["unit"].to_numpy())
    started = time.process_time()
    found = Spearman("pairs").draws(rows, resamples)
    assert time.process_time() - started < 1.5, "0.3 s where the machine is idle"
    assert np.isfinite(found).all()


def test_influence_matches_leaving_units_out() -> None:
    rows = made(300)
    metric = Spearman("pairs")
    influence = metric.influence(rows)
    left_out = np.array([metric(rows[rows["unit"] != unit]) for unit in rows["unit"]])
    jackknife = (len(rows) - 1) * (metric(rows) - left_out) / len(rows)
    assert influence.sum() == pytest.approx(0, abs=1e-12)
    assert influence.index.tolist() == rows["unit"].tolist()
    assert np.corrcoef(influence, jackknife)[0, 1] > 0.9999
    assert influence.to_numpy() == pytest.approx(jackknife, abs=0.02 * np.abs(jackknife).max())


def test_influence_has_the_spread_of_the_bootstrap() -> None:
    rows = made(800, levels=30)
    metric = Spearman("pairs")
    spread = metric.draws(rows, Resamples(rows["unit"].to_numpy())).std(ddof=1)
    assert np.sqrt((metric.influence(rows) ** 2).sum()) == pytest.approx(spread, rel=0.12)


def test_a_metric_reads_its_own_rows_only() -> None:
    pairs = made()
    other = as_rows("retrieval", ["q"] * 10, np.linspace(0, 1, 10))
    both = pd.concat([other, pairs.assign(unit=pairs["unit"] + 10)], ignore_index=True)
    resamples = Resamples(both["unit"].to_numpy())
    assert Spearman("pairs")(both) == Spearman("pairs")(pairs)
    assert MeanValue("retrieval")(both) == pytest.approx(0.5)
    assert MeanValue("retrieval").influence(both).index.tolist() == list(range(10))
    assert np.nanmean(MeanValue("retrieval").draws(both, resamples)) == pytest.approx(0.5, abs=0.03)
    assert np.nanmean(Spearman("pairs").draws(both, resamples)) == pytest.approx(Spearman("pairs")(pairs), abs=0.05)


def test_rows_have_their_columns() -> None:
    rows = as_rows("pairs", ["a", "b"], np.array([1, 0]))
    assert list(rows) == ["benchmark", "unit", "text", "value", "gold"]
    assert rows["benchmark"].dtype == "category"
    assert rows["unit"].dtype == np.int64
    assert rows["gold"].isna().all()


def test_a_vector_that_is_not_finite_is_like_nothing() -> None:
    found = embedded(lambda texts: np.array([[1.0, 0.0], [np.nan, 1.0]], dtype=np.float32), ["a", "b"])
    assert found.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_a_fingerprint_tells_apart_where_parts_end() -> None:
    assert sha256_of(["ab", "c"]) != sha256_of(["a", "bc"])
    assert sha256_of(["ab", 1]) == sha256_of(["ab", "1"])
