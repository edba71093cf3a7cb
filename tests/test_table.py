"""The table that steps work on, and the axes a model names."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.axis import removes_nothing, sparsity_by_name
from autoprune.models.table import Table
from autoprune.packing import restore
from autoprune.recommender.model import Factorization, random_factorization


@pytest.fixture
def table() -> Table:
    made = Table(6, 4)
    with torch.no_grad():
        made.weight.copy_(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    return made


@pytest.fixture
def model() -> Factorization:
    return random_factorization(9, 7, 4, init_std=0.1, fold_in={"alpha": 0.0, "ridge": 0.5}, seed=0)


def positions(*wanted: int) -> Tensor:
    return torch.tensor(wanted, dtype=torch.long)


def shipped(table: Table) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    stored = table.packed()
    held = restore(stored.entry, stored.tensors)
    return held.values()


def coded(table: Table, bits: int) -> None:
    table.choose_bits(torch.full((table.rows,), bits, dtype=torch.uint8))
    table.code()


def test_a_whole_table_answers_with_its_weights(table: Table) -> None:
    assert table.values() is table.weight
    assert (table.rows, table.dim) == (6, 4)
    assert table.rows_of(torch.arange(6)).tolist() == list(range(6))


def test_masks_hide_and_let_no_gradient_through(table: Table) -> None:
    table.row_mask[2], table.dim_mask[1], table.mask[0, 0] = False, False, False
    hidden = torch.zeros(6, 4, dtype=torch.bool)
    hidden[2], hidden[:, 1], hidden[0, 0] = True, True, True
    np.testing.assert_array_equal(
        table.values().detach().numpy(), np.where(hidden.numpy(), 0, table.weight.detach().numpy())
    )
    table.values().sum().backward()
    assert table.weight.grad is not None
    assert torch.equal(table.weight.grad == 0, hidden)


def test_cutting_what_is_hidden_leaves_what_was_answered(table: Table) -> None:
    table.mask[3, 3] = False
    table.row_mask[[1, 4]], table.dim_mask[2] = False, False
    masked = table.values().detach().clone()
    table.cut_rows(positions(0, 2, 3, 5))
    table.cut_dims(positions(0, 1, 3))
    expected = masked[[0, 2, 3, 5]][:, [0, 1, 3]]
    assert torch.equal(table.values(), expected)
    assert (table.rows, table.dim) == (4, 3)
    np.testing.assert_array_equal(shipped(table), expected.numpy())


def test_the_index_remembers_original_rows_over_several_cuts(table: Table) -> None:
    before = table.weight.detach().clone()
    table.cut_rows(positions(1, 2, 4, 5))
    table.cut_rows(positions(0, 2, 3))
    assert table.index.tolist() == [1, 4, 5]
    assert table.rows_of(torch.arange(6)).tolist() == [-1, 0, -1, -1, 1, 2]
    assert torch.equal(table.weight, before[table.index])
    table.row_mask[1] = False
    assert table.rows_of(torch.arange(6)).tolist() == [-1, 0, -1, -1, -1, 2]


def test_a_cut_table_shares_no_memory_with_a_copy(table: Table) -> None:
    other = copy.deepcopy(table)
    other.cut_rows(torch.arange(6))
    with torch.no_grad():
        other.weight.zero_()
        other.prune(torch.zeros(6, 4, dtype=torch.bool))
    assert bool((table.weight != 0).all())
    assert bool(table.mask.all())


def test_pruned_weights_stay_zero_whatever_the_optimiser_does(table: Table) -> None:
    mask = torch.rand(6, 4, generator=torch.Generator().manual_seed(1)) < 0.5
    table.prune(mask)
    with torch.no_grad():
        table.weight.add_(1.0)
    assert bool((table.values()[~mask] == 0).all())
    assert (shipped(table)[~mask.numpy()] == 0).all()


@pytest.mark.parametrize("bits", [8, 4, 2, 1])
def test_pruned_zeros_stay_exact_zeros_after_quantisation(table: Table, bits: int) -> None:
    mask = torch.rand(6, 4, generator=torch.Generator().manual_seed(1)) < 0.5
    with torch.no_grad():
        table.weight.add_(10)  # no code would stand for zero
    table.prune(mask)
    coded(table, bits)
    assert bool((table.values()[~mask] == 0).all())
    np.testing.assert_allclose(shipped(table), table.values().numpy(), rtol=1e-6)
    assert (shipped(table) == 0).sum() == int((~mask).sum())


@pytest.mark.parametrize("widths", [[8] * 6, [4] * 6, [2] * 6, [1] * 6, [8, 1, 1, 2, 4, 8]])
def test_a_table_answers_with_its_codes_before_it_has_them(table: Table, widths: list[int]) -> None:
    """What the loss sees while training is what ships."""
    table.row_mask[2], table.dim_mask[1], table.mask[0, 0] = False, False, False
    table.choose_bits(torch.tensor(widths, dtype=torch.uint8))
    training = table.values().detach()
    some = table.values(positions(5, 0, 3)).detach()
    table.code()
    stands = table.row_mask[:, None] & table.dim_mask
    torch.testing.assert_close(training[stands], table.values()[stands], rtol=0, atol=3e-7)
    torch.testing.assert_close(some, training[[5, 0, 3]], rtol=0, atol=0)
    assert bool((training[2] == 0).all() and (training[:, 1] == 0).all() and training[0, 0] == 0)


@pytest.mark.parametrize("bits", [8, 4, 2, 1])
def test_gradients_go_straight_through_codes_to_what_stands(table: Table, bits: int) -> None:
    table.row_mask[2], table.dim_mask[1], table.mask[0, 0] = False, False, False
    pull = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    (table.values() * pull).sum().backward()
    assert table.weight.grad is not None
    plain, table.weight.grad = table.weight.grad, None
    table.choose_bits(torch.full((6,), bits, dtype=torch.uint8))
    (table.values() * pull).sum().backward()
    assert torch.equal(table.weight.grad, plain)
    table.weight.grad = None
    rows = positions(3, 1, 3)  # one of them twice: its gradients add up
    (table.values(rows) * pull[:3]).sum().backward()
    expected = torch.zeros(6, 4)
    expected[3], expected[1] = pull[0] + pull[2], pull[1]
    expected[:, 1] = 0
    torch.testing.assert_close(table.weight.grad, expected)


def test_widths_and_ranges_go_with_their_rows_when_rows_are_cut(table: Table) -> None:
    table.choose_bits(torch.tensor([8, 4, 2, 1, 4, 8], dtype=torch.uint8))
    before, shares = table.values().detach(), table.shares
    table.cut_rows(positions(1, 2, 5))
    assert table.bits.tolist() == [4, 2, 8]
    assert torch.equal(table.shares, shares[[1, 2, 5]])
    torch.testing.assert_close(table.values().detach(), before[[1, 2, 5]], rtol=0, atol=0)


def test_codes_cannot_be_cut(table: Table) -> None:
    coded(table, 8)
    for cut in (table.cut_rows, table.cut_dims):
        with pytest.raises(AssertionError, match="nothing be cut after quantisation"):
            cut(positions(0))


def test_a_model_names_its_axes_within_their_kind(model: Factorization) -> None:
    assert list(model.axes) == ["dim", "rows.user", "rows.item"]
    assert list(model.axes_of("dim")) == ["dim"]
    assert list(model.axes_of("rows")) == ["user", "item"]
    assert model.axes_of("heads") == {}
    assert {name: model.size(axis) for name, axis in model.axes.items()} == {"dim": 4, "rows.user": 9, "rows.item": 7}


def test_hiding_and_cutting_an_axis_act_on_every_coupled_table(model: Factorization) -> None:
    hidden = copy.deepcopy(model)
    hidden.hide(model.axes["dim"], positions(0, 3))
    model.cut(model.axes["dim"], positions(0, 3))
    user, items = (table.values() for table in model.tables.values())
    assert user.shape == (9, 2)
    assert items.shape == (7, 2)
    masked_user, masked_items = (table.values() for table in hidden.tables.values())
    assert masked_user.shape == (9, 4)
    torch.testing.assert_close(masked_user @ masked_items.T, user @ items.T)


def test_hiding_again_replaces_what_was_hidden(model: Factorization) -> None:
    model.hide(model.axes["rows.item"], positions(0, 1))
    model.hide(model.axes["rows.item"], positions(1, 2, 3))
    assert model.tables["item"].row_mask.nonzero()[:, 0].tolist() == [1, 2, 3]
    assert bool(model.tables["user"].row_mask.all())


def test_a_rotation_keeps_every_dot_product(model: Factorization) -> None:
    user, items = (table.values() for table in model.tables.values())
    before = (user @ items.T).detach()
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))
    model.rotate(model.axes["dim"], rotation)
    user, items = (table.values() for table in model.tables.values())
    torch.testing.assert_close(user @ items.T, before)


def test_initial_weights_come_from_the_seed_alone(model: Factorization) -> None:
    made = [random_factorization(9, 7, 4, init_std=0.1, fold_in=model.fold_in, seed=seed) for seed in (0, 1)]
    assert torch.equal(made[0].tables["item"].weight, model.tables["item"].weight)
    assert not torch.equal(made[1].tables["item"].weight, model.tables["item"].weight)


def test_a_sparsity_is_one_number_or_one_for_each_name() -> None:
    names = {"user": 1, "item": 2}
    assert sparsity_by_name(0.5, names, path=()) == {"user": 0.5, "item": 0.5}
    assert sparsity_by_name({"item": 0.25}, names, path=()) == {"item": 0.25}
    assert removes_nothing(0)
    assert removes_nothing({})
    assert not removes_nothing({"item": 0.0, "user": 0.1})


@pytest.mark.parametrize(
    ("sparsity", "message"),
    [
        (1.0, "p: 0 <= sparsity < 1 must hold, but got 1.0; 1 would remove everything."),
        (-0.5, "p: 0 <= sparsity < 1 must hold, but got -0.5."),
        ("half", "p: 0 <= sparsity < 1 must hold, but got 'half'."),
        ({"item": True}, "p.item: 0 <= sparsity < 1 must hold, but got True; 1 would remove everything."),
        ({"word": 0.5}, "p.word: the model has no 'word'. Available: item, user."),
    ],
)
def test_a_sparsity_that_cannot_be_says_what_must_hold(sparsity: object, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        sparsity_by_name(sparsity, {"user": 1, "item": 2}, path=("p",))
    assert str(caught.value) == message
