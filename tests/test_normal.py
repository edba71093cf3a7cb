"""Codes at normal levels: their angle by brute force, length, bytes, and rows that are not normal at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_packing import drawn, loaded, restored

from autoprune.packing.bits import LEVELS, pack_codes, packed_width
from autoprune.packing.normal import APART, STRETCHES, Normal
from autoprune.packing.rows import FEW_QUERIES
from autoprune.packing.squeezed import squeeze
from autoprune.packing.writing import pack
from autoprune.steps.turning import random_rotation

NORMAL_ERROR = {4: 0.0092, 3: 0.034, 2: 0.116, 1.6: 0.188, 1: 0.362}
"""1 - cos² of 64 normal values and their codes; without a search by row .0107, .0355, .115, .185, .359."""


@pytest.mark.parametrize("bits", APART)
def test_codes_match_brute_force_and_answer_as_their_values(bits: float) -> None:
    values = drawn(60, 24, seed=0) * drawn(60, 1, seed=1).exp()
    codes = Normal(bits=bits).learn(values).code(values)
    middle = (LEVELS[bits] - 1) / 2
    for row, found in zip(values.double().numpy(), codes.codes.numpy(), strict=True):
        step = APART[bits] * np.linalg.norm(row) / len(row) ** 0.5
        tried = [np.clip(np.round(row / (step * stretch) + middle), 0, 2 * middle) - middle for stretch in STRETCHES]
        best = max(row @ levels / np.linalg.norm(levels) for levels in tried)
        assert row @ (found - middle) / np.linalg.norm(found - middle) == pytest.approx(best, rel=1e-5)
    stored = pack(values, coded=codes)
    assert stored.size_bytes == 60 * (packed_width(24, bits) + 1) + 8  # codes, a byte of scale; two float32
    table, every = loaded(stored), torch.arange(60)
    torch.testing.assert_close(table.decode(every), codes.values(), rtol=1e-5, atol=1e-6)
    for count in (1, FEW_QUERIES, 25):
        queries = drawn(count, 24, seed=2)
        torch.testing.assert_close(table.scores(queries), queries @ codes.values().T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", APART)
def test_turned_rows_have_the_error_of_a_normal_distribution_and_their_own_length(bits: float) -> None:
    spiky = drawn(400, 64, seed=0) ** 5 * drawn(400, 1, seed=1).exp()
    values = spiky @ random_rotation(64)
    found = Normal(bits=bits).learn(values).code(values).values()
    lengths = values.norm(dim=1)
    cosine = (values * found).sum(1) / (lengths * found.norm(dim=1))
    assert float((1 - cosine.square()).mean()) < NORMAL_ERROR[bits]
    inside = lengths > lengths.max() / 64
    assert ((found.norm(dim=1) / lengths)[inside] - 1).abs().max() < 0.012  # a step of a range of 64 times


@pytest.mark.parametrize("bits", APART)
@pytest.mark.parametrize("kind", ["zeros", "all_zeros", "constant", "one_column", "one_spike", "tiny", "large"])
def test_rows_that_are_not_normal_keep_their_length(kind: str, bits: float) -> None:
    values = drawn(9, 16, seed=0)
    values = {
        "zeros": values * (torch.arange(9) % 2)[:, None],
        "all_zeros": values * 0,
        "constant": torch.full((9, 16), -0.3),
        "one_column": values[:, :1].clamp(-2, 2),
        "one_spike": torch.eye(16)[:9] * 5,
        "tiny": values * 1e-15,
        "large": values * 1e15,
    }[kind]
    found = restored(pack(values, coded=Normal(bits=bits).learn(values).code(values))).decode(np.arange(9))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), values.norm(dim=1).numpy(), rtol=0.02)
    assert ((found * values.numpy()).sum(1) >= 0).all()


@pytest.mark.parametrize("rate", [1.5, 2.0, 2.7, 3.6])
def test_a_rate_is_what_codes_take_in_an_entropy_coded_file(rate: float) -> None:
    values = drawn(4000, 64, seed=0)
    coded = Normal(bits=rate).learn(values).code(values)
    bits = 8 * len(squeeze(pack_codes(coded.codes, coded.bits).numpy().tobytes())) / values.numel()
    assert rate * 0.99 < bits < rate * 1.04


@pytest.mark.parametrize(("rate", "bits"), [(2.8, 3), (1.85, 2), (1.5, 1.6)])
def test_at_the_same_bytes_a_rate_loses_less_than_the_levels_that_suit_a_width(rate: float, bits: float) -> None:
    values, found = drawn(4000, 64, seed=0), {}
    for width in (rate, bits):
        coded = Normal(bits=width).learn(values).code(values)
        size = len(squeeze(pack_codes(coded.codes, coded.bits).numpy().tobytes()))
        found[width] = size, float((coded.values() - values).square().mean())
    assert found[rate][0] < found[bits][0]
    assert found[rate][1] < found[bits][1]
