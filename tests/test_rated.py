"""Codes of a rate: what they take, what they lose, and that they are rows like all others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_packing import drawn, loaded

from autoprune.errors import Diverged
from autoprune.packing import rated
from autoprune.packing.codes import Uniform
from autoprune.packing.rated import LONG, RATES, ROWS, ZERO, Rated, row_steps
from autoprune.packing.squeezed import squeeze
from autoprune.packing.writing import pack


def entropy(codes: torch.Tensor) -> float:
    shares = np.unique(codes.numpy(), return_counts=True)[1] / codes.numel()
    return float(-(shares * np.log2(shares)).sum())


@pytest.mark.parametrize("rate", [RATES[0], 2.2, 4.0, RATES[1]])
def test_codes_take_what_was_asked_and_answer_as_their_values(rate: float) -> None:
    values = drawn(300, 48, seed=0) * (0.3 * drawn(300, 1, seed=1)).exp()
    codes = Rated(rate=rate).learn(values).code(values)
    assert entropy(codes.codes) == pytest.approx(rate, abs=0.05)
    learned = Rated(rate=rate).learn(values)
    assert learned.step is not None
    off = (codes.codes.float() - ZERO[learned.bits]) * learned.step - values
    assert float(off.abs().max()) <= 0.502 * learned.step, "the nearest level"
    lengths = torch.linalg.vector_norm(codes.values(), dim=1) / torch.linalg.vector_norm(values, dim=1)
    stretched = (codes.codes != ZERO[learned.bits]).any(1)
    assert float((lengths - 1)[stretched].abs().max()) <= learned.finest, "rows have their own length"
    table = loaded(pack(values, coded=codes))
    torch.testing.assert_close(table.decode(torch.arange(300)), codes.values(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("step", [0.013, 0.21, 1.0, 7.5])
@pytest.mark.parametrize("kind", ["plain", "heavy tails", "sparse", "one value", "integers"])
def test_what_codes_of_a_distance_take_and_lose_is_counted_without_making_them(kind: str, step: float) -> None:
    values = drawn(200, 24, seed=3)
    values = {
        "plain": values,
        "heavy tails": values**3,
        "sparse": values * (values.abs() > 1.6),
        "one value": torch.full((3, 5), 0.7),
        "integers": values.round(),
    }[kind]
    ascending = rated._Sorted(values)
    codes = (values.double() / step).round()
    assert ascending.entropy(step) == pytest.approx(entropy(codes), abs=1e-6)
    most = ZERO[8] - 1
    errors = codes.clamp(-most, most) * step - values
    assert ascending.error(step) == pytest.approx(float(errors.square().sum()), rel=1e-6, abs=1e-9)


def test_values_that_are_not_finite_are_refused() -> None:
    values = drawn(20, 16, seed=0)
    values[3, 4] = torch.inf
    with pytest.raises(Diverged, match="not finite"):
        Rated(rate=3.0).learn(values)


@pytest.mark.parametrize("dim", [1, 3, LONG - 1, LONG])
def test_files_take_about_what_was_asked_however_short_rows_are(dim: int) -> None:
    values = drawn(48_000 // dim, dim, seed=0)
    stored = pack(values, coded=Rated(rate=3.0).learn(values).code(values))
    taken = 8 * sum(len(squeeze(held.tobytes())) for held in stored.tensors.values()) / values.numel()
    assert taken < 3.0 + 0.6, "a byte a row for its length would be a bit a value and more"


@pytest.mark.parametrize("bits", [3, 2])
def test_they_lose_less_than_codes_of_whole_bits_in_fewer_bytes(bits: int) -> None:
    values = drawn(4000, 64, seed=0)
    plain = Uniform(bits=bits).learn(values).code(values)
    codes = Rated(rate=entropy(plain.codes)).learn(values).code(values)
    errors = [float((found.values() - values).square().sum()) for found in (codes, plain)]
    assert errors[0] < errors[1]
    written = [
        sum(len(squeeze(tensor.tobytes())) for tensor in pack(values, coded=found).tensors.values())
        for found in (codes, plain)
    ]
    assert written[0] < written[1]


@pytest.mark.parametrize("kind", ["sparse", "signs", "one column", "one row", "alike"])
@pytest.mark.parametrize("rate", [2.0, 4.0, RATES[1]])
def test_where_no_codes_have_the_rate_little_is_lost_all_the_same(kind: str, rate: float) -> None:
    values = drawn(300, 64, seed=0)
    values = {
        "sparse": values * (values.abs() > 1.6),
        "signs": values.sign() * (drawn(300, 64, seed=1).abs() > 1.6),
        "one column": values * (1 + 29.0 * (torch.arange(64) == 5)),
        "one row": values[:1, :32],
        "alike": torch.full((300, 64), 0.5),
    }[kind]
    codes = Rated(rate=rate).learn(values).code(values)
    plain = Uniform(bits=2 if rate == 2 else 4).learn(values).code(values)
    errors = [float((found.values() - values).square().sum()) for found in (codes, plain)]
    assert errors[0] <= max(2 * errors[1], 1e-3 * float(values.square().sum()))
    assert not codes.values()[values == 0].any()


def test_the_order_of_columns_is_no_matter() -> None:
    values = drawn(20_000, 16, seed=0) * 1.5 ** torch.arange(16)
    steps = [Rated(rate=3.0).learn(held).step for held in (values, values.flip(1))]
    assert steps[0] == pytest.approx(steps[1], rel=1e-3)


@pytest.mark.parametrize("kind", ["zeros", "none", "one", "spike"])
def test_any_table_has_codes(kind: str) -> None:
    values = {
        "zeros": torch.zeros(5, 8),
        "none": torch.zeros(0, 8),
        "one": torch.full((1, 1), 0.3),
        "spike": drawn(50, 8, seed=0).index_fill(0, torch.tensor([3]), 1e6),
    }[kind]
    codes = Rated(rate=2.0).learn(values).code(values)
    assert torch.isfinite(codes.values()).all()
    assert not codes.values()[values == 0].any()


def test_steps_of_rows_follow_their_spread_and_reach_the_largest_value() -> None:
    values = drawn(40, 500, seed=0) * torch.arange(1, 41)[:, None]
    values[7, 7] = 1e4
    steps = row_steps(values, 4.0, 63)
    assert steps[7] == pytest.approx(1e4 / 63)
    others = torch.arange(40) != 7
    spread = values.std(1, correction=0)
    assert float((steps / spread)[others].std()) < 1e-5
    assert entropy((values / steps[:, None]).round()[others]) == pytest.approx(4.0, abs=0.1)


def test_errors_are_left_where_they_are_felt_least() -> None:
    values, basis = drawn(3000, 32, seed=0), torch.linalg.qr(drawn(32, 32, seed=1))[0].double()
    felt = basis @ torch.diag((2.0 ** -torch.arange(32).double()).clamp_min(1e-3)) @ basis.T
    plain = Rated(rate=2.2).learn(values).code(values)
    learned = Rated(rate=2.2, felt=felt).learn(values)
    codes = learned.code(values)
    assert entropy(codes.codes) == pytest.approx(2.2, abs=0.05)
    weighed, usual = (
        float(((one.values() - values).double() @ felt).mul(one.values() - values).sum()) for one in (codes, plain)
    )
    assert weighed < 0.5 * usual
    some = learned.code(values[40:50])
    assert torch.equal(some.codes, codes.codes[40:50]), "rows do not depend on one another"
    sparse = values * (values.abs() > 1)
    assert not learned.code(sparse).values()[sparse == 0].any()


@pytest.mark.parametrize("dim", [48, 300])  # in 300, columns are told of others in one product
@pytest.mark.parametrize("weighed", [False, True])
def test_blocks_of_rows_have_the_codes_that_all_have_at_once(
    dim: int, weighed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, feeling = drawn(2 * ROWS + 301, dim, seed=0), drawn(2 * dim, dim, seed=1).double()
    values[::40, 5] *= 9
    rate = Rated(rate=2.2, felt=feeling.T @ feeling if weighed else None)
    learned = rate.learn(values)
    codes, seen = learned.code(values).codes, list[int]()

    def watched(block: torch.Tensor, *told: Any) -> torch.Tensor:
        seen.append(len(block))
        return signed(block, *told)

    signed = rated._signed
    monkeypatch.setattr(rated, "_signed", watched)
    learned.code(values)
    assert max(seen) == ROWS
    monkeypatch.setattr(rated, "ROWS", len(values))
    assert rate.learn(values) == learned
    assert torch.equal(learned.code(values).codes, codes)
    assert seen[-1] == len(values)


def test_a_row_with_a_value_that_is_cut_off_is_rounded_plainly() -> None:
    values = drawn(3000, 32, seed=0)
    values[7, 3] = 50.0
    felt = torch.eye(32, dtype=torch.float64) + 0.9
    codes, plain = (Rated(rate=2.2, felt=one).learn(values) for one in (felt, None))
    assert codes.bits == 4
    row = replace(plain, step=codes.step, bits=4).code(values[7:8])
    assert plain.bits == 8, "without it none is cut off"
    assert torch.equal(codes.code(values).codes[7:8], row.codes)
