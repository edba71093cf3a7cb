"""Metrics for tasks of one's own, beside their definitions and the literal bootstrap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from autoprune.errors import AutopruneError
from autoprune.metrics import Auc, Function, Likelihood, Mean, ranking, ranks
from autoprune.tasks.metric import Metric, Resamples


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Answers about 120 users, 1 to 5 of each; scores are tied here and there."""
    draw = np.random.default_rng(0)
    unit = np.repeat(np.arange(120), draw.integers(1, 6, size=120))
    label = draw.integers(2, size=len(unit))
    score = np.clip(np.round(0.2 * label + draw.normal(0.4, 0.2, size=len(unit)), 2), 0.01, 0.99)
    return pd.DataFrame({"unit": unit, "label": label.astype(float), "score": score})


METRICS = {
    "mean": Mean("score"),
    "auc": Auc(),
    "likelihood": Likelihood(),
    "function": Function(lambda rows: float(rows["score"].mean())),
    "smaller": Function(lambda rows: float(((rows["score"] - rows["label"]) ** 2).mean()), smaller_is_better=True),
}

every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))


def test_auc_counts_pairs(rows: pd.DataFrame) -> None:
    positive, negative = (rows.loc[rows["label"] == label, "score"].to_numpy() for label in (1, 0))
    above = np.sign(positive[:, None] - negative)
    assert Auc()(rows) == pytest.approx((above + 1).mean() / 2)


@pytest.mark.parametrize("name", ["recall@3", "ndcg@3"])
def test_ranking_matches_brute_force(name: str) -> None:
    draw = np.random.default_rng(0)
    scores = torch.from_numpy(draw.integers(9, size=(40, 12)).astype(np.float32))  # many are equal
    scores[:, 5] = -torch.inf  # a row that is gone
    wanted = torch.from_numpy(np.stack([draw.permutation(12)[:2] for _ in range(40)]))
    columns = {"unit": np.repeat(np.arange(40), 2), "rank": ranks(scores, wanted).flatten()}
    gains = []
    for given, rows in zip(scores.tolist(), wanted.tolist(), strict=True):
        order = [row for row in sorted(range(12), key=lambda row: -given[row]) if row != 5][:3]
        hits = [row in rows for row in order]
        found = sum(hit / np.log2(place + 2) if "ndcg" in name else hit for place, hit in enumerate(hits))
        gains.append(found / (1 + 1 / np.log2(3) if "ndcg" in name else 2))
    assert ranking(name)[name](pd.DataFrame(columns)) == pytest.approx(np.mean(gains))
    assert torch.equal(ranks(scores, wanted[:, 1]), ranks(scores, wanted)[:, 1])


def test_scores_that_are_nan_have_no_rank() -> None:
    scores = torch.tensor([[1.0, torch.nan, 0.0], [1.0, 2.0, 0.0]])
    assert ranks(scores[:0], torch.zeros(0, 2, dtype=torch.long)).shape == (0, 2)
    assert ranks(scores, torch.zeros(2, 0, dtype=torch.long)).shape == (2, 0)
    assert ranks(scores, torch.tensor([0, 0])).tolist() == pytest.approx([np.nan, 2.0], nan_ok=True)


def test_likelihood_is_that_of_log_loss(rows: pd.DataFrame) -> None:
    log_loss = -np.log(np.where(rows["label"] == 1, rows["score"], 1 - rows["score"])).mean()
    assert -np.log(Likelihood()(rows)) == pytest.approx(log_loss)


def test_what_is_better_when_smaller_counts_by_its_reciprocal(rows: pd.DataFrame) -> None:
    error = ((rows["score"] - rows["label"]) ** 2).mean()
    assert METRICS["smaller"](rows) == pytest.approx(1 / error)


@every_metric
def test_influences_sum_to_nothing_and_are_by_unit(metric: Metric, rows: pd.DataFrame) -> None:
    moved = metric.influence(rows)
    assert sorted(moved.index) == sorted(rows["unit"].unique())
    assert moved.sum() == pytest.approx(0, abs=1e-9)
    assert metric.units(rows) == 120


@pytest.mark.parametrize("name", ["mean", "auc", "likelihood"])
def test_influence_is_what_leaving_a_unit_out_changes(name: str, rows: pd.DataFrame) -> None:
    metric = METRICS[name]
    left_out = [metric(rows) - metric(rows[rows["unit"] != unit]) for unit in range(120)]
    assert np.corrcoef(left_out, metric.influence(rows).to_numpy())[0, 1] > 0.98


@every_metric
def test_draws_spread_as_the_literal_bootstrap(metric: Metric, rows: pd.DataFrame) -> None:
    draw, places = np.random.default_rng(1), [np.flatnonzero(rows["unit"] == unit) for unit in range(120)]
    literal = []
    for _ in range(100):
        drawn = [places[unit] for unit in draw.integers(120, size=120)]
        named = np.repeat(np.arange(120), [len(one) for one in drawn])
        literal.append(metric(rows.iloc[np.concatenate(drawn)].assign(unit=named)))
    found = metric.draws(rows, Resamples(rows["unit"].to_numpy()))
    assert found.mean() == pytest.approx(metric(rows), rel=0.02)
    assert found.std() == pytest.approx(np.std(literal), rel=0.35)


@every_metric
def test_no_rows_have_no_value(metric: Metric, rows: pd.DataFrame) -> None:
    assert np.isnan(metric(rows[:0]))
    assert metric.units(rows[:0]) == 0
    assert len(metric.influence(rows[:0])) == 0


def test_one_class_has_no_auc(rows: pd.DataFrame) -> None:
    ones = rows[rows["label"] == 1]
    assert np.isnan(Auc()(ones))
    assert not Auc().influence(ones).any()


def test_what_is_no_label_and_no_probability_is_refused(rows: pd.DataFrame) -> None:
    with pytest.raises(AutopruneError, match=r"column 'score': labels must be 0 or 1, but got 0\.\d+"):
        Auc("score", "label")(rows)
    with pytest.raises(AutopruneError, match=r"0 <= p <= 1, but got 3; apply a sigmoid first"):
        Likelihood()(rows.assign(score=3.0))
