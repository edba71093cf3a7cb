"""A planned table is what a plain one becomes under the same steps, without a second copy of its rows."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn

import autoprune
from autoprune.artifacts import artifact, tensor_file
from autoprune.artifacts.served import Beside, Parts
from autoprune.errors import AutopruneError
from autoprune.models import planned
from autoprune.models.context import Context
from autoprune.models.table import Table
from autoprune.packing import blocks, restore
from autoprune.packing.arrays import norms, numpy_of, tensor_of
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run_stage
from autoprune.recipes.train import Trainer
from autoprune.tasks.task import Learning, Training
from autoprune.vectors.model import VectorTable
from autoprune.vectors.served import TABLE, VectorIndex

ROWS, WIDTH = 700, 24

CUT = {
    "rows": {"rows": {"sparsity": 0.3, "importance": "both"}},
    "dims": {"dims": {"sparsity": 0.25, "importance": "norm"}},
    "pca": {"dims": {"sparsity": 0.5, "importance": "pca"}},
    "activation": {"dims": {"sparsity": 0.5, "importance": "activation"}},
    "rows_pca": {"rows": {"sparsity": 0.4}, "dims": {"sparsity": 0.5, "importance": "pca"}},
}
CODED = {
    **{f"int{bits}": {"quantize": {"bits": bits}} for bits in (8, 4, 3, 2, 1)},
    **{f"normal{bits}": {"quantize": {"bits": bits, "levels": "normal"}} for bits in (4, 3, 1.6)},
    **{f"rate{bits}": {"quantize": {"bits": bits, "entropy": True}} for bits in (4.4, 2.4)},
    "mixed": {"mixed": {"head": 0.3, "head_bits": 8, "tail_bits": 2}},
    "product": {"product": {"width": 4, "entries": 16, "lengths": True}},
    "tiers": {"tiers": {"head": 0.2, "middle": 0.3, "width": 5, "entries": 12}},
    "all_head": {"tiers": {"head": 1.0, "head_bits": 4}},
}
RECIPES = {
    **{name: {"cut": one} for name, one in CUT.items()},
    **{name: {"encode": one} for name, one in CODED.items()},
    "spread": {"cut": CUT["pca"], "encode": CODED["int4"]},
    "spread_tiers": {"cut": CUT["rows_pca"], "encode": CODED["tiers"]},
    "spread_normal": {
        "cut": CUT["rows_pca"],
        "encode": {"mixed": {"head": 0.3, "head_bits": 3, "tail_bits": 1.6, "levels": "normal"}},
    },
    "spread_mixed": {"cut": CUT["pca"], "encode": CODED["mixed"]},
    "turned_rate": {"cut": CUT["rows_pca"], "encode": CODED["rate2.4"]},
    "pointing": {"cut": {"rows": {"sparsity": 0.3, "importance": "norm", "points": True}}, "encode": CODED["int8"]},
    "one_stage": {"all": {**CUT["rows_pca"], "quantize": {"bits": 4}}},
    "one_after_another": {"cut": CUT["rows"], "turn": CUT["pca"], "again": CUT["dims"], "encode": CODED["tiers"]},
    "magnitude": {"cut": CUT["pca"], "zero": {"magnitude": {"sparsity": 0.5}}, "encode": CODED["int8"]},
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_VALUES", 100 * WIDTH)


@pytest.fixture(scope="module")
def vectors() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    scale = torch.linspace(0.1, 2, WIDTH)[torch.randperm(WIDTH, generator=draw)]
    return torch.randn(ROWS, WIDTH, generator=draw) * scale * torch.rand(ROWS, 1, generator=draw)


def models(vectors: torch.Tensor) -> tuple[VectorTable, VectorTable]:
    """One with a planned table, one with a plain one."""
    left, right = (VectorTable(vectors, similarity="cosine") for _ in range(2))
    plain = Table(*vectors.shape)
    plain.weight = nn.Parameter(vectors)
    right._tables[TABLE] = plain
    return left, right


def through(model: VectorTable, recipe: dict[str, Any]) -> VectorTable:
    counts = (torch.arange(ROWS) * 37) % ROWS
    context = Context(frequency={f"rows.{TABLE}": counts})
    for stage in plan(recipe, base_defaults={}, runtimes=("torch",)).stages:
        made = run_stage(model, stage, Nothing(), context, trainer=Trainer(Training(epochs=0)), key="")
        assert isinstance(made, VectorTable)
        model = made
    return model


class Nothing(Learning[VectorTable]):
    """Nothing is learned here."""

    def fingerprint(self) -> str:
        return ""

    def model(self, base: Any, *, seed: int) -> VectorTable:
        raise NotImplementedError

    def batches(self) -> list[Any]:
        return []

    def loss(self, model: VectorTable, batch: Any) -> torch.Tensor:
        raise NotImplementedError

    def validate(self, model: VectorTable) -> float:
        raise NotImplementedError


def written(model: VectorTable, path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """The manifest entry and the arrays of a table, as they lie in a file."""
    entries, tensors = model.packed()
    tensor_file.write(path, tensors, model.made_while_written)
    assert path.stat().st_size == tensor_file.size_bytes(tensors, model.made_while_written)
    held = safetensors.numpy.load_file(path)
    return entries[TABLE], {name.removeprefix(f"{TABLE}."): one for name, one in held.items()}


@pytest.mark.parametrize("name", RECIPES)
def test_a_planned_table_matches_a_plain_one(name: str, vectors: torch.Tensor, tmp_path: Path) -> None:
    before = vectors.clone()
    left, right = (through(model, RECIPES[name]) for model in models(vectors))
    (entry, tensors), (plain_entry, plain) = written(left, tmp_path / "left"), written(right, tmp_path / "right")
    assert entry == plain_entry
    assert {key: (one.dtype, one.shape) for key, one in tensors.items()} == {
        key: (one.dtype, one.shape) for key, one in plain.items()
    }
    every = np.arange(entry["rows"])
    found, expected = restore(entry, tensors).decode(every), restore(plain_entry, plain).decode(every)
    # rows are multiplied in blocks of another size, and a unit may be another power of two
    apart = norms(found - expected) > 1e-3 * norms(expected) + 1e-6
    assert apart.mean() <= 0.02
    torch.testing.assert_close(left.projection, right.projection, atol=1e-5, rtol=0)
    assert torch.equal(left.tables[TABLE].index, right.tables[TABLE].index)
    assert torch.equal(vectors, before)
    if left.planned:
        assert left.planned.weight.data_ptr() == vectors.data_ptr(), "no second copy"
        np.testing.assert_allclose(left.planned.values(torch.from_numpy(every)).detach(), found, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["int4", "tiers", "one_stage"])
def test_rows_answer_alone_as_they_do_in_the_file(name: str, vectors: torch.Tensor, tmp_path: Path) -> None:
    model = through(models(vectors)[0], RECIPES[name])
    table = Parts(
        manifest={"tables": {TABLE: {}}},
        tensors={},
        beside=Beside(values={}, tensors={}),
        blocks=model.made_while_written,
    ).tables()[TABLE]
    whole = restore(*written(model, tmp_path / "t"))
    some = np.array([3, 400, 7, 419])
    np.testing.assert_allclose(table.decode(some), whole.decode(some), atol=1e-5, rtol=0)
    asked = np.random.default_rng(1).standard_normal((3, table.dim), dtype=np.float32)
    np.testing.assert_allclose(table.scores(asked), whole.scores(asked), atol=1e-3, rtol=0)
    in_torch = table.to("cpu").scores(torch.from_numpy(asked))
    torch.testing.assert_close(in_torch, torch.from_numpy(table.scores(asked)), atol=1e-4, rtol=0)


def test_what_trains_has_tensors_of_its_own(vectors: torch.Tensor) -> None:
    model = through(models(vectors)[0], {"cut": CUT["rows_pca"]})
    own = model.own()
    assert model.planned
    assert own.planned is None
    torch.testing.assert_close(own.tables[TABLE].weights(), model.tables[TABLE].weights())
    with torch.no_grad():
        own.tables[TABLE].weight.zero_()
    assert bool(vectors.any())
    assert copy.deepcopy(own).tables[TABLE].weight.data_ptr() != own.tables[TABLE].weight.data_ptr()


def test_what_was_trained_can_be_read_back(vectors: torch.Tensor) -> None:
    """Bits and shares of a planned table are one number for all rows; those of one that trains are its own."""
    own, other = models(vectors)[0].own(), models(vectors)[0].own()
    with torch.no_grad():
        own.tables[TABLE].weight.mul_(2)
    other.load_state_dict(own.state_dict())
    torch.testing.assert_close(other.tables[TABLE].weight, own.tables[TABLE].weight)


def test_statistics_are_computed_once_for_all_models_of_the_same_rows(vectors: torch.Tensor) -> None:
    model = models(vectors)[0]
    made = [through(model, {"cut": CUT["pca"], "encode": {"quantize": {"bits": bits}}}) for bits in (8, 4)]
    known = {id(one.planned._results) for one in made if one.planned}
    assert len(known) == 1
    assert model.planned
    assert len(model.planned._results) == 2  # the moment, and the longest row


def test_what_needs_all_rows_is_refused_with_sizes(vectors: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "memory", lambda: 3 * vectors.nbytes)
    model = models(vectors)[0]
    with pytest.raises(AutopruneError, match=r"700 x 24 float32 .* too large for training or pruning single weights"):
        through(
            model,
            RECIPES["magnitude"] | {"cut": CUT["rows_pca"] | {"rows": {"sparsity": 0.0}, "dims": {"sparsity": 0.0}}},
        )
    through(model, {"cut": CUT["pca"], "encode": CODED["int8"]})  # needs no such thing


@pytest.mark.parametrize("recipe", [{}, RECIPES["one_after_another"]], ids=["dense", "made"])
def test_files_match_safetensors(
    recipe: dict[str, Any], vectors: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = through(models(vectors)[0], recipe)
    kinds = {
        "ö": torch.tensor([True, False]),
        "numbers": torch.arange(3),
        "half": torch.ones(2, 2).half(),
        "brain": torch.ones(3, 1).bfloat16(),
        "eight": torch.ones(3).to(torch.float8_e5m2),
        "turned": vectors[:7].T,
        "none": torch.zeros(0, 4),
        "unit": torch.tensor(2.0),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "short": torch.ones(3, dtype=torch.int16),
    }
    _, tensors = model.packed()
    arrays = {name: numpy_of(tensor) for name, tensor in kinds.items()} | {"turned": vectors[:7].numpy().T}
    tensor_file.write(tmp_path / "t", {**tensors, **arrays}, model.made_while_written)
    held = safetensors.torch.load_file(tmp_path / "t")
    assert (tmp_path / "t").read_bytes() == safetensors.torch.save(held)
    for large in (0, tensor_file.LARGE):
        monkeypatch.setattr(tensor_file, "LARGE", large)
        found = tensor_file.read(tmp_path / "t")
        assert list(found) == list(held)
        for name, tensor in kinds.items():
            assert torch.equal(held[name].float(), tensor.float())
            back = tensor_of(found[name])
            assert back.dtype == tensor.dtype
            assert torch.equal(back.float(), tensor.float())


def test_a_large_file_is_mapped_and_hashed_only_when_asked(
    vectors: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = through(models(vectors)[0], {"encode": CODED["int8"]})
    entries, tensors = model.packed()
    parts = Parts(
        manifest={"tables": entries},
        tensors=tensors,
        beside=Beside(values={}, tensors={}),
        blocks=model.made_while_written,
    )
    artifact.save(parts, tmp_path / "a", provenance={})
    assert artifact.size_bytes(tmp_path / "a") == artifact.weighed(parts)
    path = tmp_path / "a" / "model" / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(AutopruneError, match="SHA-256"):
        artifact.read(tmp_path / "a")
    monkeypatch.setattr(tensor_file, "LARGE", 4096)
    assert artifact.read(tmp_path / "a").tensors["vectors.codes"].shape == (ROWS, WIDTH)
    for whole in (
        lambda: artifact.read(tmp_path / "a", whole=True),
        lambda: artifact.copy(tmp_path / "a", tmp_path / "b"),
    ):
        with pytest.raises(AutopruneError, match="SHA-256"):
            whole()
    path.write_bytes(content[:-8])
    with pytest.raises(AutopruneError, match="truncated"):
        artifact.read(tmp_path / "a")


MEASURED = """
import json, sys
from pathlib import Path
import torch
from autoprune.artifacts import artifact
from autoprune.models.context import Context
from autoprune.packing.product import load_faiss
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run_stage
from autoprune.recipes.train import Trainer
from autoprune.vectors.config import VectorsConfig
from autoprune.vectors.make import make_vectors

def peak():
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024

def make(vectors, to):
    task = make_vectors(VectorsConfig(vectors=vectors))
    model = task.model({}, seed=0)
    for stage in plan(json.loads(sys.argv[4]), base_defaults={}, runtimes=task.runtimes).stages:
        model = run_stage(model, stage, task, Context(), trainer=Trainer(task.training), key="")
    artifact.save(task.parts(model), Path(to), provenance={})

load_faiss()
make(sys.argv[1], sys.argv[3] + "-small")  # so that all is imported
before = peak()
make(sys.argv[2], sys.argv[3])
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_table_is_made_in_less_than_a_third_more_memory_than_it_takes(tmp_path: Path) -> None:
    rows = tensor_file.LARGE // 256 + 50_000
    some = np.random.default_rng(0).standard_normal((50_000, 64), dtype=np.float32)
    table = np.lib.format.open_memmap(tmp_path / "items.npy", "w+", np.float32, (rows, 64))
    for start in range(0, rows, len(some)):
        table[start : start + len(some)] = some[: rows - start]
    table.flush()
    recipe = {"cut": {**CUT["pca"], "rows": {"sparsity": 0.1, "importance": "norm"}}, "encode": CODED["int8"]}
    np.save(tmp_path / "few.npy", some[:2000])
    files = [str(tmp_path / name) for name in ("few.npy", "items.npy", "a")]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *files, json.dumps(recipe)],
        capture_output=True,
        text=True,
        check=True,
    )
    # mapped pages of the table are counted too
    assert int(done.stdout) < 1.3 * table.nbytes
    made = autoprune.load(tmp_path / "a")
    assert isinstance(made, VectorIndex)
    assert (len(made), made.table.dim) == (rows - round(0.1 * rows), 32)
