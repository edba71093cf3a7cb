from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoprune.packing import PackedTable, packed, restore
from autoprune.packing import rows as rows_of_one_width
from autoprune.packing.bits import LEVELS, pack_codes, packed_width, unpack_codes
from autoprune.packing.codes import SHARES, RowCodes, best_shares, quantize_rows
from autoprune.packing.packed import BLOCK_ROWS, StoredTable
from autoprune.packing.rows import FEW_QUERIES, widened
from autoprune.packing.writing import pack

BITS = [8, 4, 3, 2, 1]
SEEDS = st.integers(0, 2**31)

# pattern → (rows, dim, share of values that stand); each takes the fewest bytes for its own
SHAPES = {"full": (40, 17, 1.0), "bitmask": (40, 24, 0.5), "columns": (40, 200, 0.02)}


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_mask(rows: int, dim: int, share: float, seed: int) -> Tensor:
    return torch.rand(rows, dim, generator=torch.Generator().manual_seed(seed)) < share


class InBoth:
    """A table that answers in numpy and in torch, which agree; what it is asked with and gives is torch's."""

    def __init__(self, table: PackedTable) -> None:
        self.table, self.twin = table, table.to("cpu")

    def decode(self, index: Tensor) -> Tensor:
        ours, theirs = self.table.decode(index.numpy()), self.twin.decode(index)
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs.numpy())
        return theirs

    def scores(self, queries: Tensor) -> Tensor:
        ours, theirs = self.table.scores(queries.numpy()), self.twin.scores(queries)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)
        return theirs


def restored(stored: StoredTable) -> PackedTable:
    """What a process that reads the file holds."""
    return restore(json.loads(json.dumps(stored.entry)), stored.tensors)


def loaded(stored: StoredTable) -> InBoth:
    return InBoth(restored(stored))


def coded(
    values: Tensor, bits: int | Tensor, *, mask: Tensor | None = None, shares: float | Tensor | None = None
) -> RowCodes:
    """The codes of a table; of the best shares where none is given."""
    widths = torch.full((len(values),), bits, dtype=torch.uint8) if isinstance(bits, int) else bits
    if shares is None:
        shares = best_shares(values, widths, mask=mask)
    elif isinstance(shares, float):
        shares = torch.full((len(values),), shares)
    return quantize_rows(values, widths, shares, mask=mask)


def stored_and_expected(values: Tensor, mask: Tensor | None, bits: int) -> tuple[StoredTable, Tensor]:
    """A packed table and the values it stands for."""
    if mask is not None:
        values = values * mask
    if bits == 32:
        return pack(values, mask=mask), values
    codes = coded(values, bits, mask=mask)
    expected = codes.values()
    return pack(values, mask=mask, coded=codes), expected if mask is None else expected * mask


@settings(deadline=None)
@given(st.sampled_from(list(LEVELS)), st.lists(st.integers(0, 20), max_size=2), st.integers(0, 40), SEEDS)
def test_pack_round_trips(bits: float, outer: list[int], dim: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(LEVELS[bits], (*outer, dim), generator=generator, dtype=torch.uint8)
    stored = pack_codes(codes, bits)
    assert stored.shape == (*outer, packed_width(dim, bits))
    assert torch.equal(unpack_codes(stored, bits, dim), codes)
    assert np.array_equal(pack_codes(codes.numpy(), bits), stored.numpy())
    assert np.array_equal(unpack_codes(stored.numpy(), bits, dim), codes.numpy())


def test_codes_stand_in_planes() -> None:
    # columns 0, 2, 4 in the low half of bytes 0, 1, 2 and columns 3, 4 in the high half of bytes 0, 1
    codes = torch.tensor([1, 2, 3, 4, 5], dtype=torch.uint8)
    assert pack_codes(codes, 4).tolist() == [0x41, 0x52, 0x03]
    # 2, 1, 0, 0, 1 from the middle, two columns a byte; then above the middle or not
    assert pack_codes(codes, 3).tolist() == [18, 1, 24]
    assert pack_codes(torch.tensor([2, 1, 0, 0, 1, 2, 2], dtype=torch.uint8), 1.6).tolist() == [65, 19]
    for bits, dim, width in ((3, 64, 24), (3, 20, 8), (1.6, 64, 13), (1.6, 5, 1)):
        assert packed_width(dim, bits) == width


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 9), st.integers(1, 40), st.sampled_from([32, *BITS]), st.sampled_from([0.0, 0.1, 0.6, 1.0]), SEEDS
)
def test_any_table_decodes_to_its_masked_values(rows: int, dim: int, bits: int, share: float, seed: int) -> None:
    stored, expected = stored_and_expected(drawn(rows, dim, seed=seed), random_mask(rows, dim, share, seed), bits)
    table = loaded(stored)
    torch.testing.assert_close(table.decode(torch.arange(rows)), expected, rtol=1e-5, atol=1e-6)
    for count in (1, FEW_QUERIES):
        queries = drawn(count, dim, seed=seed + 1)
        torch.testing.assert_close(table.scores(queries), queries @ expected.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [32, *BITS])
@pytest.mark.parametrize("pattern", SHAPES)
def test_every_pattern_decodes_and_scores_as_the_dense_table(pattern: str, bits: int) -> None:
    rows, dim, share = SHAPES[pattern]
    mask = None if share == 1 else random_mask(rows, dim, share, seed=1)
    stored, expected = stored_and_expected(drawn(rows, dim, seed=0), mask, bits)
    assert stored.entry["pattern"] == pattern
    table = loaded(stored)
    index = torch.tensor([7, 0, 7, rows - 1])
    torch.testing.assert_close(table.decode(index), expected[index], rtol=1e-5, atol=1e-6)
    assert table.decode(index[:0]).shape == (0, dim)
    for count in (1, FEW_QUERIES - 1, FEW_QUERIES, dim, dim + 1):
        queries = drawn(count, dim, seed=count)
        torch.testing.assert_close(table.scores(queries), queries @ expected.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [32, *BITS])
@pytest.mark.parametrize("pattern", SHAPES)
def test_a_widened_table_is_the_same_table(pattern: str, bits: int) -> None:
    rows, dim, share = SHAPES[pattern]
    stored, _ = stored_and_expected(
        drawn(rows, dim, seed=0), None if share == 1 else random_mask(rows, dim, share, seed=1), bits
    )
    table = restored(stored)
    wide, index = widened(table, None), np.arange(rows)
    assert (wide.pattern, wide.bits, wide.memory_bytes) == ("full", 32, 4 * rows * dim)
    np.testing.assert_array_equal(wide.decode(index), table.decode(index))
    assert widened(table, "memory") is table


def test_large_tables_are_widened_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, _ = stored_and_expected(drawn(10, 16, seed=0), None, 4)
    table = restored(stored)
    monkeypatch.setattr(rows_of_one_width, "WIDENED", 10 * 16 - 1)
    assert widened(table, None) is table
    assert widened(table, "latency").bits == 32


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("queries", [1, 3, 7])  # of 6 dimensions
def test_scores_go_over_every_block(bits: int, queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "BLOCK_VALUES", 100 * 6)  # single queries in 41 + 1 blocks
    rows = 2 * BLOCK_ROWS + 5
    stored, expected = stored_and_expected(drawn(rows, 6, seed=0), None, bits)
    asked = drawn(queries, 6, seed=1)
    torch.testing.assert_close(loaded(stored).scores(asked), asked @ expected.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_pruned_zeros_are_exact(bits: int) -> None:
    # all values far from zero, so that zero is none of a row's codes
    mask = random_mask(30, 16, 0.5, seed=2)
    stored, _ = stored_and_expected(drawn(30, 16, seed=0).abs() + 5, mask, bits)
    decoded = loaded(stored).decode(torch.arange(30))
    assert torch.equal(decoded != 0, mask)


def test_a_table_with_few_zeros_is_stored_in_full() -> None:
    mask = torch.ones(4, 9, dtype=torch.bool)
    mask[2, 3] = False
    stored, expected = stored_and_expected(drawn(4, 9, seed=0), mask, 32)
    assert stored.entry["pattern"] == "full"
    assert torch.equal(loaded(stored).decode(torch.arange(4)), expected)


@pytest.mark.parametrize("dim", [255, 256, 257, 40_000])
def test_columns_of_wide_tables_are_found(dim: int) -> None:
    mask = torch.zeros(3, dim, dtype=torch.bool)
    mask[0, [0, dim - 1]] = mask[2, dim // 2] = True
    stored, expected = stored_and_expected(drawn(3, dim, seed=0), mask, 32)
    assert stored.entry["pattern"] == "columns"
    assert torch.equal(loaded(stored).decode(torch.arange(3)), expected)


def test_a_full_row_of_256_columns_is_counted() -> None:
    mask = torch.zeros(40, 256, dtype=torch.bool)
    mask[1] = True
    stored, expected = stored_and_expected(drawn(40, 256, seed=0), mask, 32)
    assert stored.entry["pattern"] == "columns"
    assert torch.equal(loaded(stored).decode(torch.arange(40)), expected)


def test_bytes_match_a_count_by_hand() -> None:
    stored, _ = stored_and_expected(drawn(10, 16, seed=0), None, 4)
    assert stored.size_bytes == 10 * 8 + 2 * 10 * 2 + 4  # codes; scale and offset in float16; the unit
    assert restored(stored).memory_bytes == 10 * 8 + 2 * 10 * 4  # the two in float32


def test_a_table_goes_to_a_device_whole() -> None:
    stored, _ = stored_and_expected(drawn(10, 16, seed=0), random_mask(10, 16, 0.5, seed=0), 8)
    moved = restored(stored).to("meta")
    assert {tensor.device.type for tensor in moved.tensors.values()} == {"meta"}
    assert (moved.rows, moved.dim, moved.pattern) == (10, 16, stored.entry["pattern"])


def test_quantize_rows_matches_fbgemm() -> None:
    values = drawn(50, 33, seed=0) * drawn(50, 1, seed=1).exp() + drawn(50, 1, seed=2)
    found = coded(values, 8)
    theirs = torch.ops.quantized.embedding_bag_byte_prepack(values)
    scale, offset = theirs[:, -8:].contiguous().view(torch.float32).T
    half = 2.0**-11  # relative error of a float16
    torch.testing.assert_close(
        found.offset.float() * found.unit, offset, rtol=half, atol=1e-7 * float(values.abs().max())
    )
    # the scale is taken from the rounded offset, so it bears the rounding of both
    slack = half * (scale + offset.abs() / 255) + 1e-7 * float(values.abs().max())
    assert ((found.scale.float() * found.unit - scale).abs() <= slack).all()
    off = (found.codes.int() - theirs[:, :-8].int()).abs()
    assert off.max() <= 1
    unpacked = torch.ops.quantized.embedding_bag_byte_unpack(theirs)
    wrong = (found.values() - unpacked).abs()
    assert (wrong <= (1 + 255 * half) * scale[:, None] + half * offset.abs()[:, None]).all()


LEVEL_ERROR = 2.0**-11
"""The relative error of a number as float16 holds it."""


def levels_by_hand(row: np.ndarray, bits: int, share: float) -> tuple[float, float]:
    """The lowest level and the distance between levels, in float64."""
    if bits == 1:
        deviation = np.abs(row - row.mean()).mean()
        return row.mean() - deviation, 2 * deviation
    middle, half = (row.max() + row.min()) / 2, (row.max() - row.min()) / 2 * share
    return middle - half, 2 * half / (2**bits - 1)


def plain_by_hand(row: np.ndarray, bits: int, share: float) -> np.ndarray:
    """A row as its codes have it before it is stretched, in float64."""
    low, step = levels_by_hand(row, bits, share)
    codes = np.clip(np.round((row - low) / step), 0, 2**bits - 1) if step > 0 else np.zeros_like(row)
    return low + codes * step


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("share", [1.0, 0.72])  # a share at which the ends of a row lie between codes compares nothing
def test_codes_match_a_count_by_hand(bits: int, share: float) -> None:
    """Levels and codes in float64; then the row's own length, below 8 bits."""
    values = drawn(80, 12, seed=0) * drawn(80, 1, seed=1).exp()
    found = coded(values, bits, shares=share).values().double().numpy()
    compared = 0
    for row, mine in zip(values.double().numpy(), found, strict=True):
        expected = plain_by_hand(row, bits, share)
        low, step = levels_by_hand(row, bits, share)
        # float16 holds the two ends, rounded once, and once more where a row is stretched
        slack = (1.01 if bits == 8 else 4) * LEVEL_ERROR * (abs(low) + step * 2**bits)
        clear = np.abs((row - low) / step % 1 - 0.5) > slack / step  # on the border of two codes either will do
        if bits == 8:
            assert (np.abs(mine - expected) <= slack + step).all()
            assert (np.abs(mine - expected)[clear] <= slack).all()
            compared += int(clear.sum()) > 6
        elif clear.all():
            expected *= np.linalg.norm(row) / np.linalg.norm(expected)
            assert (np.abs(mine - expected) <= slack).all()
            compared += 1
    assert compared > 10


def test_one_bit_is_the_mean_plus_and_minus_the_mean_deviation() -> None:
    # mean 2, mean deviation 1.5: levels 0.5 and 3.5, whose length 5 becomes sqrt(0 + 1 + 9 + 16)
    found = coded(torch.tensor([[0.0, 1.0, 3.0, 4.0]]), 1)
    assert found.codes.tolist() == [[0, 0, 1, 1]]
    expected = torch.tensor([[0.5, 0.5, 3.5, 3.5]]) * 26**0.5 / 5
    torch.testing.assert_close(found.values(), expected, rtol=2 * LEVEL_ERROR, atol=1e-6)


def test_two_bits_are_four_levels_over_the_range() -> None:
    found = coded(torch.tensor([[0.0, 1.0, 2.0, 3.0, 1.4]]), 2, shares=1.0)
    assert found.codes.tolist() == [[0, 1, 2, 3, 1]]
    plain = torch.tensor([[0.0, 1.0, 2.0, 3.0, 1.0]])
    expected = plain * ((14 + 1.4**2) / 15) ** 0.5
    torch.testing.assert_close(found.values(), expected, rtol=2 * LEVEL_ERROR, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([4, 2, 1]), SEEDS, st.booleans(), st.integers(1, 40))
def test_few_bits_keep_the_length_of_a_row_and_cost_little_for_it(bits: int, seed: int, masked: bool, dim: int) -> None:
    mask = random_mask(8, dim, 0.5, seed) if masked else torch.ones(8, dim, dtype=torch.bool)
    values = drawn(8, dim, seed=seed) ** 3 * mask
    shares = best_shares(values, torch.full((8,), bits, dtype=torch.uint8), mask=mask)
    found = coded(values, bits, mask=mask, shares=shares)
    stretched = (found.values() * mask).double().numpy()
    for at, row in enumerate(values.double().numpy()):
        kept = mask[at].numpy()
        if not kept.any():
            assert not stretched[at].any()
            continue
        plain = plain_by_hand(row[kept], bits, float(shares[at]))
        low, step = levels_by_hand(row[kept], bits, float(shares[at]))
        slack = 4 * LEVEL_ERROR * (abs(low) + step * 2**bits) * kept.sum() ** 0.5 + 1e-12
        slack += 2**-24 * found.unit * 2**bits * kept.sum() ** 0.5  # rows so small that float16 is subnormal
        length, before = np.linalg.norm(row), np.linalg.norm(plain)
        if not 0.51 * before < length < 1.96 * before:
            continue  # a row that rounding lost: not stretched
        ties = np.abs((row[kept] - low) / max(step, 1e-30) % 1 - 0.5) < 1e-2
        if not ties.any():
            assert abs(np.linalg.norm(stretched[at]) - length) <= slack
            cosine = row[kept] @ plain / (length * before)
            most = np.linalg.norm(plain - row[kept]) * np.sqrt(2 / (1 + cosine))
            assert np.linalg.norm(stretched[at] - row) <= most * (1 + 1e-9) + slack


def test_eight_bits_are_not_stretched() -> None:
    """Their length is right to a thousandth; rounding the ends once more would cost more than it brings."""
    values = drawn(50, 33, seed=0) + 5
    found = coded(values, 8)
    step = (values.amax(1) - values.amin(1))[:, None] / 255
    rounded_scale = 255 * step * LEVEL_ERROR
    assert ((found.values() - values).abs() <= 0.5 * step + rounded_scale + 1e-6).all()


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(BITS), SEEDS, st.sampled_from([1e-20, 1e-6, 1.0, 1e6, 1e19, 1e30, 1e36]))
def test_values_of_any_size_stay_finite_and_have_the_same_codes(bits: int, seed: int, size: float) -> None:
    values = drawn(6, 12, seed=seed)
    scale = 2.0 ** round(np.log2(size))
    one, other = coded(values, bits), coded(values * scale, bits)
    assert torch.isfinite(other.scale).all()
    assert torch.isfinite(other.offset).all()
    assert torch.equal(one.codes, other.codes)
    assert torch.equal(one.values() * scale, other.values())


@pytest.mark.parametrize("bits", BITS)
def test_small_rows_keep_their_digits_beside_a_large_one(bits: int) -> None:
    values = drawn(6, 16, seed=0)
    alone = coded(values, bits).values()
    beside = coded(torch.cat([values, drawn(1, 16, seed=1) * 1000]), bits).values()[:6]
    assert torch.equal(alone, beside)


@pytest.mark.parametrize("bits", BITS)
def test_rows_are_coded_alone_as_they_are_among_others(bits: int) -> None:
    """The loss sees some rows of a table, what ships has all of them."""
    values = drawn(30, 16, seed=0) * drawn(30, 1, seed=1).exp()
    some = torch.tensor([4, 9, 9, 20])
    assert torch.equal(coded(values[some], bits).values(), coded(values, bits).values()[some])


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.booleans())
def test_a_width_for_each_row_is_as_if_the_rows_were_coded_apart(seed: int, masked: bool) -> None:
    mask = random_mask(24, 10, 0.6, seed) if masked else None
    values = drawn(24, 10, seed=seed) if mask is None else drawn(24, 10, seed=seed) * mask
    bits = torch.tensor(BITS, dtype=torch.uint8)[torch.randint(5, (24,), generator=torch.Generator().manual_seed(seed))]
    together = coded(values, bits, mask=mask)
    for width in BITS:
        rows = bits == width
        if not rows.any():
            continue
        apart = coded(values[rows], width, mask=None if mask is None else mask[rows])
        assert torch.equal(together.codes[rows], apart.codes)
        assert torch.equal(together.values()[rows], apart.values())


@pytest.mark.parametrize("widths", [[8, 4], [1, 8, 2], [8, 4, 3, 1]])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.02])
def test_a_table_of_several_widths_decodes_and_scores_as_the_dense_table(widths: list[int], share: float) -> None:
    rows, dim = 300, 24  # more than 255 rows: places take two bytes
    mask = None if share == 1 else random_mask(rows, dim, share, seed=1)
    values = drawn(rows, dim, seed=0) if mask is None else drawn(rows, dim, seed=0) * mask
    drawn_widths = torch.randint(len(widths), (rows,), generator=torch.Generator().manual_seed(3))
    codes = coded(values, torch.tensor(widths, dtype=torch.uint8)[drawn_widths], mask=mask)
    expected = codes.values() if mask is None else codes.values() * mask
    stored = pack(values, mask=mask, coded=codes)
    assert stored.entry["pattern"] == "parts"
    assert sorted(part["bits"] for part in stored.entry["parts"]) == sorted(widths)
    table = loaded(stored)
    for index in (torch.arange(rows), torch.tensor([7, 0, 7, rows - 1]), torch.empty(0, dtype=torch.int64)):
        torch.testing.assert_close(table.decode(index), expected[index], rtol=1e-5, atol=1e-6)
    for count in (1, FEW_QUERIES, dim, dim + 1):
        queries = drawn(count, dim, seed=count)
        torch.testing.assert_close(table.scores(queries), queries @ expected.T, rtol=1e-4, atol=1e-4)
    moved = table.table.to("meta")
    assert moved.memory_bytes == table.table.memory_bytes


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([4, 2]), SEEDS, st.booleans())
def test_the_best_share_is_the_one_of_smallest_error(bits: int, seed: int, masked: bool) -> None:
    mask = random_mask(8, 24, 0.5, seed) if masked else torch.ones(8, 24, dtype=torch.bool)
    values = drawn(8, 24, seed=seed) ** 3 * mask  # heavy tails
    found = best_shares(values, torch.full((8,), bits, dtype=torch.uint8), mask=mask)
    for at, row in enumerate(values.double().numpy()):
        kept = row[mask[at].numpy()]
        if len(kept) == 0:
            assert found[at] == 1
            continue
        errors = {share: ((plain_by_hand(kept, bits, share) - kept) ** 2).sum() for share in SHARES}
        chosen = min(errors, key=lambda share: abs(share - float(found[at])))
        assert errors[chosen] <= min(errors.values()) * (1 + 1e-4) + 1e-12


@pytest.mark.parametrize("size", [1e-25, 1.0, 1e25])
def test_a_narrower_range_helps_where_one_value_stands_out(size: float) -> None:
    values = drawn(8, 64, seed=0).clamp(-1, 1)
    values[:, 0] = 2.0
    shares = best_shares(values * size, torch.full((8,), 2, dtype=torch.uint8))
    assert (shares < 1).all()
    for row, share in zip(values.double().numpy(), shares.tolist(), strict=True):
        narrow, wide = (((plain_by_hand(row, 2, part) - row) ** 2).sum() for part in (share, 1.0))
        assert narrow < wide


@pytest.mark.parametrize("bits", [8, 1])
def test_a_range_is_chosen_only_where_there_is_one_to_choose(bits: int) -> None:
    values = drawn(4, 32, seed=0) ** 5
    assert torch.equal(best_shares(values, torch.full((4,), bits, dtype=torch.uint8)), torch.ones(4))


@pytest.mark.parametrize("bits", BITS)
def test_rows_of_one_value_lose_nothing(bits: int) -> None:
    values = torch.tensor([0.5, -0.75, 3.0, 0.0, -1 / 1024])[:, None].expand(5, 7).contiguous()
    assert torch.equal(coded(values, bits).values(), values)
    assert torch.equal(loaded(pack(values, coded=coded(values, bits))).decode(torch.arange(5)), values)


@pytest.mark.parametrize("bits", BITS)
def test_masked_values_do_not_widen_the_range(bits: int) -> None:
    # one value stands in each row: a range of one point, whatever zeros lie beside it
    mask = torch.eye(5, dtype=torch.bool)
    values = torch.diag(torch.tensor([1.0, -2.0, 3.0, 0.5, -4.0]))
    decoded = coded(values, bits, mask=mask).values()
    torch.testing.assert_close(decoded.diagonal(), values.diagonal())


@pytest.mark.parametrize("mask", [None, torch.zeros(3, 4, dtype=torch.bool)])
def test_tables_of_nothing_but_zeros_stay_zero(mask: Tensor | None) -> None:
    found = coded(torch.zeros(3, 4), 4, mask=mask)
    assert torch.equal(found.values(), torch.zeros(3, 4))


def test_quantised_values_do_not_depend_on_the_unit() -> None:
    values = drawn(6, 10, seed=0)
    one, other = coded(values, 4), coded(values * 2**20, 4)
    assert torch.equal(one.codes, other.codes)
    assert torch.equal(one.values() * 2**20, other.values())
