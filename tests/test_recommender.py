"""The recommender that serves, and the task that trains and judges it."""

from __future__ import annotations

import copy
import dataclasses
import enum
import pickle
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

import autoprune
from autoprune.artifacts import artifact
from autoprune.artifacts.served import serve
from autoprune.errors import AutopruneError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.packing.ids import Ids
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run_stage
from autoprune.recipes.train import Trainer
from autoprune.recommender import strangers
from autoprune.recommender import task as tasks
from autoprune.recommender.config import RecommenderConfig
from autoprune.recommender.data.interactions import split_log
from autoprune.recommender.data.log import Log
from autoprune.recommender.histories import Histories
from autoprune.recommender.model import Factorization
from autoprune.recommender.served import Recommendation, Recommender
from autoprune.recommender.task import RecommenderTask
from autoprune.steps.rows import Rows


def served_by(task: RecommenderTask, model: Model) -> Recommender:
    served = serve(task.parts(model))
    assert isinstance(served, Recommender)
    return served


@pytest.fixture(scope="module")
def served(task: RecommenderTask, dense: Model) -> Recommender:
    return served_by(task, dense)


@pytest.fixture(scope="module")
def pruned(task: RecommenderTask, dense: Model, context: Context, trainer: Trainer) -> Model:
    """A model without the rarest third of the items and half of the users."""
    recipe = {"prune": {"rows": {"sparsity": {"item": 1 / 3, "user": 0.5}}}}
    (stage,) = plan(recipe, base_defaults=task.base).stages
    return run_stage(dense, stage, task, context, trainer=trainer, key="")


@pytest.fixture(scope="module")
def served_pruned(task: RecommenderTask, pruned: Model) -> Recommender:
    return served_by(task, pruned)


def ids_of(task: RecommenderTask, positions: Tensor) -> list[int]:
    return [int(task.data.items[int(at)]) for at in positions]


def history_of(task: RecommenderTask, user: int) -> list[int]:
    return ids_of(task, task.data.train.joined(task.data.validation).of(user))


def test_recommendations_are_unseen_distinct_and_best_first(served: Recommender, task: RecommenderTask) -> None:
    for user in range(0, 240, 7):
        found = served.recommend(task.data.users[user], k=20)
        items, scores = [one.item for one in found], [one.score for one in found]
        assert len(set(items)) == 20
        assert not set(items) & set(history_of(task, user))
        assert scores == sorted(scores, reverse=True)
        assert all(one.title == str(one.item) for one in found)  # this data has no titles


def test_recommendations_match_a_numpy_ranking(served: Recommender, dense: Model, task: RecommenderTask) -> None:
    user, item = (dense.tables[name].weight.detach().double().numpy() for name in ("user", "item"))
    for at in (0, 17, 239):
        scores = item @ user[at]
        scores[[task.data.items.position(one) for one in history_of(task, at)]] = -np.inf
        best = np.argsort(-scores)[:10]
        found = served.recommend(task.data.users[at], k=10)
        assert [one.item for one in found] == [task.data.items[int(one)] for one in best]
        np.testing.assert_allclose([one.score for one in found], scores[best], rtol=1e-5)


def test_seen_items_come_back_when_asked_for(served: Recommender, task: RecommenderTask) -> None:
    found = {one.item for one in served.recommend(task.data.users[0], k=200, include_seen=True)}
    assert found == set(ids_of(task, torch.arange(120)))


def test_removed_items_are_never_recommended(served_pruned: Recommender, pruned: Model, task: RecommenderTask) -> None:
    stays = set(ids_of(task, pruned.tables["item"].index))
    assert len(stays) == 80
    for user in range(0, 240, 7):
        seen = set(history_of(task, user))
        assert {one.item for one in served_pruned.recommend(task.data.users[user], k=200)} == stays - seen
        everything = served_pruned.recommend(task.data.users[user], k=200, include_seen=True)
        assert {one.item for one in everything} == stays


def test_k_larger_than_the_catalogue_returns_what_is_left(served: Recommender, task: RecommenderTask) -> None:
    user = task.data.users[5]
    assert len(served.recommend(user, k=10_000)) == 120 - len(history_of(task, 5))
    best = served.topk([user], 500)
    assert best.shape == (1, 500)
    assert int((best >= 0).sum()) == 120 - len(history_of(task, 5))
    assert bool((best[0, 120 - len(history_of(task, 5)) :] == -1).all())


@pytest.mark.parametrize("which", ["served", "served_pruned"])
def test_topk_is_recommend_for_many(which: str, task: RecommenderTask, request: pytest.FixtureRequest) -> None:
    recommender: Recommender = request.getfixturevalue(which)
    users = [task.data.users[at] for at in range(0, 240, 5)]
    best = recommender.topk(users, 10)
    assert best.dtype == np.int64
    for row, user in zip(best, users, strict=True):
        assert ids_of(task, row) == [one.item for one in recommender.recommend(user, k=10)]


@pytest.mark.parametrize("which", ["served", "served_pruned"])
def test_a_batch_is_recommend_for_each(which: str, task: RecommenderTask, request: pytest.FixtureRequest) -> None:
    recommender: Recommender = request.getfixturevalue(which)
    users = [task.data.users[at] for at in range(0, 240, 5)]
    histories = [[task.data.items[at], task.data.items[at + 9]] for at in range(3)]
    hidden = [[found[0].item for found in recommender.recommend_batch(users, k=1)][at : at + 1] for at in range(48)]

    def same(batch: list[list[Recommendation]], each: list[list[Recommendation]]) -> None:
        assert [[one[:2] for one in found] for found in batch] == [[one[:2] for one in found] for found in each]
        np.testing.assert_allclose(
            *([one.score for found in all_ for one in found] for all_ in (batch, each)), rtol=1e-4
        )

    same(recommender.recommend_batch(users), [recommender.recommend(user) for user in users])
    same(
        recommender.recommend_batch(np.array(users), k=5, include_seen=True),  # type: ignore[arg-type]  # a sequence
        [recommender.recommend(user, k=5, include_seen=True) for user in users],
    )
    same(recommender.recommend_batch(histories=histories), [recommender.recommend(history=held) for held in histories])
    found = recommender.recommend_batch(users, hidden=hidden)
    same(found, [recommender.recommend(user, hidden=held) for user, held in zip(users, hidden, strict=True)])
    assert not [held for held, best in zip(hidden, found, strict=True) if held[0] in [one.item for one in best]]
    assert recommender.recommend_batch([]) == recommender.recommend_batch(histories=[]) == []
    for wrong, message in (
        ({}, "exactly one of users"),
        ({"users": users, "histories": histories}, "exactly one of users"),
        ({"users": users, "hidden": hidden[:3]}, "one list for each of the 48 users, but has 3"),
        ({"users": ["nobody"]}, "user 'nobody' is unknown"),
        ({"users": 7}, "users: a list of ids of users must be given, but got 7"),
        ({"users": "u1"}, "users: a list of ids of users"),
        ({"users": users, "hidden": 3}, "hidden: a list of lists"),
        ({"histories": [3]}, "histories: a list of item ids"),
        ({"users": users, "k": 0}, "recommend_batch: a whole number k"),
    ):
        with pytest.raises(AutopruneError, match=message):
            recommender.recommend_batch(**wrong)  # type: ignore[arg-type]  # what is refused


def test_topk_takes_other_histories(served: Recommender, task: RecommenderTask) -> None:
    users = [task.data.users[at] for at in (0, 1)]
    nothing = Histories(starts=torch.zeros(3, dtype=torch.long), items=torch.empty(0, dtype=torch.long))
    expected = [served.recommend(user, k=10, include_seen=True) for user in users]
    assert [ids_of(task, row) for row in served.topk(users, 10, histories=nothing)] == [
        [one.item for one in found] for found in expected
    ]


def test_a_copy_for_another_process_answers_the_same(served: Recommender, task: RecommenderTask) -> None:
    other, user = pickle.loads(pickle.dumps(served)), task.data.users[5]
    assert other.recommend(user, k=10) == served.recommend(user, k=10)


def test_what_is_preferred_changes_no_answer(task: RecommenderTask, pruned: Model) -> None:
    parts, user = task.parts(pruned), task.data.users[5]
    packed, wide = (serve(parts, prefer=prefer) for prefer in ("memory", "latency"))
    assert isinstance(packed, Recommender)
    assert isinstance(wide, Recommender)
    assert [one.item for one in packed.recommend(user)] == [one.item for one in wide.recommend(user)]
    with pytest.raises(AutopruneError, match=r"prefer 'speed' is unknown. Available: latency, memory"):
        serve(parts, prefer="speed")


def test_topk_of_nobody_is_empty(served: Recommender) -> None:
    assert served.topk([], 10).shape == (0, 10)


def test_a_stranger_is_served_by_history(served: Recommender, task: RecommenderTask) -> None:
    taste = 2
    history = ids_of(task, torch.tensor([taste, taste + 6, taste + 12, taste + 18]))
    found = [one.item for one in served.recommend(history=history, k=10)]
    assert not set(found) & set(history)
    # items of one taste are planted 6 apart; by chance a sixth of the answers would be of it
    assert sum((int(one) - 100) // 10 % 6 == taste for one in found) >= 5


def test_a_history_replaces_what_is_known_of_a_user(served: Recommender, task: RecommenderTask) -> None:
    history = ids_of(task, torch.tensor([3, 9, 15]))
    assert served.recommend(task.data.users[0], history=history) == served.recommend(history=history)
    assert served.recommend(task.data.users[0], history=history) != served.recommend(task.data.users[0])


def test_without_any_history_a_stranger_is_the_average_user(served: Recommender, dense: Model) -> None:
    user, item = (dense.tables[name].weight.detach() for name in ("user", "item"))
    np.testing.assert_allclose(served.scores(history=[]), item @ user.mean(0), rtol=1e-4, atol=1e-5)
    assert len(served.recommend(history=[], k=10)) == 10


def test_a_removed_user_is_a_stranger_with_a_history(
    served_pruned: Recommender, pruned: Model, task: RecommenderTask
) -> None:
    gone = sorted(set(range(240)) - set(pruned.tables["user"].index.tolist()))
    assert len(gone) == 120
    for at in gone[:5]:
        user = task.data.users[at]
        history = history_of(task, at)
        np.testing.assert_array_equal(served_pruned.scores(user), served_pruned.scores(history=history))
        assert served_pruned.vector(user=user).shape == (16,)


def test_a_fold_in_vector_of_squares_minimises_its_loss(dense: Model, task: RecommenderTask) -> None:
    model = copy.deepcopy(dense)
    model.fold_in = fold_in = {"alpha": 0.1, "ridge": 0.5}
    served = served_by(task, model)
    item = dense.tables["item"].weight.detach().double()
    seen = torch.tensor([3, 9, 15])
    scores = torch.from_numpy(served.scores(history=ids_of(task, seen))).double()
    vector = torch.linalg.lstsq(item, scores[:, None]).solution[:, 0].requires_grad_()
    scale = item.square().sum(0).mean()
    loss = (1 - item[seen] @ vector).square().sum() + fold_in["alpha"] * (item @ vector).square().sum()
    loss = loss + fold_in["ridge"] * scale * vector.square().sum()
    (gradient,) = torch.autograd.grad(loss, vector)
    assert float(gradient.norm()) < 1e-4 * float(scale * vector.detach().norm())


@pytest.mark.parametrize(
    "fold_in",
    [{"ridge": 6.0, "temperature": 0.5, "steps": 3}, {"ridge": 6.0, "temperature": 0.5}, {"alpha": 0.1, "ridge": 0.5}],
)
def test_many_users_are_folded_in_as_one_is(
    pruned: Model, task: RecommenderTask, monkeypatch: pytest.MonkeyPatch, fold_in: dict[str, Any]
) -> None:
    monkeypatch.setattr(strangers, "SOLVED_VALUES", 16 * 16 * 7)  # seven at a time
    model = copy.deepcopy(pruned)
    model.fold_in = fold_in
    served = served_by(task, model)
    users = list(range(len(task.data.users)))
    owner, seen = task.data.train.joined(task.data.validation).in_numpy().take(np.array(users))
    # three of them have seen nothing
    kept = (owner != 3) & (owner != 0) & (owner != len(users) - 1)
    owner, rows = owner[kept], served._row_of_item[seen[kept]]
    owner, rows = owner[rows >= 0], rows[rows >= 0]
    found = served._strangers.vectors(owner, rows, count=len(users))
    items, known = (model.tables[name].weight.detach().double() for name in ("item", "user"))
    for user in users:
        own = items[rows[owner == user]]
        if not len(own):
            expected = known.mean(0)
        elif "temperature" in fold_in:
            covariance = torch.cov(items.T, correction=0)
            penalty = covariance + fold_in["ridge"] * covariance.diagonal().mean() * torch.eye(16)
            expected = torch.linalg.solve(penalty, own.mean(0) - items.mean(0))
            length = items.norm(dim=1).mean()
            for _ in range(fold_in.get("steps", 1)):
                expected = expected / expected.norm()
                liked = torch.softmax(items @ expected / (length * fold_in["temperature"]), 0) @ items
                slope = (own.mean(0) - liked) / length
                expected = expected + strangers.STEP * (slope - (slope @ expected) * expected)
            expected *= known.norm(dim=1).mean() / expected.norm()
        else:
            gram = items.T @ items
            penalty = fold_in["alpha"] * gram + fold_in["ridge"] * gram.diagonal().mean() * torch.eye(16)
            expected = torch.linalg.solve(own.T @ own + penalty, own.sum(0))
        np.testing.assert_allclose(found[user], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fold_in", [{"ridge": 0.0, "temperature": 0.5}, {"ridge": 0.0}, {"ridge": 6.0}])
def test_items_that_are_all_alike_give_every_user_a_vector(
    dense: Model, task: RecommenderTask, fold_in: dict[str, float]
) -> None:
    model = copy.deepcopy(dense)
    model.fold_in = fold_in
    model.tables["item"].weight.data = torch.ones_like(model.tables["item"].weight)
    found = served_by(task, model)._strangers.vectors(np.array([0, 0, 1]), np.array([3, 5, 7]), count=3)
    assert np.isfinite(found).all()


def test_each_step_makes_what_was_seen_likelier(dense: Model, task: RecommenderTask) -> None:
    """By the loss that the tables are trained with, of users whose rows the model does not have."""
    items, temperature = dense.tables["item"].weight.detach(), task.config.temperature
    owner, seen = task.data.train.in_numpy().take(np.arange(len(task.data.users)))
    length, likely = items.norm(dim=1).mean(), []
    for steps in range(4):
        model = copy.deepcopy(dense)
        model.fold_in = {"ridge": 6.0, "temperature": temperature, "steps": steps}
        found = served_by(task, model)._strangers.vectors(owner, seen, count=len(task.data.users))
        scores = torch.log_softmax(normalize(torch.from_numpy(found)) @ items.T / (length * temperature), 1)
        likely.append(float(scores[owner, seen].mean()))
    assert likely == sorted(set(likely))


def test_scores_and_vectors_have_the_shapes_of_the_catalogue(
    served: Recommender, served_pruned: Recommender, pruned: Model, task: RecommenderTask
) -> None:
    user, item = task.data.users[0], task.data.items[0]
    assert served.scores(user).shape == (120,)
    assert served.vector(user=user).shape == served.vector(item=item).shape == (16,)
    np.testing.assert_allclose(served.scores(user)[0], served.vector(user=user) @ served.vector(item=item), rtol=1e-5)
    scores = served_pruned.scores(user)
    assert scores.shape == (120,)
    assert np.flatnonzero(np.isfinite(scores)).tolist() == pruned.tables["item"].index.tolist()


def test_who_and_what_is_unknown_is_said(
    served: Recommender, served_pruned: Recommender, pruned: Model, task: RecommenderTask
) -> None:
    removed = next(at for at in range(120) if at not in pruned.tables["item"].index.tolist())
    name = task.data.items[removed]
    for call, message in (
        (lambda: served.recommend(1), r"user 1 is unknown. Give history=\[item ids\]"),
        (lambda: served.recommend("0"), "user '0' is unknown"),
        (lambda: served.recommend(True), "user True is unknown"),
        (lambda: served.recommend(2**70), "is unknown"),
        (lambda: served.topk([0, 1], 5), "user 1 is unknown"),
        (lambda: served.recommend(), "one of user=… and history="),
        (lambda: served.recommend(0, k=0), "a whole number k >= 1 must be given, but got 0"),
        (lambda: served.recommend(0, k=2.5), "a whole number k >= 1 must be given, but got 2.5"),
        (lambda: served.recommend([0, 3]), "is unknown"),
        (lambda: served.recommend(history=5), "history: a list of item ids must be given, but got 5"),
        (lambda: served.recommend(history=[None]), "history: item None is unknown"),
        (lambda: served.recommend(history=[100, 101]), "history: item 101 is unknown; leave it out"),
        (lambda: served.vector(), "exactly one of user=… and item=… must be given"),
        (lambda: served.vector(user=0, item=100), "exactly one of user=… and item=… must be given"),
        (lambda: served.vector(item=101), "item 101 is unknown"),
        (lambda: served.vector(user=1), "user 1 is unknown"),
        (lambda: served_pruned.vector(item=name), f"item {name} was removed by pruning"),
    ):
        with pytest.raises(AutopruneError, match=message):
            call()


class Numbered(enum.IntEnum):
    """Ids by name."""

    THIRD = 3


@pytest.mark.parametrize(
    "three",
    [
        3,
        3.0,
        np.int64(3),
        np.uint8(3),
        np.float32(3),
        np.array(3),
        np.array(3.0),
        torch.tensor(3),
        torch.tensor(3.0, requires_grad=True),
        torch.tensor(3, dtype=torch.int32),
        Decimal("3.00"),
        Fraction(6, 2),
        Numbered.THIRD,
    ],
    ids=repr,
)
def test_a_whole_number_in_any_type_is_the_id_it_means(three: Any, served: Recommender) -> None:
    assert served.recommend(three, k=5) == served.recommend(3, k=5)
    assert np.array_equal(served.vector(user=three), served.vector(user=3))
    assert np.array_equal(served.topk([three, 0], 5), served.topk([3, 0], 5))


@pytest.mark.parametrize(
    "three",
    [
        True,
        np.bool_(True),
        torch.tensor(True),
        "3",
        np.str_("3"),
        b"3",
        np.bytes_(b"3"),
        3.5,
        Decimal("3.5"),
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        3 + 0j,
        np.datetime64("2020-01-01"),
        pd.NA,
        [3],
        (3,),
        np.array([3]),
        torch.tensor([3]),
        pd.Series([3]),
        pytest.param(object(), id="object"),
    ],
    ids=repr,
)
def test_what_is_no_whole_number_is_refused_with_a_hint(three: Any, served: Recommender) -> None:
    hint = "is unknown.* Ids are whole numbers here, such as"
    with pytest.raises(AutopruneError, match=f"user .* {hint} 0"):
        served.recommend(three)
    with pytest.raises(AutopruneError, match=f"item .* {hint} 100"):
        served.recommend(history=[three])
    with pytest.raises(AutopruneError, match=f"item .* {hint} 100"):
        served.vector(item=three)


@pytest.mark.parametrize(
    "history",
    [
        (130, 100),
        [130.0, 100.0],
        [130, 100, 130.0, torch.tensor(100)],
        np.array([130, 100]),
        np.array([130, 100], dtype=np.float32),
        np.array([130, 100], dtype=object),
        torch.tensor([130, 100]),
        torch.tensor([130, 100], dtype=torch.int16),
        pd.Series([130, 100], index=[7, 9]),
        pd.Series([130, 100], dtype="Int64"),
        pd.Index([130, 100]),
        pd.Categorical([130, 100]),
        {130: 4.5, 100: 3.0},
        range(130, 99, -30),
    ],
    ids=repr,
)
def test_a_history_may_come_in_any_kind_of_list(history: Any, served: Recommender) -> None:
    assert served.recommend(history=history, k=5) == served.recommend(history=[130, 100], k=5)
    assert served.recommend(history=iter(history), k=5) == served.recommend(history=[130, 100], k=5)


@pytest.mark.parametrize(
    "history",
    [
        "130",
        b"\x82\x64",
        bytearray(b"\x82\x64"),
        130,
        np.array(130),
        torch.tensor(130),
        np.array([[130, 100]]),
        torch.tensor([[130]]),
        pd.DataFrame({"item": range(130, 200)}),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_is_no_list_is_no_history(history: Any, served: Recommender) -> None:
    with pytest.raises(AutopruneError, match=r"^history: a list of item ids must be given, but got .*$") as found:
        served.recommend(history=history)
    assert len(str(found.value)) < 200
    assert "\n" not in str(found.value)


def test_large_floats_name_no_id() -> None:
    ids = Ids(np.array([2**53, 2**53 + 1, 2**60]))
    assert [ids.position(one) for one in (2**53, 2**60, Decimal(2**53 + 1), np.int64(2**60))] == [0, 2, 1, 2]
    assert [ids.position(one) for one in (2.0**53, 2.0**60, np.float64(2**53), 1e300)] == [-1] * 4
    assert "whole numbers" in ids.hint(2.0**60)


@pytest.mark.parametrize("word", ["b", np.str_("b"), np.array("b"), enum.StrEnum("Word", {"B": "b"}).B], ids=repr)
def test_a_string_in_any_type_is_the_id_it_means(word: Any) -> None:
    assert Ids(np.array(["a", "b"])).position(word) == 1


@pytest.mark.parametrize("word", [b"b", np.bytes_(b"b"), 1, None, ["b"], np.array(["b"]), True], ids=repr)
def test_what_is_no_string_names_no_string(word: Any) -> None:
    ids = Ids(np.array(["a", "b"]))
    assert ids.position(word) == -1
    assert ids.hint(word) == " Ids are strings here, such as 'a'."


def test_a_removed_item_may_stand_in_a_history(
    served_pruned: Recommender, pruned: Model, task: RecommenderTask
) -> None:
    removed = next(at for at in range(120) if at not in pruned.tables["item"].index.tolist())
    name, other = task.data.items[removed], task.data.items[int(pruned.tables["item"].index[0])]
    alone, both = served_pruned.scores(history=[other]), served_pruned.scores(history=[other, name])
    torch.testing.assert_close(alone, both)
    assert len(served_pruned.recommend(history=[name], k=5)) == 5


def test_memory_shrinks_with_rows(served: Recommender, served_pruned: Recommender) -> None:
    assert served.memory_bytes == (240 + 120) * (16 * 4 + 4)  # float32 rows and int32 ids
    assert served_pruned.memory_bytes == (120 + 80) * (16 * 4 + 4)


def test_the_loss_matches_numpy(dense: Model, task: RecommenderTask) -> None:
    model, batch = copy.deepcopy(dense).eval(), torch.arange(10, 40)
    user, item = (model.tables[name].weight.detach().double().numpy() for name in ("user", "item"))
    user, item = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (user, item))
    logits = user @ item.T / task.config.temperature
    likelihood = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    total = sum(likelihood[at, task.data.train.of(at).numpy()].sum() for at in batch.tolist())
    typical = 30 * len(task.data.train.items) / 240
    assert task.loss(model, batch).item() == pytest.approx(-total / typical, rel=1e-4)


def test_items_that_are_drawn_stand_for_the_catalogue(dense: Model, task: RecommenderTask) -> None:
    """The gradients of many draws are in the mean that of the whole catalogue, but for what a logarithm bends."""
    batch, sampling = torch.arange(10, 40), copy.copy(task)
    sampling.config = dataclasses.replace(task.config, items_per_update=90)
    assert sampling.fingerprint() != task.fingerprint()
    gradients = []
    for one, draws in ((task, 1), (sampling, 200)):
        model = copy.deepcopy(dense).eval()
        torch.manual_seed(0)
        for _ in range(draws):
            one.loss(model, batch).backward()
        found = [table.weight.grad for table in model.tables.values() if table.weight.grad is not None]
        gradients.append(torch.cat(found).flatten() / draws)
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98


def test_only_items_that_compete_are_normalised(dense: Model, task: RecommenderTask) -> None:
    batch, sampling, counts = torch.arange(2), copy.copy(task), list[int]()
    sampling.config = dataclasses.replace(task.config, items_per_update=40)

    def counted(*arguments: Any) -> torch.Tensor:
        found = RecommenderTask.compared_items(sampling, *arguments)
        counts.append(len(found))
        return found

    sampling.compared_items = counted  # type: ignore[method-assign]
    sampling.loss(copy.deepcopy(dense), batch).backward()
    (count,) = counts
    assert count <= max(40, 10 + len(task.data.train.take(batch)[1])) < len(task.data.items)


def test_the_gradient_of_the_loss_is_that_of_automatic_differentiation(
    dense: Model, task: RecommenderTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.recommender.task.SOFTMAX_USERS", 7)  # blocks, the last of them smaller
    model, batch = copy.deepcopy(dense).eval(), torch.arange(10, 40)
    task.loss(model, batch).backward()
    user, item = (model.tables[name].weight.detach().clone().requires_grad_() for name in ("user", "item"))
    owner, seen = task.data.train.take(batch)
    logits = normalize(user)[batch] @ normalize(item).T / task.config.temperature
    typical = 30 * len(task.data.train.items) / 240
    (-logits.log_softmax(dim=1)[owner, seen].sum() / typical).backward()
    for name, expected in (("user", user), ("item", item)):
        assert expected.grad is not None
        torch.testing.assert_close(model.tables[name].weight.grad, expected.grad, rtol=1e-4, atol=1e-6)


def test_the_loss_ignores_removed_rows(dense: Model, context: Context, task: RecommenderTask) -> None:
    hidden = copy.deepcopy(dense).eval()
    step = Rows(sparsity={"item": 0.4, "user": 0.3})
    step.advance(hidden, context, 1.0)
    cut = copy.deepcopy(hidden)
    step.convert(cut, context)
    batch = torch.arange(64)

    def drawn_alike(model: Model) -> torch.Tensor:
        torch.manual_seed(0)  # what of a history is told is drawn
        return task.loss(model, batch)

    loss = drawn_alike(hidden)
    torch.testing.assert_close(loss, drawn_alike(cut))
    loss.backward()
    for table in hidden.tables.values():
        assert table.weight.grad is not None
        assert bool((table.weight.grad[~table.row_mask] == 0).all())
        with torch.no_grad():
            table.weight[~table.row_mask] = 1e3
    torch.testing.assert_close(drawn_alike(hidden), loss)


@pytest.mark.parametrize("fold_in", [{"ridge": 0.5, "alpha": 0.0}, {"ridge": 6.0}])
def test_a_batch_of_removed_users_trains_items_unless_a_regression_serves_them(
    fold_in: dict[str, float], dense: Model, task: RecommenderTask
) -> None:
    model = copy.deepcopy(dense).train()
    assert isinstance(model, Factorization)
    model.fold_in = fold_in
    model.cut(model.axes["rows.user"], torch.arange(100, 240))
    loss = task.loss(model, torch.arange(0, 64))
    assert (loss.item() == 0) == ("alpha" in fold_in)
    loss.backward()
    user, item = (model.tables[name].weight.grad for name in ("user", "item"))
    assert user is None or not user.any()
    assert item is not None
    assert torch.isfinite(item).all()
    assert bool(item.any()) == ("alpha" not in fold_in)


def test_users_without_training_data_are_served_as_the_average_user() -> None:
    draw, users = np.random.default_rng(0), np.arange(3000).repeat(8)
    frame = pd.DataFrame({"user": users, "item": draw.integers(12, size=len(users))})  # of a rank below the width
    times = draw.random(3000)[users] + draw.random(len(users)) * np.where(users % 2, 1, 0.1)  # some begin late
    log = Log.of([frame.assign(time=times)])
    task = RecommenderTask("interactions", split_log(log, "global", where="here"), RecommenderConfig(dim=16))
    model = task.model({}, seed=0)
    task.initialize(model, seed=0)
    task.settle(model)
    untrained = task.data.train.counts == 0
    assert untrained.any()
    assert not model.tables["user"].weight[untrained].any()
    assert model.tables["user"].weight[~untrained].any(1).all()


@pytest.mark.parametrize("groups", [0, 30])
def test_small_groups_without_a_link_to_the_rest_take_no_factors(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    tastes = draw.integers(5, size=400)
    users, items = np.arange(400).repeat(10), tastes.repeat(10) * 20 + draw.integers(20, size=4000)
    items = np.where(draw.random(4000) < 0.1, draw.integers(100, size=4000), items)  # so that all tastes are linked
    apart = np.arange(groups).repeat(2)  # each is one user and two items
    frame = pd.DataFrame(
        {
            "user": np.concatenate([users, 1000 + apart]),
            "item": np.concatenate([items, 1000 + np.arange(2 * groups)]),
        }
    ).drop_duplicates()

    def made(raised: float) -> tuple[torch.Tensor, str]:
        """The squared length of each item's factors, and the fingerprint."""
        monkeypatch.setattr(tasks, "RAISED", raised)
        data = split_log(Log.of([frame]), "random", where="here")
        task = RecommenderTask("interactions", data, RecommenderConfig(dim=8))
        model = task.model({}, seed=0)
        task.initialize(model, seed=0)
        return model.tables["item"].weight.detach().square().sum(1), task.fingerprint()

    (plain, _), (raised, fingerprint) = made(0.0), made(0.5)
    assert ("raised" in fingerprint) is bool(groups)
    if groups:
        assert raised[100:].sum() < 0.01 * plain[100:].sum()
    else:
        assert torch.equal(raised, plain), "where all are linked, counts stay as they are"


def test_an_epoch_sees_every_user_once(task: RecommenderTask) -> None:
    batches = task.batches()
    assert [len(batch) for batch in batches] == [64, 64, 64, 48]
    assert torch.cat(list(batches)).sort().values.tolist() == list(range(240))


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("which", ["served", "served_pruned"])
def test_ranks_match_brute_force(split: str, which: str, task: RecommenderTask, request: pytest.FixtureRequest) -> None:
    recommender: Recommender = request.getfixturevalue(which)
    rows = task.score(recommender, split)
    seen, wanted, known = task.data.seen_before(split), task.data.targets(split), task.data.train
    assert list(rows.columns) == ["user", "item", "popularity", "history", "rank"]
    assert len(rows) == sum(len(wanted.of(user)) for user in task.data.evaluable(split))
    assert not rows.duplicated(["user", "item"]).any()
    stays = set(recommender._user_rows.values.tolist())
    for user in range(0, 240, 11):
        own = rows[rows["user"] == user]
        assert set(own["item"]) == set(wanted.of(user).tolist())
        name = task.data.users[user]
        asked = {"user": name} if name in stays else {"history": ids_of(task, known.of(user))}
        scores = recommender.scores(**asked)
        scores[seen.of(user)] = -torch.inf
        for item, rank in zip(own["item"], own["rank"], strict=True):
            place = int((scores > scores[item]).sum()) + 1
            assert rank == (place if place <= 20 and scores[item] > -torch.inf else np.inf)


def test_slices_split_the_rows(served: Recommender, task: RecommenderTask) -> None:
    rows = task.score(served, "validation")
    for column, names in task.slices.items():
        assert tuple(rows[column].cat.categories) == names
        assert rows[column].notna().all()
        assert set(rows[column]) == set(names)
    counts = np.bincount(task.data.train.items.numpy(), minlength=120)
    occurrences = {name: counts[rows["item"][rows["popularity"] == name]] for name in task.slices["popularity"]}
    assert occurrences["head"].min() >= occurrences["middle"].max() >= occurrences["middle"].min()
    assert occurrences["middle"].min() >= occurrences["tail"].max()
    lengths = task.data.train.counts.numpy()
    short = rows["history"] == "short"
    assert lengths[rows["user"][short]].max() < lengths[rows["user"][~short]].min()
    assert rows.groupby("user")["history"].nunique().eq(1).all()


def popular_rows(task: RecommenderTask, split: str) -> pd.DataFrame:
    """The rows of an answer that knows popularity alone, personal only in what was seen."""
    counts = torch.bincount(task.data.train.items, minlength=120).double()
    found = []
    for user in task.data.evaluable(split).tolist():
        scores = counts.clone()
        scores[task.data.seen_before(split).of(user)] = -torch.inf
        order = scores.argsort(descending=True, stable=True).tolist()
        found += [(user, order.index(item) + 1.0) for item in task.data.targets(split).of(user).tolist()]
    return pd.DataFrame(found, columns=["user", "rank"])


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_dense_model_clearly_beats_most_popular(split: str, served: Recommender, task: RecommenderTask) -> None:
    rows, popular = task.score(served, split), popular_rows(task, split)
    for metric in task.metrics.values():
        assert metric(rows) > 1.3 * metric(popular)


def test_validation_is_the_metric_of_the_model_as_it_would_be_served(
    dense: Model, served: Recommender, task: RecommenderTask
) -> None:
    expected = task.metrics["ndcg@20"](task.score(served, "validation"))
    assert task.validate(dense) == pytest.approx(expected)
    longer = copy.deepcopy(dense)
    with torch.no_grad():  # lengths that the cosine does not see
        longer.tables["item"].weight.mul_(torch.linspace(0.5, 3, 120)[:, None])
    before = longer.tables["item"].weight.clone()
    assert task.validate(longer) == task.metrics["ndcg@20"](task.score(serve(task.parts(longer)), "validation"))
    assert torch.equal(longer.tables["item"].weight, before)
    task.settle(longer)
    assert task.validate(longer) == pytest.approx(expected, rel=1e-3)


def test_workloads_are_what_the_task_names(served: Recommender, task: RecommenderTask) -> None:
    workloads = task.workloads(served)
    assert tuple(workloads) == task.workload_names
    answer, batch = workloads["single"](), workloads["batch"]()
    assert isinstance(answer, list)
    assert len(answer) == 20
    assert isinstance(batch, np.ndarray)
    assert batch.shape == (256, 20)


def test_an_artifact_without_anything_beside_it_still_answers(
    served_pruned: Recommender, pruned: Model, task: RecommenderTask, tmp_path: Path
) -> None:
    """What counts as size is enough to answer: rows that stand, for users that stand."""
    parts = task.parts(pruned)
    artifact.save(parts, tmp_path / "whole", provenance={"seed": 3})
    artifact.copy(tmp_path / "whole", tmp_path / "a", bare=True)
    assert artifact.read_card(tmp_path / "a")["provenance"] == {"seed": 3}
    assert artifact.folder_bytes(tmp_path / "a") < artifact.folder_bytes(tmp_path / "whole")
    loaded = autoprune.load(tmp_path / "a")
    assert isinstance(loaded, Recommender)
    user = task.data.users[int(pruned.tables["user"].index[0])]
    whole = served_pruned.recommend(user, k=200, include_seen=True)
    assert loaded.recommend(user, k=200) == whole


def test_a_look_is_a_part_of_the_validation_rows(task: RecommenderTask, served_pruned: Recommender) -> None:
    whole, look = task.score(served_pruned, "validation"), task.look(served_pruned)
    pd.testing.assert_frame_equal(look, whole)  # so few users that all are asked
    assert not task.looks_closer
    assert np.isfinite(look["rank"]).any()


def test_a_look_at_many_users_asks_the_same_part_each_time(
    task: RecommenderTask, served: Recommender, served_pruned: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "LOOK_USERS", 70)
    monkeypatch.setattr(tasks, "LOOK_SCORES", 100 * 120)  # of 240 users and 120 items
    few = RecommenderTask("few", task.data, task.config)
    whole, look = few.score(served_pruned, "validation"), few.look(served_pruned)
    assert look["user"].nunique() == 100
    assert few.looks_closer
    pd.testing.assert_frame_equal(few.look(served_pruned, closer=True), whole)
    monkeypatch.setattr(tasks, "CLOSER", 2)
    assert RecommenderTask("more", task.data, task.config).look(served, closer=True)["user"].nunique() == 200
    kept = ["user", "item", "popularity", "rank"]  # who has a short history is said among those who are asked
    part = whole[whole["user"].isin(look["user"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(look[kept], part[kept])
    assert few.look(served)["user"].tolist() == look["user"].tolist()
    monkeypatch.setattr(tasks, "LOOK_SCORES", 0)
    assert RecommenderTask("least", task.data, task.config).look(served)["user"].nunique() == 70


def test_ids_of_the_same_rows_are_compressed_once(task: RecommenderTask, pruned: Model) -> None:
    one, two = task.parts(pruned), task.parts(pruned)
    assert one.tensors["ids.user"] is two.tensors["ids.user"]
    assert Ids.decode(one.tensors["ids.item"]).values.tolist() == [
        task.data.items[at] for at in pruned.tables["item"].index.tolist()
    ]
