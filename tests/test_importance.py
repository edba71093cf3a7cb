"""What counts as important, in cases planted so that the rankings disagree; and which rows get which bits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.packing.codes import RowCodes
from autoprune.recommender.model import Factorization, random_factorization
from autoprune.steps import make_step
from autoprune.steps.dims import Dims
from autoprune.steps.importance import dim_activation, row_frequency
from autoprune.steps.mixed import Mixed
from autoprune.steps.quantize import Quantize
from autoprune.steps.rows import Rows
from autoprune.steps.step import Step


def model_of(users: Tensor, items: Tensor) -> Factorization:
    made = random_factorization(len(users), len(items), users.shape[1], init_std=0.1, fold_in={}, seed=0)
    with torch.no_grad():
        made.tables["user"].weight.copy_(users)
        made.tables["item"].weight.copy_(items)
    return made


def context_of(users: list[int], items: list[int]) -> Context:
    return Context(frequency={"rows.user": torch.tensor(users), "rows.item": torch.tensor(items)})


def at_once(step: Step, model: Factorization, context: Context) -> Factorization:
    step.check(model)
    step.prepare(model, context)
    step.advance(model, context, 1.0)
    step.convert(model, context)
    return model


LENGTHS = [1.0, 9.0, 5.0, 4.0]  # by norm the first item goes
COUNTS = [9, 1, 4, 3]  # by frequency the second; of the products 9, 9, 20, 12 two of the first three


@pytest.mark.parametrize(("importance", "items"), [("norm", [1, 2]), ("frequency", [0, 2]), ("both", [2, 3])])
def test_rows_are_ranked_as_asked(importance: str, items: list[int]) -> None:
    directions = torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.0, -1.0], [-0.8, 0.6]])
    model = model_of(torch.ones(2, 2), directions * torch.tensor(LENGTHS)[:, None])
    context = context_of([1, 1], COUNTS)
    at_once(Rows(sparsity={"item": 0.5}, importance=importance), model, context)
    assert model.tables["item"].index.tolist() == items
    assert model.tables["user"].rows == 2


def test_frequencies_stay_with_their_rows_when_rows_are_cut() -> None:
    model = model_of(torch.ones(2, 2), torch.ones(4, 2))
    context = context_of([1, 1], COUNTS)
    model.cut(model.axes["rows.item"], torch.tensor([1, 3]))
    assert row_frequency(model, "item", context).tolist() == [1, 3]


USERS = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])
ITEMS = torch.tensor([[0.1, 9.0, 1.0], [2.0, 0.1, 1.0], [2.0, -0.1, 1.0]])
# The second dimension has the longest column, but lives in an item and a user that are hardly ever looked up.
USER_COUNTS, ITEM_COUNTS = [9, 1], [1, 50, 49]


def test_activation_is_the_mean_absolute_value_over_lookups() -> None:
    model, context = model_of(USERS, ITEMS), context_of(USER_COUNTS, ITEM_COUNTS)
    users = [(9 * 1.0 + 0) / 10, (0 + 1 * 1.0) / 10, 0.5]
    items = [(0.1 + 50 * 2 + 49 * 2) / 100, (9 + 50 * 0.1 + 49 * 0.1) / 100, 1.0]
    expected = [user / sum(users) + item / sum(items) for user, item in zip(users, items, strict=True)]
    found = dim_activation(model, model.axes["dim"], context)
    torch.testing.assert_close(found, torch.tensor(expected))
    repeated = torch.cat([ITEMS[at : at + 1].repeat(count, 1) for at, count in enumerate(ITEM_COUNTS)])
    torch.testing.assert_close(torch.tensor(items), repeated.abs().mean(0))


@pytest.mark.parametrize(("importance", "stays"), [("norm", 1), ("activation", 0)])
def test_norm_and_activation_cut_different_dimensions(importance: str, stays: int) -> None:
    model, context = model_of(USERS, ITEMS), context_of(USER_COUNTS, ITEM_COUNTS)
    at_once(Dims(sparsity=0.6, importance=importance), model, context)
    for name, table in (("user", USERS), ("item", ITEMS)):
        torch.testing.assert_close(model.tables[name].weight.detach(), table[:, [stays]])


NEEDS_COUNTS = [
    Rows(sparsity=0.5),
    Rows(sparsity=0.5, importance="both"),
    Dims(sparsity=0.5, importance="activation"),
    Mixed(head=0.5),
]


@pytest.mark.parametrize("step", NEEDS_COUNTS, ids=str)
def test_counts_that_are_missing_or_zero_are_refused(step: Step) -> None:
    for context, words in [
        (Context(), "how often the rows of table 'user' occur is not known; rank them by norm"),
        (context_of([0, 0], [0] * 3), "the frequency of table 'user' is zero for all of its 2 rows; rank them by norm"),
    ]:
        with pytest.raises(RecipeError, match=words):
            at_once(step, model_of(USERS, ITEMS), context)


@pytest.mark.parametrize("step", NEEDS_COUNTS, ids=str)
def test_rows_that_never_occur_are_no_error_while_others_do(step: Step) -> None:
    """A sketch holds the first rows of a table, and so may a model after cuts."""
    model = model_of(USERS, ITEMS)
    model.cut(model.axes["rows.item"], torch.tensor([0, 1]))
    at_once(step, model, context_of(USER_COUNTS, [0, 0, 7]))


def widths(model: Factorization) -> dict[str, list[int]]:
    return {name: table.bits.tolist() for name, table in model.tables.items()}


def test_frequent_rows_get_the_bits_of_the_head() -> None:
    model = model_of(torch.randn(4, 8), torch.randn(5, 8))
    at_once(Mixed(head=0.5, head_bits=8, tail_bits=2), model, context_of([3, 0, 7, 1], [2, 9, 2, 5, 2]))
    # of 4 users the two most frequent; of 5 items round(2.5) = 2; of equal ones the first
    assert widths(model) == {"user": [8, 2, 8, 2], "item": [2, 8, 2, 8, 2]}
    for table in model.tables.values():
        assert isinstance(table.coded, RowCodes)
        assert torch.equal(table.coded.bits, table.bits)
        assert int(table.coded.codes[table.bits == 2].max()) == 3
    # 2 + 3 items of 8 dimensions: 8 and 2 bytes of codes, 4 bytes of scale and offset; two units; a bit a row
    stored = model.tables["item"].packed()
    assert stored.size_bytes == 2 * (8 + 4) + 3 * (2 + 4) + 2 * 4 + 1


@pytest.mark.parametrize(("head", "bits"), [(0.0, [4] * 4), (0.1, [4] * 4), (1.0, [8] * 4)])
def test_a_head_of_nothing_or_of_everything_is_one_width(head: float, bits: list[int]) -> None:
    model = model_of(torch.randn(4, 8), torch.randn(4, 8))
    at_once(Mixed(head=head), model, context_of([3, 0, 7, 1], [2, 9, 2, 5]))
    assert widths(model) == {"user": bits, "item": bits}
    assert model.tables["item"].packed().entry["bits"] == bits[0]


def test_the_head_is_a_share_of_the_rows_that_stand() -> None:
    model, context = model_of(torch.randn(8, 4), torch.randn(8, 4)), context_of(list(range(8)), list(range(8)))
    rows, mixed = Rows(sparsity=0.5), Mixed(head=0.5)
    for reached in (0.0, 0.5, 1.0):
        for step in (rows, mixed):
            step.advance(model, context, reached)
        standing = model.tables["item"].row_mask
        assert int((model.tables["item"].bits == 8).sum()) == int(standing.sum()) // 2
    for step in (rows, mixed):
        step.convert(model, context)
    assert widths(model) == {"user": [4, 4, 8, 8], "item": [4, 4, 8, 8]}


def test_ranges_are_chosen_for_what_a_step_of_the_same_stage_leaves() -> None:
    """Two stages and one give the same codes where nothing trains."""
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(20, 16, generator=draw) ** 3
    found = []
    for together in (True, False):
        model, context = model_of(weights, weights), Context()
        prune, code = make_step("magnitude", {"sparsity": 0.6}), Quantize(bits=2)
        if together:
            for moment in ("prepare", "advance", "convert"):
                for step in (prune, code):
                    getattr(step, moment)(model, context, *([1.0] if moment == "advance" else []))
        else:
            at_once(prune, model, context)
            at_once(code, model, context)
        found.append(model.tables["item"])
    assert torch.equal(found[0].shares, found[1].shares)
    assert torch.equal(found[0].values(), found[1].values())


def test_a_mapping_of_bits_leaves_other_tables_as_they_are() -> None:
    model = model_of(torch.randn(4, 8), torch.randn(5, 8))
    at_once(Quantize(bits={"item": 4, "user": 32}), model, Context())
    assert widths(model) == {"user": [32] * 4, "item": [4] * 5}
    assert model.tables["user"].coded is None
    assert Quantize(bits={"item": 4, "user": 32}).parameters() == {"bits": {"item": 4}}
    assert Quantize(bits={"item": 32}).idle()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Quantize(bits=5), "bits: one of 32, 8, 4, 3, 2, 1 must be given, but got 5."),
        (Quantize(bits={"item": 5}), "bits.item: one of 32, 8, 4, 3, 2, 1 must be given, but got 5."),
        (Quantize(bits={"itme": 8}), "bits.itme: the model has no 'itme'. Did you mean item"),
        (Mixed(head=1.5), "head: 0 <= head <= 1 must hold, but got 1.5."),
        (Mixed(head=-0.1), "head: 0 <= head <= 1 must hold, but got -0.1."),
        (Mixed(head=float("nan")), "head: 0 <= head <= 1 must hold, but got nan."),
        (Mixed(head=True), "head: 0 <= head <= 1 must hold, but got True."),
        (Mixed(head=0.5, head_bits=32), "head_bits: one of 8, 4, 3, 2, 1 must be given, but got 32."),
        (Mixed(head=0.5, tail_bits=5), "tail_bits: one of 8, 4, 3, 2, 1 must be given, but got 5."),
        (Rows(sparsity=0.5, importance="nrom"), "importance: 'nrom' is unknown. Did you mean norm"),
        (Dims(sparsity=0.5, importance="frequency"), "importance: 'frequency' is unknown."),
    ],
)
def test_values_that_cannot_be_are_refused_by_their_path(step: Step, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        step.check(model_of(USERS, ITEMS))
    assert str(caught.value).startswith(message)
