"""Exact top-k: every kernel gives what numpy finds, and the measured choice is never the slower one."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forking import answer_of_a_fork, two_threads
from torch import Tensor

from autoprune.errors import AutopruneError
from autoprune.extras import has
from autoprune.models.model import Model
from autoprune.packing import PackedTable, arrays, restore
from autoprune.packing.arrays import largest, numpy_of
from autoprune.packing.codes import best_shares, quantize_rows
from autoprune.packing.writing import pack
from autoprune.recommender import kernels
from autoprune.recommender import topk as search
from autoprune.recommender.kernels import HalfPrecision, IntegerScan, Kernel, Proposal, has_plain_codes
from autoprune.recommender.served import Recommender
from autoprune.recommender.task import RecommenderTask
from autoprune.recommender.ties import Best, Hidden, Ordering
from autoprune.recommender.topk import PLAIN, SIZES, TORCH, Search, fastest, plain, rescored

BITS = [32, 8, 4, 2, 1]
ROWS, DIM = 3001, 13

needs_faiss = pytest.mark.skipif(not has("faiss"), reason="faiss is not installed")
KERNELS: list[object] = [IntegerScan, pytest.param(HalfPrecision, marks=needs_faiss)]
NOTHING = Hidden(torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def table_of(values: Tensor, bits: int = 32, *, kept: float = 1.0) -> PackedTable:
    mask = None if kept == 1 else torch.rand(values.shape, generator=torch.Generator().manual_seed(9)) < kept
    widths = torch.full((len(values),), bits, dtype=torch.uint8)
    coded = quantize_rows(values, widths, best_shares(values, widths, mask=mask), mask=mask) if bits < 32 else None
    stored = pack(values if mask is None else values * mask, mask=mask, coded=coded)
    return restore(json.loads(json.dumps(stored.entry)), stored.tensors)


def in_torch(values: Tensor, bits: int = 32, *, kept: float = 1.0) -> PackedTable:
    """The table as kernels take it."""
    return table_of(values, bits, kept=kept).to("cpu")


def hide(*pairs: tuple[int, int]) -> Hidden:
    return Hidden(*torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T)


def assert_matches_numpy(found: Best, table: PackedTable, queries: Tensor, k: int, hidden: Hidden) -> None:
    """The scores are the k best there are, and each belongs to the row it is given for."""
    values = table.decode(torch.arange(table.rows)).double().numpy()
    scores = queries.double().numpy() @ values.T
    scores[hidden.query.numpy(), hidden.row.numpy()] = -np.inf
    k = min(k, table.rows)
    expected = -np.sort(-scores, axis=1)[:, :k]
    rows = found.rows.numpy()
    assert rows.shape == found.scores.shape == (len(queries), k)
    tolerance = 1e-5 * max(1.0, float(np.abs(scores[np.isfinite(scores)]).max(initial=0.0)))
    np.testing.assert_allclose(found.scores.numpy(), expected, rtol=0, atol=tolerance)
    stands = np.isfinite(found.scores.numpy())
    np.testing.assert_allclose(np.take_along_axis(scores, rows, 1)[stands], expected[stands], rtol=0, atol=tolerance)
    for own, where in zip(rows, stands, strict=True):
        assert len(set(own[where])) == where.sum()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("count", [1, 7, 8, 32, 130])
@pytest.mark.parametrize("bits", BITS)
def test_every_kernel_matches_numpy(kernel: Callable[[PackedTable], Kernel], count: int, bits: int) -> None:
    table, queries = in_torch(drawn(ROWS, DIM), bits), drawn(count, DIM, seed=1)
    best = plain(Ordering(table), queries, 60, NOTHING).rows
    hidden = hide(*[(query, int(best[query, place])) for query in range(0, count, 2) for place in range(0, 40, 3)])
    for k in (1, 60):
        assert_matches_numpy(rescored(Ordering(table), kernel(table), queries, k, hidden), table, queries, k, hidden)
        assert_matches_numpy(plain(Ordering(table), queries, k, hidden), table, queries, k, hidden)


@pytest.mark.parametrize("count", [1, 7, 32])
@pytest.mark.parametrize("bits", BITS)
def test_the_plain_path_matches_torch(count: int, bits: int) -> None:
    ours, table, queries = table_of(drawn(ROWS, DIM), bits), in_torch(drawn(ROWS, DIM), bits), drawn(count, DIM, seed=1)
    hidden = hide(*[(query, row) for query in range(0, count, 2) for row in range(0, ROWS, 3)])
    for k in (1, 60, ROWS):
        found = plain(Ordering(ours), queries.numpy(), k, Hidden(*map(numpy_of, hidden)))
        expected = plain(Ordering(table), queries, k, hidden)
        seen = numpy_of(expected.scores) > -np.inf
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
        assert np.array_equal(found.rows[seen], expected.rows.numpy()[seen])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kept", [0.5, 0.05])
@pytest.mark.parametrize("bits", [32, 8])
def test_every_kernel_serves_sparse_tables(kernel: Callable[[PackedTable], Kernel], kept: float, bits: int) -> None:
    table, queries = in_torch(drawn(ROWS, 40), bits, kept=kept), drawn(9, 40, seed=1)
    assert table.pattern != "full"
    assert_matches_numpy(rescored(Ordering(table), kernel(table), queries, 20, NOTHING), table, queries, 20, NOTHING)


@pytest.mark.parametrize("kernel", KERNELS)
def test_ties_zeros_and_outliers_break_nothing(kernel: Callable[[PackedTable], Kernel]) -> None:
    values = drawn(ROWS, DIM)
    values[100:900] = values[0] * 3  # eight hundred equal rows
    values[1000:1500] = 0.0
    values[1600, 3] = 1e4  # one weight that leaves its row nothing but coarse codes
    table = in_torch(values)
    queries = torch.stack([values[0], -values[0], torch.zeros(DIM), values[1600], torch.full((DIM,), 1e-20)])
    hidden = hide((0, 100), (0, 101), (2, 5), (3, 1600))
    for k in (1, 50, 900):
        assert_matches_numpy(rescored(Ordering(table), kernel(table), queries, k, hidden), table, queries, k, hidden)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 65])
def test_k_beyond_the_rows_returns_them_all(kernel: Callable[[PackedTable], Kernel], rows: int) -> None:
    table, queries = in_torch(drawn(rows, DIM)), drawn(3, DIM, seed=1)
    hidden = hide((0, 0), *[(1, row) for row in range(rows)])
    for k in (rows, rows + 5):
        assert_matches_numpy(rescored(Ordering(table), kernel(table), queries, k, hidden), table, queries, k, hidden)


@pytest.mark.parametrize("bits", BITS)
def test_a_scan_never_promises_too_little(bits: int) -> None:
    """What is left out scores no higher than the bound that comes with it."""
    table, queries = in_torch(drawn(500, DIM), bits), drawn(40, DIM, seed=1)
    kernel, values = IntegerScan(table), table.decode(torch.arange(500)).double()
    for count in range(1, 60, 7):
        proposal = kernel.propose(queries, count, NOTHING)
        for query, rows, bound in zip(queries, *proposal, strict=True):
            left = torch.ones(500, dtype=torch.bool)
            left[rows[rows >= 0]] = False
            assert float((values[left] @ query.double()).max()) <= float(bound)


def test_a_scan_goes_over_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BLOCK_BOUNDS", 300)
    monkeypatch.setattr(kernels, "BUILD_ROWS", 77)
    table, queries = in_torch(drawn(ROWS, DIM), 4), drawn(6, DIM, seed=1)
    best = plain(Ordering(table), queries, 9, NOTHING).rows
    hidden = hide(*[(query, int(best[query, 2])) for query in range(6)])
    assert_matches_numpy(rescored(Ordering(table), IntegerScan(table), queries, 9, hidden), table, queries, 9, hidden)


def test_the_best_of_many_scores_are_found_in_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "GROUPING", 0)
    scores = drawn(5, ROWS)
    scores[:, -1] = 9.0  # in the rest that fills no group
    assert torch.equal(largest(scores, 20)[1], scores.topk(20, dim=1).indices)
    assert np.array_equal(largest(scores.numpy(), 20)[1], scores.topk(20, dim=1).indices)


@pytest.mark.parametrize("torch_answers", [False, True])
def test_many_queries_are_answered_block_by_block(monkeypatch: pytest.MonkeyPatch, torch_answers: bool) -> None:
    monkeypatch.setattr(search, "QUERIES", 4)
    monkeypatch.setattr(search, "SCORES", 0)
    table, queries = table_of(drawn(ROWS, DIM), 4), drawn(11, DIM, seed=1)
    hidden = hide((0, 100), (3, 101), (4, 5), (10, 1600), (7, 7), (4, 6))
    expected, blocks = plain(Ordering(table.to("cpu")), queries, 9, hidden), []

    class Counted(Search):
        def _answer(self, name: str, queries: Any, k: int, hidden: Hidden) -> Best:
            blocks.append(len(queries))
            return super()._answer(name, queries, k, hidden)

    if torch_answers:
        table = table.to("cpu")
        found = Counted(table, lambda n: queries[:n]).topk(queries, 9, hidden)
    else:
        held = Hidden(*map(numpy_of, hidden))
        found = Counted(table, lambda n: queries[:n]).topk(queries.numpy(), 9, held)
    assert blocks == [4, 4, 3]
    assert np.array_equal(numpy_of(found.rows), expected.rows)
    np.testing.assert_allclose(numpy_of(found.scores), expected.scores, rtol=1e-5, atol=1e-6)


class Careless(Kernel):
    """Proposes the first rows and admits that others may be better."""

    for_many = True
    memory_bytes = 0

    def propose(self, queries: Tensor, count: int, hidden: Hidden) -> Proposal:
        bound = torch.full((len(queries),), 1e9)
        bound[0] = -1e9  # the first query is not checked: what is proposed for it stands
        return Proposal(torch.arange(count).repeat(len(queries), 1), bound)


def test_what_a_kernel_cannot_promise_is_scored_in_full() -> None:
    table, queries, hidden = in_torch(drawn(ROWS, DIM)), drawn(4, DIM, seed=1), hide((0, 1), (2, 7), (3, 9))
    found, expected = (
        rescored(Ordering(table), Careless(), queries, 5, hidden),
        plain(Ordering(table), queries, 5, hidden),
    )
    torch.testing.assert_close(found.scores[1:], expected.scores[1:])
    assert torch.equal(found.rows[1:], expected.rows[1:])
    assert int(found.rows[0].max()) < 5 + 2 + search.SPARE


def test_codes_are_read_where_they_lie() -> None:
    values = drawn(ROWS, 64)
    for bits in (8, 4, 2, 1):
        assert has_plain_codes(in_torch(values, bits))
        assert IntegerScan(in_torch(values, bits)).memory_bytes == ROWS * 5 * 4
    assert IntegerScan(in_torch(values)).memory_bytes == ROWS * (64 + 3 * 4)
    assert not has_plain_codes(in_torch(values, 8, kept=0.3))


def ticking(costs: dict[str, float]) -> tuple[dict[str, Callable[[], object]], Callable[[], float]]:
    """Calls that take the given time by a clock of their own."""
    now = {"is": 0.0}

    def spend(cost: float) -> None:
        now["is"] += cost

    return {name: (lambda cost=cost: spend(cost)) for name, cost in costs.items()}, lambda: now["is"]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ({PLAIN: 1.0}, PLAIN),
        ({PLAIN: 1.0, "a": 0.5, "b": 0.4}, "b"),
        ({PLAIN: 1.0, "a": 0.95}, PLAIN),  # not clearly faster
        ({PLAIN: 1.0, "a": 1.0}, PLAIN),
        ({PLAIN: 1.0, "a": 2.0, "b": 1.5}, PLAIN),
    ],
)
def test_what_measured_slower_is_never_chosen(costs: dict[str, float], expected: str) -> None:
    calls, clock = ticking(costs)
    assert fastest(calls, clock=clock) == expected


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and every table large enough to be measured."""
    monkeypatch.setattr(search, "cache_folder", lambda kind: tmp_path / kind)
    monkeypatch.setattr(search, "LARGE", 0)
    return tmp_path / "kernels"


def choosing(monkeypatch: pytest.MonkeyPatch, name: str) -> list[set[str]]:
    """Has the measurement find `name` the fastest; collects what was measured."""
    measured: list[set[str]] = []

    def choose(calls: dict[str, Callable[[], object]]) -> str:
        measured.append(set(calls))
        for call in calls.values():
            call()
        return name if name in calls else PLAIN

    monkeypatch.setattr(search, "fastest", choose)
    return measured


def made(table: PackedTable) -> Search:
    return Search(table, lambda count: drawn(count, table.dim, seed=5).numpy())


@needs_faiss
def test_what_was_measured_once_is_remembered(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = choosing(monkeypatch, "half_precision")
    table = table_of(drawn(ROWS, DIM))
    first, second = made(table), made(table)
    assert measured == [{PLAIN, TORCH, "integer_scan", "half_precision"}, {PLAIN, TORCH, "integer_scan"}]
    for found in (first, second):
        assert [found.kernel(count) for count in (0, 1, 7, 8, 99)] == ["half_precision"] * 3 + [PLAIN] * 2
        assert found.memory_bytes == ROWS * DIM * 2  # what was not chosen is not held
    made(table_of(drawn(ROWS, DIM), 8))  # another encoding is another question
    assert len(measured) == 4
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"1": "plain"}', b'{"1": 3, "8": []}', b'{"1": "x", "8": "x"}', b"\xff\x00"],
)
def test_a_damaged_memory_is_measured_anew(content: bytes, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = choosing(monkeypatch, "integer_scan")
    table = table_of(drawn(ROWS, DIM), 8)
    made(table)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(content)
    assert made(table).kernel(1) == "integer_scan"
    assert len(measured) == 2 * len(SIZES)
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_stops_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("a file where a folder should be")
    measured = choosing(monkeypatch, "integer_scan")
    table = table_of(drawn(ROWS, DIM), 8)
    assert made(table).kernel(8) == made(table).kernel(8) == "integer_scan"
    assert len(measured) == 2 * len(SIZES)


def test_without_faiss_the_rest_is_measured(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "has", lambda package: False)
    measured = choosing(monkeypatch, PLAIN)
    assert made(table_of(drawn(ROWS, DIM))).memory_bytes == 0
    assert measured == [{PLAIN, TORCH, "integer_scan"}] * 2
    assert cache.exists()


def test_without_torch_nothing_is_measured(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "has", lambda package: False)
    found = made(table_of(drawn(ROWS, DIM)))
    assert [found.kernel(count) for count in (1, 99)] == [PLAIN] * 2
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_without_any_kernel_torch_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "has", lambda package: False)
    monkeypatch.setattr(kernels, "multiplies_exactly", lambda: False)
    measured = choosing(monkeypatch, TORCH)
    table, queries = table_of(drawn(ROWS, DIM)), drawn(2, DIM, seed=1)
    found = made(table)
    assert measured == [{PLAIN, TORCH}] * 2
    assert found.memory_bytes == 0, "its tensors lie where the table does"
    best = found.topk(queries.numpy(), 4, Hidden(*map(numpy_of, NOTHING)))
    assert np.array_equal(best.rows, plain(Ordering(table), queries.numpy(), 4, Hidden(*map(numpy_of, NOTHING))).rows)


def test_a_small_table_is_not_measured(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "LARGE", ROWS * DIM + 1)
    assert made(table_of(drawn(ROWS, DIM))).kernel(1) == PLAIN
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_a_kernel_never_holds_more_than_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = choosing(monkeypatch, "integer_scan")
    table = table_of(drawn(ROWS, 40), kept=0.05)  # codes of all zeros would take more than what stands
    assert made(table).memory_bytes == 0
    assert measured == [{PLAIN, TORCH}] * 2
    dense = table_of(drawn(ROWS, 40))
    assert 0 < made(dense).memory_bytes <= dense.memory_bytes


@pytest.mark.usefixtures("cache")
def test_kernels_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(search.VARIABLE, "plain")
    measured = choosing(monkeypatch, "integer_scan")
    assert made(table_of(drawn(ROWS, DIM))).kernel(8) == PLAIN
    assert measured == []
    monkeypatch.setenv(search.VARIABLE, "quick")
    with pytest.raises(AutopruneError, match="AUTOPRUNE_KERNELS: fastest or plain"):
        made(table_of(drawn(ROWS, DIM)))


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["integer_scan", pytest.param("half_precision", marks=needs_faiss)])
def test_a_recommender_answers_the_same_by_any_kernel(
    name: str, dense: Model, task: RecommenderTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = task.parts(dense)
    choosing(monkeypatch, PLAIN)
    exact = Recommender(parts)
    assert set(exact._search._choice.values()) == {PLAIN}
    choosing(monkeypatch, name)
    monkeypatch.setattr(search, "cache_folder", lambda kind: Path(os.devnull))
    fast = Recommender(parts)
    assert fast._search.kernel(1) == name
    assert fast.memory_bytes > exact.memory_bytes
    assert pickle.loads(pickle.dumps(fast)).memory_bytes == fast.memory_bytes
    users = [task.data.users[at] for at in range(0, len(task.data.users), 3)]
    for user in users[:20]:
        for include_seen in (False, True):
            found, expected = (one.recommend(user, k=10, include_seen=include_seen) for one in (fast, exact))
            assert [one.item for one in found] == [one.item for one in expected]
            np.testing.assert_allclose([one.score for one in found], [one.score for one in expected], rtol=1e-4)
    assert np.array_equal(fast.topk(users, 10), exact.topk(users, 10))
    assert task.score(fast, "validation").equals(task.score(exact, "validation"))


def test_extreme_integers_multiply_exactly_or_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.multiplies_exactly.cache_clear()
    right = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda one, other: right(one, other).clamp(max=2**15 - 1))
    assert not kernels.multiplies_exactly()
    kernels.multiplies_exactly.cache_clear()
    monkeypatch.delattr(torch, "_int_mm")
    assert not kernels.multiplies_exactly()
    kernels.multiplies_exactly.cache_clear()


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["integer_scan", pytest.param("half_precision", marks=needs_faiss)])
def test_a_fork_answers_without_the_threads_of_kernels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choosing(monkeypatch, name)
    queries, nothing = drawn(1, 64, seed=1).numpy(), Hidden(*map(numpy_of, NOTHING))
    with two_threads():
        found = made(table_of(drawn(20_000, 64)))
        assert found.kernel(1) == name
        expected, sent = found.topk(queries, 5, nothing).rows.tolist(), pickle.dumps(found)
        assert answer_of_a_fork(lambda: found.topk(queries, 5, nothing).rows.tolist()) == expected
        assert answer_of_a_fork(lambda: pickle.loads(sent).topk(queries, 5, nothing).rows.tolist()) == expected
        assert found.kernel(1) == pickle.loads(sent).kernel(1) == name, "here it goes on as it was"
