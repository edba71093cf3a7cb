"""What the plain functions of the steps compute, against independent oracles."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rated import entropy
from torch import Tensor, nn
from torch.nn.utils import prune

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.packing.centred import CentredCodes
from autoprune.packing.codes import RowCodes
from autoprune.packing.parts import PartCodes
from autoprune.recipes.recipe import plan
from autoprune.recipes.schedule import SCHEDULES, cubic, one_shot
from autoprune.recommender.model import Factorization, random_factorization
from autoprune.steps import make_step, refusal
from autoprune.steps.dims import Dims, principal_rotation
from autoprune.steps.importance import dim_norm
from autoprune.steps.magnitude import Magnitude, magnitude_masks
from autoprune.steps.quantize import Quantize
from autoprune.steps.rows import most_important
from autoprune.steps.step import Step
from autoprune.steps.turning import random_rotation


def random_tables(*shapes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=draw) for shape in shapes]


def random_model(users: int = 30, items: int = 20, dim: int = 8) -> Factorization:
    return random_factorization(users, items, dim, init_std=0.1, fold_in={"alpha": 0.0, "ridge": 0.5}, seed=0)


def layer_of(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight.clone())
    return layer


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.83, 0.999])
def test_masks_of_one_table_match_torch_l1_unstructured(sparsity: float) -> None:
    (table,) = random_tables((37, 11))
    layer = prune.l1_unstructured(layer_of(table), "weight", amount=sparsity)
    (mask,) = magnitude_masks([table], sparsity)
    assert torch.equal(mask, layer.weight_mask.bool())


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.83, 0.999])
def test_masks_of_two_tables_match_torch_global_unstructured(sparsity: float) -> None:
    user, item = random_tables((37, 11), (23, 11))
    item *= 0.3  # a global ranking takes more from the smaller table
    layers = [layer_of(user), layer_of(item)]
    prune.global_unstructured([(layer, "weight") for layer in layers], prune.L1Unstructured, amount=sparsity)
    for mask, layer in zip(magnitude_masks([user, item], sparsity), layers, strict=True):
        assert torch.equal(mask, layer.weight_mask.bool())


@pytest.mark.parametrize("minimum", [1, 3, 7])
def test_every_row_keeps_its_largest_weights(minimum: int) -> None:
    user, item = random_tables((40, 8), (25, 8))
    item *= 1e-3  # without a minimum nothing of it would stay
    sparsity = 1 - minimum / 8
    user_mask, item_mask = magnitude_masks([user, item], sparsity, min_per_row=minimum)
    assert int((~user_mask).sum() + (~item_mask).sum()) == round(sparsity * 65 * 8)
    for table, mask in ((user, user_mask), (item, item_mask)):
        largest = np.argsort(-table.abs().numpy(), axis=1)[:, :minimum]
        assert np.take_along_axis(mask.numpy(), largest, axis=1).all()


def test_an_impossible_minimum_is_refused_with_its_numbers() -> None:
    with pytest.raises(ValueError, match=r"45 of 50 weights cannot go: min_per_row=2 leaves 30 to remove"):
        magnitude_masks(random_tables((10, 5)), 0.9, min_per_row=2)


@given(st.integers(0, 60), st.integers(1, 12), st.integers(0, 99), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_the_count_is_exact_under_ties(rows: int, dim: int, percent: int, seed: int) -> None:
    table = torch.randint(-2, 3, (rows, dim), generator=torch.Generator().manual_seed(seed)).float()
    (mask,) = magnitude_masks([table], percent / 100)
    assert int((~mask).sum()) == round(percent / 100 * rows * dim)
    if mask.any() and not mask.all():
        assert table[~mask].abs().max() <= table[mask].abs().min()


def test_ties_go_by_position() -> None:
    (mask,) = magnitude_masks([torch.ones(2, 3)], 0.5)
    assert mask.tolist() == [[False, False, False], [True, True, True]]


def test_norm_importance_matches_numpy() -> None:
    user, item = random_tables((40, 6), (9, 6))
    powers = [table.numpy().astype(np.float64) ** 2 for table in (user, item)]
    expected = sum(square.sum(0) / square.sum() for square in powers)
    np.testing.assert_allclose(dim_norm(squares(user, item)).numpy(), expected, rtol=1e-5)


def squares(*tables: torch.Tensor) -> list[torch.Tensor]:
    return [table.square().sum(0) for table in tables]


def moments(*tables: torch.Tensor) -> list[torch.Tensor]:
    return [table.double().T @ table.double() for table in tables]


def test_norm_importance_ignores_how_many_rows_a_table_has() -> None:
    user, item = random_tables((40, 6), (9, 6))
    torch.testing.assert_close(dim_norm(squares(user.repeat(7, 1), item * 5)), dim_norm(squares(user, item)))


def test_an_empty_table_carries_nothing() -> None:
    (table,) = random_tables((5, 3))
    torch.testing.assert_close(dim_norm(squares(table, torch.zeros(4, 3))), dim_norm(squares(table)))


def test_the_principal_rotation_is_orthogonal_and_keeps_scores() -> None:
    user, item = random_tables((60, 12), (30, 12))
    rotation = principal_rotation(moments(user, item))
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(12), atol=1e-5, rtol=0)
    torch.testing.assert_close((user @ rotation) @ (item @ rotation).T, user @ item.T, atol=1e-4, rtol=0)


def test_the_principal_axes_match_numpy_eigh() -> None:
    user, item = random_tables((60, 12), (30, 12))
    shared = sum(t.T @ t / np.trace(t.T @ t) for t in (user.double().numpy(), item.double().numpy()))
    rotation = principal_rotation(moments(user, item)).double().numpy()
    turned = rotation.T @ shared @ rotation
    np.testing.assert_allclose(np.diag(turned), np.linalg.eigvalsh(shared)[::-1], atol=1e-6)
    np.testing.assert_allclose(turned - np.diag(np.diag(turned)), 0, atol=1e-6)


@pytest.mark.parametrize("cut", [1, 3, 6])
def test_what_pca_loses_is_the_energy_of_the_discarded_eigenvalues(cut: int) -> None:
    model, context = random_model(), Context()
    before = {name: table.weight.detach().double().numpy() for name, table in model.tables.items()}
    shared = sum(t.T @ t / np.trace(t.T @ t) for t in before.values())
    step = Dims(sparsity=cut / 8, importance="pca")
    step.prepare(model, context)
    step.advance(model, context, 1.0)
    step.convert(model, context)
    after = {name: table.weight.detach().double().numpy() for name, table in model.tables.items()}
    lost = sum(1 - (after[name] ** 2).sum() / (before[name] ** 2).sum() for name in before)
    assert all(table.shape[1] == 8 - cut for table in after.values())
    assert lost == pytest.approx(np.linalg.eigvalsh(shared)[:cut].sum(), rel=1e-4)


def test_pca_loses_less_than_cutting_dimensions_as_they_are() -> None:
    lost = {}
    for importance in ("norm", "pca"):
        model, step = random_model(), Dims(sparsity=0.5, importance=importance)
        step.prepare(model, Context())
        step.advance(model, Context(), 1.0)
        shares = [table.values().square().sum() / table.weight.square().sum() for table in model.tables.values()]
        lost[importance] = 2 - float(torch.stack(shares).sum().detach())
    assert 0 < lost["pca"] < lost["norm"]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
@settings(max_examples=50, deadline=None)
def test_most_important_matches_numpy_argsort(importance: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(importance)))
    expected = np.sort(np.argsort(-np.array(importance), kind="stable")[:count])
    assert most_important(torch.tensor(importance), count).tolist() == expected.tolist()


def test_a_gradual_prune_never_lets_a_weight_come_back() -> None:
    model, context, step = random_model(), Context(), Magnitude(sparsity=0.8)
    masks = []
    for reached in (0.0, 0.3, 0.31, 0.7, 1.0):
        step.advance(model, context, reached)
        masks.append(torch.cat([table.mask.flatten() for table in model.tables.values()]))
        assert int((~masks[-1]).sum()) == round(0.8 * reached * 50 * 8)
        with torch.no_grad():  # an update: masked weights drift as well, under Adam's momentum
            for table in model.tables.values():
                table.weight.add_(0.5)
    assert all(bool((later <= earlier).all()) for earlier, later in pairwise(masks))


def test_schedules_end_at_the_whole_target_and_never_fall() -> None:
    at = [step / 200 for step in range(201)]
    for schedule in SCHEDULES.values():
        values = [schedule(progress) for progress in at]
        assert values[-1] == 1.0
        assert values == sorted(values)
        assert min(values) >= 0.0
    assert one_shot(0.0) == 1.0
    assert cubic(0.0) == 0.0


def test_tables_of_a_rate_are_turned_once_and_coded_when_the_stage_ends() -> None:
    model = random_factorization(20, 500, 16, init_std=1.0, fold_in={}, seed=0)
    step, context = Quantize(bits=2.5, entropy=True), Context()
    (axis,) = model.axes_of("dim").values()
    before, principal = model.tables["item"].weight.detach().clone(), principal_rotation(model.moments(axis, context))
    step.advance(model, context, 0.5)
    turned = model.tables["item"].weight.detach().clone()
    step.advance(model, context, 1.0)
    assert torch.equal(model.tables["item"].weight, turned)
    torch.testing.assert_close(turned, before @ principal)
    step.convert(model, context)
    coded = model.tables["item"].coded
    assert isinstance(coded, CentredCodes)
    assert coded.zero in (8, 128), "a level at zero"
    lengths = torch.linalg.vector_norm(coded.values(), dim=1) / torch.linalg.vector_norm(turned, dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=0.06, rtol=0)


@pytest.mark.parametrize("longer_by", [0.0, 0.3, -0.2])
def test_errors_of_a_rate_can_weigh_by_frequency(longer_by: float) -> None:
    often = torch.arange(2000) ** 2 // 400
    longer = (1 + often[:, None]) ** longer_by
    context = Context(frequency={"rows.item": often, "rows.user": torch.zeros(3, dtype=torch.int64)})
    lost, taken = [], []
    for power in (0.0, 0.5, 1.0):
        model = random_factorization(3, 2000, 16, init_std=1.0, fold_in={}, seed=0)
        model.tables["item"].weight.data *= longer
        step = Quantize(bits={"item": 2.5}, by_frequency={"item": power}, entropy=True)
        step.check(model)
        step.advance(model, context, 1.0)
        weights = model.tables["item"].weight.detach().clone()
        step.convert(model, context)
        errors = (model.tables["item"].values() - weights).square().sum(1)
        lost.append(float(errors @ (often + 1.0)) / 1e3)
        coded = model.tables["item"].coded
        parts = coded.parts if isinstance(coded, PartCodes) else (coded,)
        taken.append(sum(part.codes.numel() * entropy(part.codes) for part in parts) / 32_000)
        if power:
            assert len(parts) == 4
    assert lost[2] < lost[1] < lost[0]
    assert taken == pytest.approx([2.5] * 3, abs=0.05)


def test_rows_that_are_looked_up_alike_are_one_part() -> None:
    context = Context(frequency={"rows.item": torch.full((500,), 7), "rows.user": torch.full((20,), 3)})
    found = []
    for power in (0.0, 1.0):
        model = random_factorization(20, 500, 16, init_std=1.0, fold_in={}, seed=0)
        step = Quantize(bits=2.5, by_frequency=power, entropy=True)
        step.advance(model, context, 1.0)
        step.convert(model, context)
        found.append(model.tables["item"].values())
    assert torch.equal(*found)


def test_what_is_looked_up_how_often_must_be_known_to_weigh_by_it() -> None:
    step = Quantize(bits={"item": 2.5, "user": 8}, by_frequency=1.0, entropy=True)
    with pytest.raises(RecipeError, match=r"by_frequency.*leave by_frequency out"):
        step.advance(random_model(), Context(), 1.0)
    Quantize(bits=4, by_frequency=1.0).advance(random_model(), Context(), 1.0)


def test_tables_of_which_one_has_another_width_are_turned_at_random() -> None:
    model = random_model()
    before = model.tables["item"].weight.detach().clone()
    Quantize(bits={"item": 2.5, "user": 4}, entropy=True).advance(model, Context(), 1.0)
    torch.testing.assert_close(model.tables["item"].weight.detach(), before @ random_rotation(8))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("pruned", [False, True])
def test_quantised_values_lie_within_half_a_step_of_the_weights(bits: int, pruned: bool) -> None:
    model, context = random_model(), Context()
    if pruned:
        Magnitude(sparsity=0.5).advance(model, context, 1.0)
    before = {name: table.values().detach().clone() for name, table in model.tables.items()}
    step = Quantize(bits=bits)
    step.advance(model, context, 1.0)
    step.convert(model, context)
    if bits == 4 and not pruned:  # zeros must stay, and 8 bits need no turn
        before = {name: values @ random_rotation(values.shape[1]) for name, values in before.items()}
    for name, table in model.tables.items():
        assert isinstance(table.coded, RowCodes)
        assert int(table.coded.codes.max()) < 2**bits
        span = before[name].amax(1) - before[name].amin(1)
        wrong = (table.values() - before[name]).abs()
        if bits == 8:  # at 4 bits ends are clipped on purpose
            assert bool((wrong <= span[:, None] / 255 * 0.55 + 1e-4).all())
        else:  # at most what the whole range costs, and what the row's own length does
            low, high = (before[name].masked_fill(~table.mask, end) for end in (torch.inf, -torch.inf))
            step_of = (high.amax(1) - low.amin(1)).clamp_min(1e-9)[:, None] / 15
            codes = ((before[name] - low.amin(1)[:, None]) / step_of).round()
            plain = torch.where(table.mask, codes * step_of + low.amin(1)[:, None], 0)
            assert wrong.square().sum() <= (plain - before[name]).square().sum() * 1.01
        assert bool((table.values()[~table.mask] == 0).all())


@pytest.mark.parametrize(
    ("step", "path"),
    [
        (Magnitude(sparsity=1.0), "sparsity"),
        (Magnitude(sparsity=-0.1), "sparsity"),
        (Magnitude(sparsity=float("nan")), "sparsity"),
        (Magnitude(sparsity=True), "sparsity"),
        (Magnitude(sparsity=0.5, scope="row"), "scope"),
        (Magnitude(sparsity={"item": 0.5}), "sparsity"),
        (Magnitude(sparsity={"itme": 0.5}, scope="table"), "sparsity.itme"),
        (Magnitude(sparsity={"item": 1.5}, scope="table"), "sparsity.item"),
        (Magnitude(sparsity=0.5, min_per_row=-1), "min_per_row"),
        (Magnitude(sparsity=0.9, min_per_row=1), "sparsity"),
        (make_step("dims", {"sparsity": 0.99}), "sparsity"),
        (make_step("dims", {"sparsity": 0.5, "importance": "pcs"}), "importance"),
        (make_step("rows", {"sparsity": 0.99}), "sparsity"),
        (make_step("rows", {"sparsity": {"word": 0.5}}), "sparsity.word"),
        (make_step("rows", {"sparsity": 0.5, "importance": "size"}), "importance"),
        (Quantize(bits=5), "bits"),
        (Quantize(bits=True), "bits"),
        (Quantize(bits=8.0), "bits"),
    ],
)
def test_a_value_that_cannot_be_names_its_path(step: Step, path: str) -> None:
    with pytest.raises(RecipeError) as caught:
        step.check(random_model())
    assert ".".join(caught.value.path) == path


def test_errors_name_the_way_out() -> None:
    with pytest.raises(RecipeError, match=r"bits: one of 32, 8, 4, 3, 2, 1 must be given, but got 5"):
        Quantize(bits=5).check(random_model())
    with pytest.raises(RecipeError, match=r"sparsity <= 0.75 must hold where 2 of 8 .* but got 0.8; lower it"):
        Magnitude(sparsity=0.8, min_per_row=2).check(random_model())
    with pytest.raises(RecipeError, match=r"sparsity\.itme: the model has no 'itme'. Did you mean item"):
        make_step("rows", {"sparsity": {"itme": 0.5}}).check(random_model())
    with pytest.raises(RecipeError, match="points: rows of this model cannot be answered by others"):
        make_step("rows", {"sparsity": 0.5, "points": True}).check(random_model())


def test_make_step_refuses_what_it_does_not_know() -> None:
    with pytest.raises(RecipeError, match=r"magnitud: method 'magnitud' is unknown\. Did you mean magnitude"):
        make_step("magnitud", {})
    with pytest.raises(RecipeError, match=r"sparsty: magnitude has no such parameter\. Did you mean sparsity"):
        make_step("magnitude", {"sparsty": 0.5})
    with pytest.raises(RecipeError, match="sparsity: magnitude needs a value for sparsity"):
        make_step("magnitude", {})


def test_a_rule_about_pca_does_not_hold_for_norms() -> None:
    magnitude, pca, norm = Magnitude(sparsity=0.5), Dims(sparsity=0.5, importance="pca"), Dims(sparsity=0.5)
    assert refusal(magnitude, pca) is not None
    assert refusal(magnitude, norm) is None
    assert refusal(pca, magnitude) is None


@pytest.mark.parametrize("name", ["magnitude", "dims", "rows"])
def test_a_step_that_removes_nothing_is_idle(name: str) -> None:
    for nothing in (0, 0.0, {}, {"item": 0.0, "user": 0}):
        assert make_step(name, {"sparsity": nothing}).idle()
        assert plan({"prune": {name: {"sparsity": nothing}}}, base_defaults={}).stages == ()
    assert not make_step(name, {"sparsity": {"item": 0.0, "user": 0.1}}).idle()
