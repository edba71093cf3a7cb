"""Users without a row while items are trained: found as they are served, asked for the rest, and the better for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from autoprune.artifacts.served import serve
from autoprune.models.context import Context
from autoprune.packing.rows import PackedRows
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.recommender.folding import folded, parted
from autoprune.recommender.loss import log_likelihood
from autoprune.recommender.strangers import Strangers
from autoprune.recommender.task import RecommenderTask


def test_users_are_found_as_they_are_served() -> None:
    draw = torch.Generator().manual_seed(0)
    items, rows = torch.randn(60, 8, generator=draw), torch.randint(40, (200,), generator=draw)
    owner = torch.arange(200) % 12
    stays = torch.arange(60) < 40  # the others are about to go
    order = owner.argsort(stable=True)
    served = Strangers(
        PackedRows.of(items[stays].numpy()), PackedRows.of(items[:5].numpy()), fold_in={"ridge": 3.0}
    ).vectors(owner[order].numpy(), rows[order].numpy(), count=13)[:12]
    found = folded(items, stays, owner, rows, count=12, ridge=3.0)
    lengths = np.linalg.norm(served, axis=1, keepdims=True)
    np.testing.assert_allclose(found.numpy(), served / lengths, rtol=1e-4, atol=1e-5)


def test_what_is_told_is_not_asked_for_and_who_told_nothing_is_asked_nothing() -> None:
    torch.manual_seed(0)
    owner = torch.arange(400) // 2  # of a user's two items both, one or none are given
    given, targets = parted(owner, count=200)
    assert not (given & targets).any()
    assert set(owner[targets].tolist()) <= set(owner[given].tolist())
    assert 0 < len(targets.nonzero()) < len((~given).nonzero())


def test_of_what_nobody_has_left_to_guess_nothing_is_learned() -> None:
    users, items = torch.ones(2, 3, requires_grad=True), torch.ones(4, 3)
    nothing = torch.empty(0, dtype=torch.long)
    found = log_likelihood(users, items, nothing, nothing)
    found.backward()
    assert found == 0
    assert not users.grad.any()


def test_training_items_for_users_without_a_row_serves_these_better(task: RecommenderTask, context: Context) -> None:
    hardly = Trainer(dataclasses.replace(task.training, epochs=1, evaluate_every=1, patience=1))
    found = {}
    for epochs in (0, 10):
        cut = {"rows": {"sparsity": {"user": 0.95}}, "schedule": "one_shot", "epochs": epochs}
        model = run(plan({"prune": cut}, base_defaults=task.base), task, context, trainer=hardly)
        found[epochs] = task.metrics[task.metric](task.score(serve(task.parts(model)), "validation"))
    assert found[10] > 1.05 * found[0]
