from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoprune import packing
from autoprune.packing import (
    BLOCK_ROWS,
    CLIP,
    FEW_QUERIES,
    PackedTable,
    StoredTable,
    pack,
    pack_codes,
    quantize_rows,
    unpack_codes,
)

BITS = [8, 4, 2, 1]
SEEDS = st.integers(0, 2**31)

# pattern → (rows, dim, share of values that stand); each takes the fewest bytes for its own
SHAPES = {"full": (40, 17, 1.0), "bitmask": (40, 24, 0.5), "columns": (40, 200, 0.02)}


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_mask(rows: int, dim: int, share: float, seed: int) -> Tensor:
    return torch.rand(rows, dim, generator=torch.Generator().manual_seed(seed)) < share


def loaded(stored: StoredTable) -> PackedTable:
    """What a process that reads the file holds."""
    return PackedTable.restore(json.loads(json.dumps(stored.entry)), stored.tensors)


def packed(values: Tensor, mask: Tensor | None, bits: int) -> tuple[StoredTable, Tensor]:
    """A packed table and the values it stands for."""
    if mask is not None:
        values = values * mask
    if bits == 32:
        return pack(values, mask=mask), values
    quantized = quantize_rows(values, bits, mask=mask)
    expected = quantized.values()
    return pack(values, mask=mask, quantized=quantized), expected if mask is None else expected * mask


@settings(deadline=None)
@given(st.sampled_from(BITS), st.lists(st.integers(0, 20), max_size=2), st.integers(0, 40), SEEDS)
def test_pack_round_trips(bits: int, outer: list[int], dim: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(2**bits, (*outer, dim), generator=generator, dtype=torch.uint8)
    stored = pack_codes(codes, bits)
    assert stored.shape == (*outer, -(-dim * bits // 8))
    assert torch.equal(unpack_codes(stored, bits, dim), codes)


def test_codes_stand_in_planes() -> None:
    # columns 0, 2, 4 in the low half of bytes 0, 1, 2 and columns 3, 4 in the high half of bytes 0, 1
    assert pack_codes(torch.tensor([1, 2, 3, 4, 5], dtype=torch.uint8), 4).tolist() == [0x41, 0x52, 0x03]


@settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 9), st.integers(1, 40), st.sampled_from([32, *BITS]), st.sampled_from([0.0, 0.1, 0.6, 1.0]), SEEDS
)
def test_any_table_decodes_to_its_masked_values(rows: int, dim: int, bits: int, share: float, seed: int) -> None:
    stored, expected = packed(drawn(rows, dim, seed=seed), random_mask(rows, dim, share, seed), bits)
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
    stored, expected = packed(drawn(rows, dim, seed=0), mask, bits)
    assert stored.entry["pattern"] == pattern
    table = loaded(stored)
    index = torch.tensor([7, 0, 7, rows - 1])
    torch.testing.assert_close(table.decode(index), expected[index], rtol=1e-5, atol=1e-6)
    assert table.decode(index[:0]).shape == (0, dim)
    for count in (1, FEW_QUERIES - 1, FEW_QUERIES, 20):
        queries = drawn(count, dim, seed=count)
        torch.testing.assert_close(table.scores(queries), queries @ expected.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("queries", [1, 3])
def test_scores_go_over_every_block(bits: int, queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "BLOCK_VALUES", 100 * 6)  # single queries in 41 + 1 blocks
    rows = 2 * BLOCK_ROWS + 5
    stored, expected = packed(drawn(rows, 6, seed=0), None, bits)
    asked = drawn(queries, 6, seed=1)
    torch.testing.assert_close(loaded(stored).scores(asked), asked @ expected.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_pruned_zeros_are_exact(bits: int) -> None:
    # all values far from zero, so that zero is none of a row's codes
    mask = random_mask(30, 16, 0.5, seed=2)
    stored, _ = packed(drawn(30, 16, seed=0).abs() + 5, mask, bits)
    decoded = loaded(stored).decode(torch.arange(30))
    assert torch.equal(decoded != 0, mask)


def test_a_table_with_few_zeros_is_stored_in_full() -> None:
    mask = torch.ones(4, 9, dtype=torch.bool)
    mask[2, 3] = False
    stored, expected = packed(drawn(4, 9, seed=0), mask, 32)
    assert stored.entry["pattern"] == "full"
    assert torch.equal(loaded(stored).decode(torch.arange(4)), expected)


@pytest.mark.parametrize("dim", [255, 256, 257, 40_000])
def test_columns_of_wide_tables_are_found(dim: int) -> None:
    mask = torch.zeros(3, dim, dtype=torch.bool)
    mask[0, [0, dim - 1]] = mask[2, dim // 2] = True
    stored, expected = packed(drawn(3, dim, seed=0), mask, 32)
    assert stored.entry["pattern"] == "columns"
    assert torch.equal(loaded(stored).decode(torch.arange(3)), expected)


def test_a_full_row_of_256_columns_is_counted() -> None:
    mask = torch.zeros(40, 256, dtype=torch.bool)
    mask[1] = True
    stored, expected = packed(drawn(40, 256, seed=0), mask, 32)
    assert stored.entry["pattern"] == "columns"
    assert torch.equal(loaded(stored).decode(torch.arange(40)), expected)


def test_bytes_match_a_count_by_hand() -> None:
    stored, _ = packed(drawn(10, 16, seed=0), None, 4)
    assert stored.size_bytes == 10 * 8 + 2 * 10 * 2 + 4  # codes; scale and offset in float16; the unit
    assert loaded(stored).memory_bytes == 10 * 8 + 2 * 10 * 4  # the two in float32


def test_a_table_goes_to_a_device_whole() -> None:
    stored, _ = packed(drawn(10, 16, seed=0), random_mask(10, 16, 0.5, seed=0), 8)
    moved = loaded(stored).to("meta")
    assert {tensor.device.type for tensor in moved.tensors.values()} == {"meta"}
    assert moved.describe() == stored.entry


def test_quantize_rows_matches_fbgemm() -> None:
    values = drawn(50, 33, seed=0) * drawn(50, 1, seed=1).exp() + drawn(50, 1, seed=2)
    found = quantize_rows(values, 8, clip=(1.0,))
    theirs = torch.ops.quantized.embedding_bag_byte_prepack(values)
    scale, offset = theirs[:, -8:].contiguous().view(torch.float32).T
    half = 2.0**-11  # relative error of a float16
    torch.testing.assert_close(found.offset.float() * found.unit, offset, rtol=half, atol=1e-7 * found.unit)
    # the scale is taken from the rounded offset, so it bears the rounding of both
    slack = half * (scale + offset.abs() / 255) + 1e-7 * found.unit
    assert ((found.scale.float() * found.unit - scale).abs() <= slack).all()
    off = (found.codes.int() - theirs[:, :-8].int()).abs()
    assert off.max() <= 1
    unpacked = torch.ops.quantized.embedding_bag_byte_unpack(theirs)
    wrong = (found.values() - unpacked).abs()
    assert (wrong <= (1 + 255 * half) * scale[:, None] + half * offset.abs()[:, None]).all()


@pytest.mark.parametrize("bits", BITS)
def test_plain_ranges_round_to_the_nearest_code(bits: int) -> None:
    values = drawn(20, 30, seed=0)
    step = (values.amax(1) - values.amin(1)) / (2**bits - 1)
    wrong = (quantize_rows(values, bits, clip=(1.0,)).values() - values).abs()
    assert (wrong <= 0.51 * step[:, None] + 2**-9).all()


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(BITS), SEEDS, st.booleans())
def test_shrunk_ranges_never_cost_precision(bits: int, seed: int, masked: bool) -> None:
    mask = random_mask(8, 24, 0.5, seed) if masked else torch.ones(8, 24, dtype=torch.bool)
    values = drawn(8, 24, seed=seed) ** 3 * mask  # heavy tails

    def error(clip: tuple[float, ...]) -> Tensor:
        found = quantize_rows(values, bits, mask=mask, clip=clip).values()
        return ((found - values) * mask).square().sum(1)

    assert (error(CLIP) <= error((1.0,)) * (1 + 1e-5)).all()


def test_shrunk_ranges_help_where_one_value_stands_out() -> None:
    values = drawn(8, 64, seed=0).clamp(-1, 1)
    values[:, 0] = 2.0
    errors = [(quantize_rows(values, 2, clip=clip).values() - values).square().sum(1) for clip in (CLIP, (1.0,))]
    assert (errors[0] < errors[1]).all()


@pytest.mark.parametrize("bits", BITS)
def test_masked_values_do_not_widen_the_range(bits: int) -> None:
    # one value stands in each row: a range of one point, whatever zeros lie beside it
    mask = torch.eye(5, dtype=torch.bool)
    values = torch.diag(torch.tensor([1.0, -2.0, 3.0, 0.5, -4.0]))
    decoded = quantize_rows(values, bits, mask=mask).values()
    torch.testing.assert_close(decoded.diagonal(), values.diagonal())


@pytest.mark.parametrize("mask", [None, torch.zeros(3, 4, dtype=torch.bool)])
def test_tables_of_nothing_but_zeros_stay_zero(mask: Tensor | None) -> None:
    found = quantize_rows(torch.zeros(3, 4), 4, mask=mask)
    assert torch.equal(found.values(), torch.zeros(3, 4))


def test_quantised_values_do_not_depend_on_the_unit() -> None:
    values = drawn(6, 10, seed=0)
    one, other = quantize_rows(values, 4), quantize_rows(values * 2**20, 4)
    assert torch.equal(one.codes, other.codes)
    assert torch.equal(one.values() * 2**20, other.values())
