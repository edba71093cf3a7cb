"""What a recommender is asked, plainly and made harder."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from autoprune.artifacts.served import serve
from autoprune.measure.judge import Comparison, score
from autoprune.measure.measurement import Measurement
from autoprune.measure.reading import readings
from autoprune.models.model import Model
from autoprune.recommender import targets
from autoprune.recommender.data.interactions import Interactions
from autoprune.recommender.served import Recommender
from autoprune.recommender.targets import ASIDES, NEWCOMER_ITEMS, NOISE, PERTURBATIONS, Targets
from autoprune.recommender.task import RecommenderTask


@pytest.fixture(scope="module")
def plain(data: Interactions) -> Targets:
    return Targets(data, "test", data.evaluable("test"))


def test_popular_items_are_of_the_head(plain: Targets, data: Interactions) -> None:
    counts = torch.bincount(data.train.items, minlength=len(data.items))
    labels = plain.rows.drop_duplicates("item").set_index("item")["popularity"]
    least = [counts[labels[labels == name].index.tolist()].min() for name in ("head", "middle", "tail")]
    assert least[0] >= least[1] >= least[2]


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_perturbation_asks_strangers_for_the_same_items(plain: Targets, name: str) -> None:
    made = plain.asked(name)
    assert made.strangers
    assert not plain.strangers
    assert made.seen is plain.seen, "what nobody is shown stays as it is"
    assert made.wanted is plain.wanted
    assert made.rows.equals(plain.rows.reset_index(drop=True))
    again = plain.asked(name)
    assert torch.equal(made.known.items, again.known.items)


@pytest.mark.parametrize("step", [1, 7, 10**6])
def test_batches_have_every_user_once_with_what_they_know_and_want(plain: Targets, step: int) -> None:
    for made in (plain, plain.asked("newcomer"), plain.asked("live")):
        batches = list(made.batches(step))
        assert torch.equal(torch.cat([batch.users for batch in batches]), made.users)
        for batch in batches:
            assert (batch.hidden is batch.known) == (made.known is made.seen)
            for place, user in list(enumerate(batch.users.tolist()))[:3]:
                assert batch.known.of(place).tolist() == made.known.of(user).tolist()
                assert batch.hidden.of(place).tolist() == made.seen.of(user).tolist()
                assert batch.wanted[batch.owner == place].tolist() == made.wanted.of(user).tolist()


def test_the_batches_of_few_users_are_kept(plain: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain.batches(7) is plain.batches(7)
    monkeypatch.setattr(targets, "KEPT_USERS", len(plain.users) - 1)
    assert plain.batches(7) is not plain.batches(7)


def test_a_newcomer_has_few_of_their_own_items(plain: Targets) -> None:
    made = plain.asked("newcomer")
    assert torch.equal(made.known.counts, plain.known.counts.clamp_max(NEWCOMER_ITEMS))
    for user in range(0, len(made.known), 17):
        known = set(made.known.of(user).tolist())
        assert known <= set(plain.known.of(user).tolist())
        assert len(known) == min(NEWCOMER_ITEMS, len(plain.known.of(user)))


def test_noise_replaces_its_share_of_a_history(plain: Targets) -> None:
    made = plain.asked("noisy")
    assert torch.equal(made.known.counts, plain.known.counts)
    changed = (made.known.items != plain.known.items).double().mean().item()
    assert changed == pytest.approx(NOISE, abs=0.03)


def test_a_large_split_is_perturbed_for_some_users(plain: Targets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "PERTURBED_USERS", 50)
    made = plain.asked("stranger")
    assert len(made.users) == 50
    assert set(made.rows["user"]) == set(made.users.tolist())
    whole = plain.rows[plain.rows["user"].isin(made.users.numpy())]
    assert made.rows["item"].tolist() == whole["item"].tolist()


def test_strangers_are_answered_as_recommend_answers_their_history(task: RecommenderTask, dense: Model) -> None:
    served = serve(task.parts(dense))
    assert isinstance(served, Recommender)
    rows = task.score(served, "test", "newcomer")
    made = task._other_targets["test", "newcomer"]
    for user in made.users[:5].tolist():
        seen = made.seen.of(user)
        ids = [int(task.data.items[int(at)]) for at in made.known.of(user)]
        scores = served.scores(history=ids)
        scores[seen] = -np.inf
        best = (-scores).argsort()[:20].tolist()
        for row in rows[rows["user"] == user].itertuples():
            expected = best.index(row.item) + 1.0 if row.item in best else np.inf
            assert row.rank == expected


def test_less_knowledge_is_worse(task: RecommenderTask, dense: Model) -> None:
    served, metric = serve(task.parts(dense)), task.metrics["ndcg@20"]
    found = {name: metric(task.score(served, "test", name)) for name in PERTURBATIONS}
    assert found["newcomer"] < found["stranger"]
    assert found["noisy"] < found["stranger"]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("name", [None, "stranger", "newcomer"])
def test_nobody_is_served_from_what_rows_never_saw(data: Interactions, split: str, name: str | None) -> None:
    made = Targets(data, split, data.evaluable(split))
    made = made.asked(name) if name else made
    for user in range(len(data.users)):
        assert set(made.known.of(user).tolist()) <= set(data.train.of(user).tolist())
        assert made.seen.of(user).tolist() == data.seen_before(split).of(user).tolist(), "and yet nothing comes twice"


@pytest.fixture(scope="module")
def without_users(task: RecommenderTask, dense: Model) -> Recommender:
    """The dense model without the rows of half of its users."""
    model = copy.deepcopy(dense)
    model.cut(model.axes["rows.user"], torch.arange(0, len(task.data.users), 2))
    return Recommender(task.parts(model))


def test_later_interactions_of_users_without_rows_are_no_gain(
    task: RecommenderTask, without_users: Recommender
) -> None:
    """They are left out of the answers, which are otherwise what the training data alone gives."""
    data, rows = task.data, task.score(without_users, "test")
    best = without_users.topk(None, 120, histories=data.train, hidden=data.train)
    for user in range(1, 120, 2):
        answers = [item for item in best[user].tolist() if item >= 0 and item not in data.validation.of(user).tolist()]
        own = rows[rows["user"] == user]
        places = [answers.index(item) + 1.0 for item in own["item"]]
        assert own["rank"].tolist() == [place if place <= 20 else np.inf for place in places]


def test_live_tells_users_without_rows_from_the_others(
    task: RecommenderTask, dense: Model, without_users: Recommender
) -> None:
    rows, live = (task.score(without_users, "test", name) for name in (None, "live"))
    columns = ["user", "item", "popularity", "history"]
    assert rows[columns].equals(live[columns])
    moved = rows["rank"] != live["rank"]
    assert set(rows["user"][moved] % 2) == {1}
    known = task._other_targets["test", "live"].known
    assert torch.equal(known.counts, task.data.train.counts + task.data.validation.counts)
    whole = serve(task.parts(dense))
    assert task.score(whole, "test", "live").equals(task.score(whole, "test")), "who has a row is served by it"


def test_asides_are_asked_of_test_data_and_count_nowhere(
    task: RecommenderTask, dense: Model, without_users: Recommender
) -> None:
    dense_rows, rows = (score(task, served, "test") for served in (serve(task.parts(dense)), without_users))
    assert list(score(task, without_users, "validation")) == [name for name in rows if name not in ASIDES]
    rows["live"] = rows["live"].assign(rank=np.inf)  # as bad as can be
    comparison = Comparison(task, dense_rows)
    judged = comparison.judge(rows)
    assert judged.asides == comparison.baseline.asides == ASIDES
    common = {"split": "test", "purpose": "verify", "machine": "m", "structure": "", "latency": {}}
    common |= {"size_bytes": 1, "memory_bytes": 1}
    measured, before = (
        Measurement(quality=one.quality, units=one.units, errors=one.errors, asides=one.asides, **common)
        for one in (judged, comparison.baseline)
    )
    found = readings(measured, before, metrics=["ndcg@20"])
    assert found["ndcg@20.live"].ratio == 0.0
    assert not found["ndcg@20.live"].binds
    assert found["ndcg@20.live"].error >= 0, "it has an interval like all others"
    assert found["worst_slice"].ratio > 0
    assert found["ndcg@20.stranger"].binds
