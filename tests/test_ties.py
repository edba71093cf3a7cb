"""Equal scores: one order, whoever scores them and however many at once, and none that favours anything."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from test_search import BITS, KERNELS, NOTHING, drawn, in_torch
from torch import Tensor

from autoprune.artifacts.served import serve
from autoprune.models.model import Model
from autoprune.packing import PackedTable
from autoprune.packing.arrays import numpy_of
from autoprune.packing.ids import Ids
from autoprune.recommender import task as tasks
from autoprune.recommender import ties
from autoprune.recommender.kernels import Kernel
from autoprune.recommender.served import Recommender
from autoprune.recommender.task import RecommenderTask
from autoprune.recommender.ties import Best, Hidden, Ordering
from autoprune.recommender.topk import plain as plain_of_any
from autoprune.recommender.topk import rescored

ROWS, DISTINCT, DIM = 1739, 700, 13
IDS = Ids(np.arange(ROWS) * 3 + 10)


def crowded(bits: int = 32, *, kept: float = 1.0) -> PackedTable:
    """A table of which six rows in ten have a twin somewhere, some of them many."""
    of = torch.from_numpy(np.random.default_rng(0).integers(DISTINCT, size=ROWS))
    of[: ROWS // 8] = 3
    values = drawn(DISTINCT, DIM)
    if kept < 1:
        values = values * (torch.rand(values.shape, generator=torch.Generator().manual_seed(9)) < kept)
        return in_torch(values[of], bits, kept=0.999)
    return in_torch(values[of], bits)


def plain(ordering: Ordering, queries: Tensor, k: int, hidden: Hidden) -> Best:
    """By torch and by numpy, which find the same."""
    found = plain_of_any(ordering, queries, k, hidden)
    tensors = {name: tensor.numpy() for name, tensor in ordering.table.tensors.items()}
    ours = ordering.of(dataclasses.replace(ordering.table, tensors=tensors))
    again = plain_of_any(ours, queries.numpy(), k, Hidden(*map(numpy_of, hidden)))
    assert np.array_equal(again.rows, found.rows)
    return found


def by_hand(table: PackedTable, queries: Tensor, k: int, hidden: Hidden) -> list[list[int]]:
    """The k best rows of each query by exact scores; equal ones as was drawn of their ids."""
    values = table.decode(torch.arange(table.rows)).double().numpy()
    scores = (queries.double().numpy() @ values.T).astype(np.float32)
    scores[hidden.query.numpy(), hidden.row.numpy()] = -np.inf
    draw = IDS.draw(np.arange(ROWS))
    return [sorted(range(ROWS), key=lambda row: (-own[row], draw[row]))[:k] for own in scores]


def hidden_twins(table: PackedTable, queries: Tensor) -> Hidden:
    """Every third of the 60 best of every other query: of twins some are hidden, and others are not."""
    pairs = [(at, row) for at, own in enumerate(by_hand(table, queries, 60, NOTHING)) for row in own[:: 3 - at % 2]]
    return Hidden(*torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T)


@pytest.mark.parametrize("kernel", [None, *KERNELS])
@pytest.mark.parametrize("bits", BITS)
def test_twins_come_in_one_order_by_every_kernel_and_in_every_batch(
    kernel: Callable[[PackedTable], Kernel] | None, bits: int
) -> None:
    table, queries = crowded(bits), torch.cat([drawn(9, DIM, seed=1), torch.zeros(1, DIM), torch.ones(1, DIM)])
    made, ordering = kernel and kernel(table), Ordering(table, IDS.draw)

    def found(some: slice, k: int, hidden: Hidden) -> list[list[int]]:
        own = torch.isin(hidden.query, torch.arange(len(queries))[some])
        theirs = Hidden(hidden.query[own] - (some.start or 0), hidden.row[own])
        best = rescored(ordering, made, queries[some], k, theirs) if made else plain(ordering, queries[some], k, theirs)
        rows: list[list[int]] = best.rows.tolist()
        return rows

    for hidden in (NOTHING, hidden_twins(table, queries)):
        for k in (1, 20, 61):  # in the middle of twins, somewhere
            expected = by_hand(table, queries, k, hidden)
            assert found(slice(None), k, hidden) == expected
            assert [row for at in range(len(queries)) for row in found(slice(at, at + 1), k, hidden)] == expected


@pytest.mark.parametrize("kernel", [None, *KERNELS])
@pytest.mark.parametrize("bits", [32, 8])
def test_twins_of_sparse_tables_do_so_too(kernel: Callable[[PackedTable], Kernel] | None, bits: int) -> None:
    table, queries = crowded(bits, kept=0.4), drawn(9, DIM, seed=1)
    ordering = Ordering(table, IDS.draw)
    for some in (queries, queries[:3], queries[:1]):  # summed in one way, or in the other
        best = rescored(ordering, kernel(table), some, 20, NOTHING) if kernel else plain(ordering, some, 20, NOTHING)
        assert best.rows.tolist() == by_hand(table, some, 20, NOTHING)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [3, 64, 300])
def test_doubt_is_wider_than_rounding(bits: int, dim: int) -> None:
    table, queries = in_torch(drawn(800, dim) * drawn(800, 1, seed=2).exp(), bits), drawn(30, dim, seed=1)
    exact = queries.double() @ table.decode(torch.arange(800)).double().T
    wrong = max(
        float((table.scores(some).double() - exact[: len(some)]).abs().max()) for some in (queries, queries[:1])
    )
    doubts = Ordering(table).doubts(queries)
    assert 2 * wrong < float(doubts.max())
    assert float(doubts.max()) < 1e-2 * float(exact.abs().max()), "and yet narrow"


@pytest.mark.parametrize("ids", [np.arange(5000), np.arange(5000) * 10**9, [f"item-{at:04}" for at in range(5000)]])
def test_the_order_says_nothing_of_ids_and_positions(ids: object) -> None:
    made, rows = Ids(np.array(ids)), np.arange(5000)
    order = made.draw(rows).argsort()
    assert abs(np.corrcoef(order, np.arange(5000))[0, 1]) < 0.05
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 0.05
    assert abs(order[:500].mean() - 2500) < 300
    some = np.arange(0, 5000, 7)  # what is pruned changes nothing for the rest
    assert made.take(some).draw(np.arange(len(some))).tolist() == made.draw(some).tolist()
    assert len(set(made.draw(rows).tolist())) == 5000


def test_what_is_looked_through_in_pieces_comes_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    table, queries = in_torch(torch.ones(ROWS, DIM)), torch.ones(40, DIM)
    whole = plain(Ordering(table), queries, 30, NOTHING)
    monkeypatch.setattr(ties, "SETTLED_SCORES", 3 * ROWS)
    monkeypatch.setattr(ties, "EXACT_VALUES", 50 * DIM)
    assert torch.equal(plain(Ordering(table), queries, 30, NOTHING).rows, whole.rows)


def test_nothing_is_the_best_of_nothing() -> None:
    table, queries = in_torch(torch.ones(ROWS, DIM)), torch.ones(3, DIM)
    assert plain(Ordering(table), queries, 0, NOTHING).rows.shape == (3, 0)


def twins_of(dense: Model, distinct: int) -> Model:
    """The model with so many distinct item rows, one after the other."""
    model = copy.deepcopy(dense)
    with torch.no_grad():
        item = model.tables["item"].weight
        item.copy_(item[torch.arange(len(item)) % distinct])
    return model


@pytest.mark.parametrize("distinct", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_metrics_do_not_depend_on_the_batch(
    distinct: int, task: RecommenderTask, dense: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Recommender(task.parts(twins_of(dense, distinct)))
    names = (None, "stranger")
    whole = [task.score(served, "test", name) for name in names]
    for users in (1, 9):
        monkeypatch.setattr(tasks, "SCORE_USERS", users)
        assert all(task.score(served, "test", name).equals(rows) for name, rows in zip(names, whole, strict=True))


def test_a_model_that_likes_everything_alike_is_as_good_as_chance(task: RecommenderTask, dense: Model) -> None:
    """Low ids are popular here, as they are in most catalogues."""
    served = serve(task.parts(twins_of(dense, 1)))
    assert isinstance(served, Recommender)
    rows, metric = task.score(served, "test"), task.metrics["ndcg@20"]

    shown = np.ones((len(task.data.users), 120), dtype=bool)
    owner, seen = task.data.seen_before("test").take(torch.arange(len(shown)))
    shown[owner, seen] = False

    def by(order: np.ndarray) -> float:
        """The metric of one order of all items for everyone."""
        places = shown[:, order].cumsum(1)[:, order.argsort()]
        return metric(rows.assign(rank=places[rows["user"], rows["item"]].astype(float)))

    draw = np.random.default_rng(0)
    chance = [by(draw.permutation(120)) for _ in range(12)]
    assert by(np.arange(120)) > np.mean(chance) + 4 * np.std(chance), "by position it would look good"
    assert abs(metric(rows) - np.mean(chance)) < 3 * np.std(chance)
