"""L1 and group lasso: proximal steps against the objective they minimise, and what training with them leaves."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.recipe import Stage
from autoprune.recipes.schedule import one_shot
from autoprune.recipes.stages import run_stage
from autoprune.recipes.store import Checkpoints
from autoprune.recipes.train import Trainer
from autoprune.recommender.model import Factorization, random_factorization
from autoprune.recommender.task import RecommenderTask
from autoprune.steps.l1 import GROUPS, L1, group_scale, soft_threshold


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_model(users: int = 30, items: int = 20, dim: int = 8) -> Factorization:
    made = random_factorization(users, items, dim, init_std=0.1, fold_in={"alpha": 0.0, "ridge": 0.5}, seed=0)
    with torch.no_grad():
        made.tables["item"].weight.mul_(50)  # the step goes by each table's own scale
    return made


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_soft_thresholds_minimise_the_l1_objective(threshold: float) -> None:
    weights = drawn(40)
    found = soft_threshold(weights, threshold)
    for weight, mine in zip(weights.double().tolist(), found.tolist(), strict=True):
        best = minimize_scalar(lambda x, w=weight: 0.5 * (x - w) ** 2 + threshold * abs(x), bounds=(-4, 4)).x
        assert mine == pytest.approx(best, abs=1e-4)
        assert (mine == 0) == (abs(weight) <= threshold)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.7, 3.0])
def test_group_scales_minimise_the_group_lasso_objective(threshold: float) -> None:
    groups = drawn(6, 4).double().numpy()
    scales = group_scale(torch.from_numpy(np.linalg.norm(groups, axis=1)), 4, threshold).numpy()
    for group, scale in zip(groups, scales, strict=True):

        def objective(x: np.ndarray, group: np.ndarray = group) -> float:
            return float(0.5 * ((x - group) ** 2).sum() + threshold * 2 * np.linalg.norm(x))  # 2 = sqrt(4)

        best = min(objective(np.zeros(4)), minimize(objective, group, method="Nelder-Mead", tol=1e-10).fun)
        assert objective(scale * group) <= best + 1e-6


@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_an_update_moves_weights_by_its_rate_in_units_of_their_table(rate: float) -> None:
    model = random_model()
    before = {name: table.weight.detach().double().numpy().copy() for name, table in model.tables.items()}
    L1(strength=3.0).shrink(model, rate)
    for name, table in model.tables.items():
        threshold = rate * 3.0 * np.sqrt((before[name] ** 2).mean())
        expected = np.sign(before[name]) * np.maximum(np.abs(before[name]) - threshold, 0)
        np.testing.assert_allclose(table.weight.detach().numpy(), expected, rtol=1e-4, atol=1e-6)


def test_rows_shrink_as_wholes() -> None:
    model = random_model()
    before = {name: table.weight.detach().double().numpy().copy() for name, table in model.tables.items()}
    L1(strength=10.0, groups="rows").shrink(model, 0.08)
    for name, table in model.tables.items():
        # weights have a root mean square of 1 in their table's units; a row of 8 has threshold 0.8 * sqrt(8)
        unit = np.sqrt((before[name] ** 2).mean())
        lengths = np.linalg.norm(before[name] / unit, axis=1)
        expected = before[name] * np.maximum(1 - 0.8 * np.sqrt(8) / lengths, 0)[:, None]
        assert (expected == 0).all(1).any()
        np.testing.assert_allclose(table.weight.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_dimensions_shrink_as_one_group_over_both_tables() -> None:
    model = random_model()
    with torch.no_grad():
        for table in model.tables.values():
            table.weight[:, 2].mul_(0.1)
    before = {name: table.weight.detach().double().numpy().copy() for name, table in model.tables.items()}
    L1(strength=5.0, groups="dims").shrink(model, 0.1)
    together = np.concatenate([table / np.sqrt((table**2).mean()) for table in before.values()])
    scale = np.maximum(1 - 0.5 * np.sqrt(50) / np.linalg.norm(together, axis=0), 0)
    assert scale[2] == 0
    assert (np.delete(scale, 2) > 0).all()
    for name, table in model.tables.items():
        np.testing.assert_allclose(table.weight.detach().numpy(), before[name] * scale, rtol=1e-4, atol=1e-6)


def test_units_are_those_of_what_is_not_zero_yet() -> None:
    """Or shrinking would slow down for every weight that has gone."""
    model = random_model()
    table = model.tables["user"]
    with torch.no_grad():
        table.weight[:15] = 0.0
        table.weight[15:] = 1.0
    L1(strength=1.0).shrink(model, 0.25)
    torch.testing.assert_close(table.weight[15:].detach(), torch.full((15, 8), 0.75))


@pytest.mark.parametrize("groups", GROUPS)
def test_tables_of_nothing_but_zeros_stay_finite_and_one_part_stays(groups: str) -> None:
    model, step = random_model(), L1(strength=1.0, groups=groups)
    with torch.no_grad():
        for table in model.tables.values():
            table.weight.zero_()
    step.shrink(model, 0.1)
    step.convert(model, Context())
    for table in model.tables.values():
        assert not table.values().any()
        assert table.rows == (1 if groups == "rows" else len(table.row_mask))
        assert table.dim == (1 if groups == "dims" else 8)


@pytest.mark.parametrize("groups", GROUPS)
def test_what_is_zero_is_really_gone_and_nothing_else(groups: str) -> None:
    model = random_model()
    with torch.no_grad():
        for table in model.tables.values():
            table.weight[3], table.weight[:, 5] = 0.0, 0.0
        model.tables["user"].weight[:, 6] = 0.0  # the items still have it: coupled dimensions go together
    before = {name: table.weight.detach().clone() for name, table in model.tables.items()}
    L1(strength=1.0, groups=groups).convert(model, Context())
    for name, table in model.tables.items():
        if groups == "rows":
            assert 3 not in table.index.tolist()
            assert torch.equal(table.weight, before[name][table.index])
            assert table.rows == len(before[name]) - 1
        elif groups == "dims":
            assert torch.equal(table.weight, before[name][:, [0, 1, 2, 3, 4, 6, 7]])
        else:
            assert torch.equal(table.mask, before[name] != 0)
            assert torch.equal(table.weight, before[name])


def trained(dense: Model, step: L1, epochs: int, task: RecommenderTask, context: Context, trainer: Trainer) -> Model:
    stage = Stage(name="s", steps=(step,), paths=(("s",),), epochs=epochs)
    return run_stage(dense, stage, task, context, trainer=trainer, key="")


def test_a_stronger_penalty_leaves_fewer_weights(
    dense: Model, task: RecommenderTask, context: Context, trainer: Trainer
) -> None:
    zeros = []
    for strength in (0.0, 5.0, 15.0, 40.0):
        made = trained(dense, L1(strength=strength), 2, task, context, trainer)
        zeros.append(sum(int((table.weight == 0).sum()) for table in made.tables.values()))
        assert all(torch.equal(table.mask, table.weight != 0) for table in made.tables.values())
        for name, table in made.tables.items():  # the zeros ship as such
            assert int(table.mask.sum()) == int((table.values() != 0).sum()), name
    assert zeros[0] == 0
    assert zeros == sorted(set(zeros))


def test_dimensions_that_went_to_zero_leave_smaller_tables(
    dense: Model, task: RecommenderTask, context: Context, trainer: Trainer
) -> None:
    made = trained(dense, L1(strength=50.0, groups="dims"), 2, task, context, trainer)
    assert 0 < made.tables["user"].dim == made.tables["item"].dim < 16
    assert all(bool((table.weight != 0).any(0).all()) for table in made.tables.values())


def test_no_penalty_however_strong_leaves_nothing(
    dense: Model, task: RecommenderTask, context: Context, trainer: Trainer
) -> None:
    for groups in ("dims", "rows"):
        made = trained(dense, L1(strength=1e6, groups=groups), 2, task, context, trainer)
        for table in made.tables.values():
            assert table.rows >= 1
            assert table.dim >= 1
            assert torch.isfinite(table.weight).all()


def test_a_penalty_acts_after_every_update_at_its_learning_rate(
    dense: Model, task: RecommenderTask, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoupled from Adam: what the penalty does is a proximal step at the rate of the update, the warm-up included."""
    rates: list[float] = []
    monkeypatch.setattr(L1, "shrink", lambda self, model, rate: rates.append(rate))
    settings = dataclasses.replace(task.training, learning_rate=0.01, warmup=6)
    trainer = Trainer(settings)
    model = copy.deepcopy(dense)
    steps, nowhere = [L1(strength=1.0)], Checkpoints(None, [])
    trainer.tune(model, task, context, steps=steps, schedule=one_shot, epochs=2, of=2, checkpoints=nowhere)
    updates = 2 * len(task.batches())
    assert updates > 6
    assert rates == pytest.approx([0.01 * min(1, number / 6) for number in range(1, updates + 1)])


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf"), True, "much", None])
def test_a_strength_that_cannot_be_is_refused(strength: object) -> None:
    with pytest.raises(RecipeError, match=r"^strength: 0 <= strength < inf must hold, but got"):
        L1(strength=strength).check(random_model())  # type: ignore[arg-type]


def test_unknown_groups_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"^groups: 'row' is unknown\. Did you mean rows"):
        L1(strength=1.0, groups="row").check(random_model())
