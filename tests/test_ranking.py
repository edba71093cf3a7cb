from __future__ import annotations

import math
from random import Random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.errors import AutopruneError
from autoprune.tasks.ranking import KINDS, RankingMetric, longest_list, ranking_metrics


def frame(targets: dict[int, list[float]]) -> pd.DataFrame:
    pairs = [(user, rank) for user, ranks in targets.items() for rank in ranks]
    return pd.DataFrame({"user": [user for user, _ in pairs], "rank": [float(rank) for _, rank in pairs]})


def slow(ranks: list[float], kind: str, k: int) -> float:
    """One user, as the definitions read: a walk down the list of k places."""
    hits = [place for place in range(1, k + 1) if place in ranks]
    if kind == "recall":
        return len(hits) / len(ranks)
    if kind == "hit_rate":
        return 1.0 if hits else 0.0
    gained = sum(1 / math.log2(place + 1) for place in hits)
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(ranks)) + 1))
    return gained / ideal


RANKS = st.lists(st.one_of(st.integers(1, 12), st.just(math.inf)), min_size=1, max_size=6).map(
    lambda ranks: [rank for at, rank in enumerate(ranks) if rank == math.inf or rank not in ranks[:at]]
)


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(st.integers(0, 99), RANKS, min_size=1, max_size=6),
    st.sampled_from(KINDS),
    st.integers(1, 10),
    st.randoms(use_true_random=False),
)
def test_metrics_match_a_slow_loop(targets: dict[int, list[float]], kind: str, k: int, random: Random) -> None:
    rows = frame(targets).sample(frac=1, random_state=random.randrange(2**31))
    expected = {user: slow(targets[user], kind, k) for user in sorted(targets)}
    found = RankingMetric(kind, k).per_unit(rows)
    assert found.index.tolist() == list(expected)
    assert found.tolist() == pytest.approx(list(expected.values()))
    assert RankingMetric(kind, k)(rows) == pytest.approx(sum(expected.values()) / len(expected))


def test_metrics_match_a_hand_computed_example() -> None:
    # user 1 has one of three targets at place 2, user 5 its only one at place 1, user 9 none
    rows = frame({1: [2, 7, math.inf], 5: [1], 9: [4]})
    metrics = ranking_metrics(["ndcg@3", "recall@3", "hit_rate@3"])
    assert metrics["recall@3"](rows) == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert metrics["hit_rate@3"](rows) == pytest.approx(2 / 3)
    first = (1 / math.log2(3)) / (1 + 1 / math.log2(3) + 1 / 2)
    assert metrics["ndcg@3"](rows) == pytest.approx((first + 1 + 0) / 3)


def test_the_ideal_list_is_no_longer_than_the_cut_off() -> None:
    assert ranking_metrics(["ndcg@2"])["ndcg@2"](frame({0: [1, 2, 3, 4]})) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_have_no_mean(kind: str) -> None:
    assert math.isnan(RankingMetric(kind, 5)(frame({})))


def test_the_longest_list_is_the_largest_cut_off() -> None:
    assert longest_list(["ndcg@5", "recall@100", "hit_rate@20"]) == 100


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ndgc@20", r"^metric 'ndgc@20' is unknown\. Did you mean ndcg@20"),
        ("ndcg", r"^metric 'ndcg' is unknown\. .*Available: hit_rate@20, ndcg@20, recall@20\. Any cut-off may follow"),
        ("recall@0", r"^metric 'recall@0' is unknown\. Did you mean .*recall@20"),
        ("recall@ten", r"^metric 'recall@ten' is unknown"),
        ("mrr@10", r"^metric 'mrr@10' is unknown\. Available: |^metric 'mrr@10' is unknown\. Did you mean"),
    ],
)
def test_a_metric_that_is_not_there_is_refused(name: str, message: str) -> None:
    with pytest.raises(AutopruneError, match=message):
        ranking_metrics([name])
