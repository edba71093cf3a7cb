"""Entropy-coded files: the same answers in fewer bytes, near the entropy of codes, and damage that is found."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from test_artifact import flip_a_bit
from test_fuzz import reseal
from test_packing import drawn

import autoprune
from autoprune.artifacts import artifact, tensor_file
from autoprune.artifacts.served import Parts
from autoprune.errors import AutopruneError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.packing import columns, squeezed
from autoprune.packing.bits import LEVELS, pack_codes
from autoprune.packing.columns import squeeze_columns, widen_columns
from autoprune.packing.normal import Normal
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.recommender.task import RecommenderTask
from autoprune.vectors.config import VectorsConfig
from autoprune.vectors.make import make_vectors
from autoprune.vectors.served import VectorIndex

TENSORS = "model/tensors.safetensors"


@pytest.fixture
def parts(task: RecommenderTask, dense: Model) -> Parts:
    return dataclasses.replace(task.parts(dense), entropy=True)


@pytest.fixture
def folder(parts: Parts, tmp_path: Path) -> Path:
    artifact.save(parts, tmp_path / "a", provenance={})
    return tmp_path / "a"


@pytest.mark.parametrize(("bits", "slack"), [(4, 1.01), (3, 1.04), (2, 1.015), (1.6, 1.03)])
def test_codes_take_little_more_than_their_entropy(bits: float, slack: float) -> None:
    values = drawn(4000, 64, seed=0)
    codes = Normal(bits=bits, search=False).learn(values).code(values).codes
    share = torch.bincount(codes.flatten(), minlength=LEVELS[bits]) / codes.numel()
    entropy = float(-(share * share.log2()).sum()) * codes.numel() / 8
    packed = pack_codes(codes, bits).numpy().tobytes()
    assert entropy < len(squeezed.squeeze(packed)) < min(slack * entropy, len(packed))


def test_a_squeezed_artifact_is_smaller_and_answers_the_same(parts: Parts, folder: Path, tmp_path: Path) -> None:
    plain = dataclasses.replace(parts, entropy=False)
    assert sorted(path.name for path in (folder / "model").iterdir()) == ["manifest.json", "tensors.safetensors.zst"]
    assert artifact.size_bytes(folder) == artifact.weighed(parts) < artifact.weighed(plain)
    held = artifact.read(folder)
    assert held.entropy
    assert held.tensors.keys() == plain.tensors.keys()
    assert all(np.array_equal(held.tensors[name], plain.tensors[name]) for name in held.tensors)
    artifact.save(held, tmp_path / "again", provenance={})
    assert (tmp_path / "again" / f"{TENSORS}.zst").read_bytes() == (folder / f"{TENSORS}.zst").read_bytes()


@pytest.mark.parametrize("too_many", [False, True])
def test_a_large_file_is_squeezed_unless_nobody_would_believe_it(
    parts: Parts, folder: Path, tmp_path: Path, too_many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate would take eight bits in it, and what is large beside the codes changes nothing of that."""
    monkeypatch.setattr(tensor_file, "LARGE", 1000)
    monkeypatch.setattr(squeezed, "MOST", 1000 if too_many else squeezed.MOST)
    artifact.save(parts, tmp_path / "b", provenance={})
    assert (tmp_path / "b" / TENSORS).exists() is too_many
    assert artifact.size_bytes(tmp_path / "b") == artifact.weighed(parts)
    if not too_many:
        assert artifact.size_bytes(tmp_path / "b") == artifact.size_bytes(folder)
    held = artifact.read(tmp_path / "b").tensors
    assert all(np.array_equal(held[name], one) for name, one in parts.tensors.items())


def test_a_large_file_of_what_is_made_while_it_is_written_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be larger than memory, and is mapped."""
    task = make_vectors(VectorsConfig(vectors=str(write_long_items(tmp_path))))
    recipe = plan({"encode": {"quantize": {"bits": 8, "entropy": True}}}, base_defaults={}, runtimes=task.runtimes)
    made = task.parts(run(recipe, task, Context(), trainer=Trainer(task.training)))
    assert made.blocks
    monkeypatch.setattr(tensor_file, "LARGE", 1000)
    artifact.save(made, tmp_path / "a", provenance={})
    assert (tmp_path / "a" / TENSORS).stat().st_size > 1000
    assert artifact.size_bytes(tmp_path / "a") == artifact.weighed(made)


def test_a_flipped_bit_is_found_and_named_whether_or_not_its_sum_tells(folder: Path) -> None:
    file = folder / f"{TENSORS}.zst"
    flip_a_bit(file)
    with pytest.raises(AutopruneError, match=r"tensors\.safetensors\.zst: its SHA-256 is not the recorded one"):
        autoprune.load(folder)
    reseal(folder, file)
    with pytest.raises(AutopruneError, match=r"tensors\.safetensors\.zst: the entropy-coded file is damaged"):
        autoprune.load(folder)


def test_a_file_that_says_it_is_huge_is_not_widened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zst").write_bytes(squeezed.squeeze(bytes(2000)))
    monkeypatch.setattr(squeezed, "MOST", 1999)
    with pytest.raises(AutopruneError, match=r"a\.zst: at most 1,999 bytes are entropy-coded, but it says 2000"):
        squeezed.widen(tmp_path / "a.zst")


def drawn_file(draw: np.random.Generator, shapes: list[tuple[int, int]]) -> bytes:
    """A file of safetensors: tables of codes of unlike columns, and what else there may be."""
    tables = {}
    for number, shape in enumerate(shapes):
        spread = draw.choice([0, 1, 2, 5, 12, 100, 256], size=shape[1])
        low = draw.integers(0, 257 - np.maximum(spread, 1))
        tables[f"{number}.codes"] = (low + draw.integers(0, np.maximum(spread, 1), size=shape)).astype(np.uint8)
    others = {"scale": draw.normal(size=7).astype(np.float16), "flat": np.arange(9, dtype=np.uint8)}
    return save({**tables, **others})


@given(
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 9)), max_size=3),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 40, 4096]),
)
@settings(deadline=None, max_examples=60)
def test_columns_come_back_as_they_were(shapes: list[tuple[int, int]], seed: int, frame: int) -> None:
    content = drawn_file(np.random.default_rng(seed), shapes)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(columns, "FRAME", frame)
        held = Path(folder, "a")
        held.write_bytes(squeeze_columns(content))
        assert widen_columns(held) == content


@pytest.mark.parametrize("rows", [3000, 40_000])
def test_a_column_takes_little_more_than_its_own_entropy(rows: int) -> None:
    draw = np.random.default_rng(0)
    codes = (draw.normal(size=(rows, 64)) * np.geomspace(12, 0.1, 64)).round() + 128
    content = save({"codes": codes.astype(np.uint8)})
    own = [np.unique(column, return_counts=True)[1] / rows for column in codes.T]
    entropy = sum(-float((share * np.log2(share)).sum()) for share in own) * rows / 8
    taken = len(squeeze_columns(content))
    assert entropy < taken < (1.15 if rows == 3000 else 1.07) * entropy
    assert taken < 0.87 * len(squeezed.squeeze(content)), "by rows they take what all of them have in common"


@pytest.fixture(scope="module")
def by_columns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose columns are coded by themselves."""
    task = make_vectors(VectorsConfig(vectors=str(write_long_items(tmp_path_factory.mktemp("items")))))
    cut, encode = {"dims": {"sparsity": 0.1, "importance": "pca"}}, {"quantize": {"bits": 3.5, "entropy": True}}
    recipe = plan({"cut": cut, "encode": encode}, base_defaults={}, runtimes=task.runtimes)
    model = run(recipe, task, Context(), trainer=Trainer(task.training))
    folder = tmp_path_factory.mktemp("made") / "a"
    artifact.save(task.parts(model), folder, provenance={})
    return folder


def test_an_artifact_takes_the_way_that_is_smallest(by_columns: Path, tmp_path: Path) -> None:
    name = f"{TENSORS}{columns.COLUMNS}"
    assert sorted(path.name for path in (by_columns / "model").iterdir()) == ["manifest.json", Path(name).name]
    assert json.loads((by_columns / "artifact.json").read_text())["format"] == artifact.NEWEST
    parts = artifact.read(by_columns)
    plain = tmp_path / "plain"
    artifact.save(dataclasses.replace(parts, entropy=False), plain, provenance={})
    assert json.loads((plain / "artifact.json").read_text())["format"] == artifact.FORMAT
    one, other = (autoprune.load(folder) for folder in (by_columns, plain))
    assert isinstance(one, VectorIndex)
    assert isinstance(other, VectorIndex)
    assert one.most_similar(one.ids[3], k=5) == other.most_similar(one.ids[3], k=5)
    whole = (plain / TENSORS).read_bytes()
    assert artifact.size_bytes(by_columns) == artifact.weighed(parts)
    assert (by_columns / name).stat().st_size < 0.95 * len(squeezed.squeeze(whole))


@pytest.mark.parametrize("place", [0.001, 0.2, 0.5, 0.9, 1.0])
def test_damage_to_columns_is_found_and_named(by_columns: Path, tmp_path: Path, place: float) -> None:
    shutil.copytree(by_columns, tmp_path / "a")
    file = tmp_path / "a" / f"{TENSORS}{columns.COLUMNS}"
    content = bytearray(file.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    file.write_bytes(content)
    reseal(tmp_path / "a", file)
    with pytest.raises(AutopruneError, match=r"columns\.zst: (the entropy-coded file is damaged|at most)"):
        autoprune.load(tmp_path / "a")


@pytest.mark.parametrize("harm", ["cut short", "longer", "other frames"])
def test_columns_that_do_not_fit_their_header_are_refused(by_columns: Path, tmp_path: Path, harm: str) -> None:
    whole = (by_columns / f"{TENSORS}{columns.COLUMNS}").read_bytes()
    first = whole[: squeezed.zstd.get_frame_size(whole)]
    other = {"cut short": first, "longer": whole + first, "other frames": first + first}[harm]
    (tmp_path / "a").write_bytes(other)
    with pytest.raises(AutopruneError, match="a: the entropy-coded file is damaged"):
        widen_columns(tmp_path / "a")


def test_columns_that_say_they_are_huge_are_not_widened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(squeeze_columns(save({"codes": np.zeros((2000, 3), np.uint8)})))
    monkeypatch.setattr(squeezed, "MOST", 5999)
    with pytest.raises(AutopruneError, match=r"^\S+a: at most 5,999 bytes are entropy-coded, but it says 6000; make"):
        widen_columns(tmp_path / "a")


@pytest.mark.parametrize(
    "tables",
    [
        {"a": ([2, 3], [0, 2**70])},
        {"a": ([2, 3], [-6, 0])},
        {"a": ([2**36, 64], [0, 2**42])},
        {"a": ([2**36, 64], [0, 2**42]), "b": ([1, (2**36 - 2) * 64 - 100], [2**42, 2**43 - 228])},
        {"a": ([2, 3], [0, 6]), "b": ([2, 3], [3, 9])},
        {"a": ([2, -3], [0, -6])},
        {"a": ([True, 3], [0, 3]), "b": ([2, 3], ["x", "y"])},
    ],
)
def test_headers_that_cannot_be_are_refused(tables: dict[str, Any], tmp_path: Path) -> None:
    header = {name: {"dtype": "U8", "shape": shape, "data_offsets": at} for name, (shape, at) in tables.items()}
    written = json.dumps(header).encode()
    content = len(written).to_bytes(8, "little") + written + bytes(40)
    (tmp_path / "a").write_bytes(squeezed.squeeze(content) + squeezed.squeeze(bytes(6)))
    with pytest.raises(AutopruneError, match=r"a: (the entropy-coded file is damaged|at most)"):
        widen_columns(tmp_path / "a")


def test_widths_that_codes_cannot_have_are_refused(tmp_path: Path) -> None:
    whole = squeeze_columns(save({"codes": np.arange(200, dtype=np.uint8).reshape(100, 2) % 6}))
    end = squeezed.zstd.get_frame_size(whole)
    first = bytearray(squeezed.zstd.decompress(whole[:end]))
    assert first[-1] == 4
    first[-1] = 3
    (tmp_path / "a").write_bytes(squeezed.squeeze(bytes(first)) + whole[end:])
    with pytest.raises(AutopruneError, match="columns have codes of 0, 1, 2, 4, 8 bits"):
        widen_columns(tmp_path / "a")


def write_long_items(folder: Path) -> Path:
    """Writes 4,000 vectors of which some directions are strong and most are weak, and no column shows it."""
    draw = np.random.default_rng(0)
    turn = np.linalg.qr(draw.normal(size=(48, 48)))[0]
    np.save(folder / "items.npy", (draw.normal(size=(4000, 48)) * np.geomspace(4, 0.1, 48) @ turn).astype(np.float32))
    return folder / "items.npy"
