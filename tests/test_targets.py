"""What a recommender is asked, plainly and made harder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from autoprune.artifacts.served import serve
from autoprune.models.model import Model
from autoprune.recommender import targets
from autoprune.recommender.data.interactions import Interactions
from autoprune.recommender.served import Recommender
from autoprune.recommender.targets import NEWCOMER_ITEMS, NOISE, PERTURBATIONS, Targets
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
    made = task._asked["test", "newcomer"]
    for user in made.users[:5].tolist():
        seen = made.seen.of(user)
        ids = [int(task.data.items[int(at)]) for at in made.known.of(user)]
        scores = served.scores(history=ids)
        scores[seen] = -np.inf
        best = scores.argsort(descending=True)[:20].tolist()
        for row in rows[rows["user"] == user].itertuples():
            expected = best.index(row.item) + 1.0 if row.item in best else np.inf
            assert row.rank == expected


def test_less_knowledge_is_worse(task: RecommenderTask, dense: Model) -> None:
    served, metric = serve(task.parts(dense)), task.metrics["ndcg@20"]
    found = {name: metric(task.score(served, "test", name)) for name in PERTURBATIONS}
    assert found["newcomer"] < found["stranger"]
    assert found["noisy"] < found["stranger"]
