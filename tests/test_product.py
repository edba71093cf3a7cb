"""Product codes against nearest entries by brute force, and what the step refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from test_packing import InBoth
from torch import Tensor

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.packing import restore
from autoprune.packing.product import Codebooks, ProductCodes
from autoprune.recommender.model import Factorization, random_factorization
from autoprune.steps import make_step

HALF = 2.0**-11
"""The relative error of a number as float16 holds it."""


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def learn_product(values: Tensor, *, width: int, entries: int, seed: int) -> ProductCodes:
    """A table coded by codebooks of its own."""
    return Codebooks(width=width, entries=entries, seed=seed).learn(values).code(values)


def loaded(codes: ProductCodes) -> InBoth:
    stored = codes.pack()
    return InBoth(restore(json.loads(json.dumps(stored.entry)), stored.tensors))


@pytest.mark.parametrize(("dim", "width", "entries"), [(12, 4, 8), (13, 4, 40), (7, 7, 16), (5, 9, 17), (6, 1, 2)])
def test_every_run_of_a_row_is_its_nearest_entry(dim: int, width: int, entries: int) -> None:
    values = drawn(200, dim) * 3
    found = learn_product(values, width=width, entries=entries, seed=0)
    width = min(width, dim)
    runs = -(-dim // width)
    assert found.codes.shape == (200, runs)
    assert found.codebook.shape == (runs, entries, width)
    book = found.codebook.double().numpy() * found.unit
    padded = np.pad(values.double().numpy(), ((0, 0), (0, runs * width - dim)))
    expected = np.empty_like(padded)
    for run in range(runs):
        part = padded[:, run * width : (run + 1) * width]
        distances = ((part[:, None] - book[run][None]) ** 2).sum(2)
        chosen = distances[np.arange(200), found.codes[:, run].numpy()]
        np.testing.assert_allclose(chosen, distances.min(1), rtol=1e-4, atol=1e-6)
        expected[:, run * width : (run + 1) * width] = book[run][found.codes[:, run].numpy()]
    np.testing.assert_allclose(found.values().numpy(), expected[:, :dim], rtol=1e-5, atol=1e-6)
    assert not book.reshape(runs, entries, width)[-1][:, dim - (runs - 1) * width :].any()  # what is filled up is zero


def test_the_codebook_is_as_good_as_k_means_of_scipy() -> None:
    from scipy.cluster.vq import kmeans2, vq

    values = drawn(400, 4)
    mine = float((learn_product(values, width=4, entries=16, seed=0).values() - values).square().sum(1).mean())
    theirs = []
    for seed in range(3):
        book, _ = kmeans2(values.double().numpy(), 16, iter=20, seed=seed, minit="++")
        theirs.append(float((vq(values.double().numpy(), book)[1] ** 2).mean()))
    assert mine <= 1.1 * np.mean(theirs)


def test_planted_clusters_are_found_exactly() -> None:
    centres = torch.tensor([[4.0, 0.0], [0.0, 4.0], [-4.0, -4.0]])
    where = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1, 2] * 4)
    values = torch.cat([centres[where], centres[where.flip(0)]], dim=1)
    found = learn_product(values, width=2, entries=16, seed=0)
    torch.testing.assert_close(found.values(), values, rtol=4 * HALF, atol=0.01)


@pytest.mark.parametrize("entries", [12, 20, 256])
def test_as_many_entries_as_rows_keep_every_row(entries: int) -> None:
    values = drawn(12, 10) * 0.01
    found = learn_product(values, width=4, entries=entries, seed=0)
    assert found.codebook.shape == (3, 12, 4)
    torch.testing.assert_close(found.values(), values, rtol=HALF, atol=HALF * 1e-2 * float(values.abs().max()))


@pytest.mark.parametrize("size", [0.0, 1e-20, 1e20])
def test_tables_of_any_size_stay_finite(size: float) -> None:
    values = drawn(20, 8) * size
    found = learn_product(values, width=4, entries=20, seed=0)
    torch.testing.assert_close(found.values(), values, rtol=HALF, atol=1e-3 * size)


@pytest.mark.parametrize("entries", [2, 16, 17, 100])
@pytest.mark.parametrize(("dim", "width"), [(12, 4), (13, 3)])
def test_a_packed_table_decodes_and_scores_as_the_dense_table(dim: int, width: int, entries: int) -> None:
    rows = 2500  # more than a block
    found = learn_product(drawn(rows, dim), width=width, entries=entries, seed=0)
    runs, bits = -(-dim // width), 4 if entries <= 16 else 8
    stored = found.pack()
    assert stored.entry["bits"] == bits
    assert stored.tensors["codes"].shape == (rows, -(-runs * bits // 8))
    assert stored.size_bytes == rows * -(-runs * bits // 8) + 2 * runs * entries * width + 4
    table, expected = loaded(found), found.values()
    index = torch.tensor([7, 0, 7, rows - 1])
    torch.testing.assert_close(table.decode(index), expected[index])
    assert table.decode(index[:0]).shape == (0, dim)
    for count in (1, 2, 20):
        queries = drawn(count, dim, seed=count)
        torch.testing.assert_close(table.scores(queries), queries @ expected.T, rtol=1e-4, atol=1e-4)


def test_one_seed_gives_one_codebook_and_another_gives_another() -> None:
    values = drawn(300, 8)
    one, same, other = (learn_product(values, width=4, entries=16, seed=seed) for seed in (0, 0, 7))
    assert torch.equal(one.codebook, same.codebook)
    assert torch.equal(one.codes, same.codes)
    assert not torch.equal(one.codebook, other.codebook)


def model(users: int = 30, items: int = 20, dim: int = 8) -> Factorization:
    return random_factorization(users, items, dim, init_std=0.1, fold_in={"alpha": 0.0, "ridge": 0.5}, seed=0)


def test_a_table_cut_below_its_entries_keeps_one_entry_a_row() -> None:
    made, step = model(), make_step("product", {"width": 4, "entries": 20})
    made.cut(made.axes["rows.item"], torch.arange(5))
    step.check(made)
    before = made.tables["item"].values().detach()
    step.convert(made, Context())
    torch.testing.assert_close(made.tables["item"].values(), before, rtol=HALF, atol=1e-4)
    assert made.tables["item"].packed().tensors["codebook"].shape == (2, 5, 4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"entries": 21}, "entries: a codebook of 21 entries is larger than table 'item', which has 20 rows"),
        ({"entries": 1}, "entries: a whole number from 2 to 256 must be given, but got 1."),
        ({"entries": 257}, "entries: a whole number from 2 to 256 must be given, but got 257."),
        ({"entries": 16.0}, "entries: a whole number from 2 to 256 must be given, but got 16.0."),
        ({"entries": 16, "width": 0}, "width: a whole number >= 1 must be given, but got 0."),
        ({"entries": 16, "width": True}, "width: a whole number >= 1 must be given, but got True."),
    ],
)
def test_a_codebook_that_cannot_be_is_refused(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_step("product", parameters).check(model())
    assert str(caught.value).startswith(message)


def test_decoded_rows_have_their_own_length_for_one_byte() -> None:
    values = drawn(300, 12)
    values[7] = 0
    plain, kept = (
        Codebooks(width=4, entries=16, seed=0, lengths=lengths).learn(values).code(values) for lengths in (False, True)
    )
    assert torch.equal(plain.codes, kept.codes)
    assert kept.pack().size_bytes - plain.pack().size_bytes == 300 + 8
    table, every = loaded(kept), torch.arange(300)
    found = table.decode(every)
    torch.testing.assert_close(found, kept.values(), rtol=1e-5, atol=1e-6)
    lengths = (found.norm(dim=1) / values.norm(dim=1))[every != 7]
    assert (lengths - 1).abs().max() < 0.0056  # half a step
    assert not found[7].any()
    for count in (1, 3):
        queries = drawn(count, 12, seed=1)
        torch.testing.assert_close(table.scores(queries), queries @ found.T, rtol=1e-4, atol=1e-4)
