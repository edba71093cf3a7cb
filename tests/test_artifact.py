"""The folder that ships: what is in it, what it weighs, and how damage is found."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import autoprune
from autoprune.artifacts import artifact
from autoprune.artifacts.served import serve
from autoprune.errors import AutopruneError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.packing.bits import unpack_codes
from autoprune.packing.codes import RowCodes
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run_stage
from autoprune.recipes.train import Trainer
from autoprune.recommender.served import Recommender
from autoprune.recommender.task import RecommenderTask

FILES = {
    "artifact.json",
    "model/manifest.json",
    "model/tensors.safetensors",
    "beside/values.json",
    "beside/tensors.safetensors",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, task: RecommenderTask, dense: Model) -> Path:
    """The dense model's artifact; whoever damages it works on a copy."""
    folder = tmp_path_factory.mktemp("artifacts") / "dense"
    artifact.save(task.parts(dense), folder, provenance={"recipe": {}, "seed": 0})
    return folder


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    shutil.copytree(saved, tmp_path / "damaged")
    return tmp_path / "damaged"


@pytest.fixture
def quantised(task: RecommenderTask, dense: Model, context: Context, trainer: Trainer) -> Callable[[int], Model]:
    def make(bits: int) -> Model:
        (stage,) = plan({"quantize": {"bits": bits}}, base_defaults=task.base).stages
        return run_stage(dense, stage, task, context, trainer=trainer, key="")

    return make


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_an_artifact_is_five_files_of_data(saved: Path) -> None:
    assert files_in(saved) == FILES
    assert not any(path.stat().st_mode & 0o111 for path in saved.rglob("*") if path.is_file())
    for name in FILES:
        content = (saved / name).read_bytes()
        json.loads(content) if name.endswith(".json") else safetensors.torch.load(content)
    assert [path.name for path in saved.parent.iterdir()] == ["dense"]  # no draft is left


def test_the_card_says_where_the_artifact_came_from(saved: Path) -> None:
    card = artifact.read_card(saved)
    assert card["provenance"] == {"recipe": {}, "seed": 0}
    assert set(card["files"]) == FILES - {"artifact.json"}


def test_size_bytes_are_the_bytes_of_the_model_folder(saved: Path) -> None:
    assert artifact.size_bytes(saved) == sum(path.stat().st_size for path in (saved / "model").iterdir())


def test_folder_bytes_are_the_bytes_of_all_that_was_saved(saved: Path, tmp_path: Path) -> None:
    whole = sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())
    assert artifact.folder_bytes(saved) == whole > artifact.size_bytes(saved)
    shutil.copytree(saved, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("a card is no part of it")
    assert artifact.folder_bytes(tmp_path / "copy") == whole


def test_histories_count_where_a_user_has_no_row(
    saved: Path, task: RecommenderTask, dense: Model, tmp_path: Path
) -> None:
    assert artifact.load(saved).history_bytes == 0
    fewer = copy.deepcopy(dense)
    fewer.cut(fewer.axes["rows.user"], torch.arange(1, len(task.data.users)))
    artifact.save(task.parts(fewer), tmp_path / "fewer", provenance={})
    beside = safetensors.torch.load_file(tmp_path / "fewer" / "beside" / "tensors.safetensors")
    expected = beside["histories"].nbytes
    assert artifact.load(tmp_path / "fewer").history_bytes == expected > 0
    less = copy.deepcopy(dense)
    less.cut(less.axes["rows.item"], torch.arange(50))
    assert serve(task.parts(less)).history_bytes == 0, "items that are gone need no history"


def test_saving_twice_writes_the_same_bytes(saved: Path, task: RecommenderTask, dense: Model, tmp_path: Path) -> None:
    artifact.save(task.parts(dense), tmp_path / "again", provenance={"recipe": {}, "seed": 0})
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_saving_replaces_what_was_there(damaged: Path, task: RecommenderTask, dense: Model) -> None:
    (damaged / "stray.txt").write_text("not ours")
    artifact.save(task.parts(dense), damaged, provenance={"seed": 1})
    assert files_in(damaged) == FILES
    assert artifact.read_card(damaged)["provenance"] == {"seed": 1}


def test_what_lies_beside_can_be_shared(saved: Path, task: RecommenderTask, dense: Model, tmp_path: Path) -> None:
    artifact.save(task.parts(dense), tmp_path / "child", provenance={}, beside_from=saved)
    assert files_in(tmp_path / "child") == FILES
    for name in ("beside/values.json", "beside/tensors.safetensors"):
        assert (tmp_path / "child" / name).read_bytes() == (saved / name).read_bytes()
    shutil.rmtree(tmp_path / "child")
    autoprune.load(saved)


def test_a_save_that_fails_leaves_nothing(task: RecommenderTask, dense: Model, tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        artifact.save(task.parts(dense), tmp_path / "a", provenance={"not": object()})
    assert list(tmp_path.iterdir()) == []


def drop_last_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [drop_last_byte, empty, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("name", sorted(FILES))
def test_damage_is_found_and_named(name: str, harm: Callable[[Path], None], damaged: Path) -> None:
    if name == "artifact.json" and harm is drop_last_byte:
        (damaged / name).write_text((damaged / name).read_text().rstrip())  # the last byte is a line end
    harm(damaged / name)
    with pytest.raises(AutopruneError) as caught:
        autoprune.load(damaged)
    assert name in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"sha256": 1}', "\x00", '{"sha256": null, "files": {}}'])
def test_a_card_of_another_making_is_refused(content: str, damaged: Path) -> None:
    (damaged / "artifact.json").write_text(content)
    with pytest.raises(AutopruneError, match=r"artifact\.json: truncated or altered"):
        autoprune.load(damaged)


def test_a_changed_hash_does_not_hide_a_changed_file(damaged: Path) -> None:
    flip_a_bit(damaged / "model/tensors.safetensors")
    card = json.loads((damaged / "artifact.json").read_text())
    card["files"]["model/tensors.safetensors"] = artifact._describe(damaged / "model/tensors.safetensors")
    (damaged / "artifact.json").write_text(json.dumps(card))
    with pytest.raises(AutopruneError, match=r"artifact\.json: truncated or altered"):
        autoprune.load(damaged)


def test_another_format_is_refused(task: RecommenderTask, dense: Model, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifact, "FORMAT", 99)
        artifact.save(task.parts(dense), tmp_path / "a", provenance={})
    with pytest.raises(
        AutopruneError, match=r"artifact\.json: format 99 is not one of 1 to 4, which .*a newer clone: pip install \."
    ):
        autoprune.load(tmp_path / "a")


def test_a_kind_of_another_version_is_refused(task: RecommenderTask, dense: Model) -> None:
    parts = task.parts(dense)
    parts.manifest["kind"] = "recomender"
    with pytest.raises(AutopruneError, match=r"artifact kind 'recomender' is unknown\. Did you mean recommender"):
        serve(parts)


def test_what_is_no_artifact_says_so(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(AutopruneError, match=r"is no artifact: it contains no artifact\.json"):
            autoprune.load(folder)


def test_a_copy_loads_and_an_existing_folder_is_left_alone(saved: Path, tmp_path: Path) -> None:
    artifact.copy(saved, tmp_path / "new" / "deploy")
    assert files_in(tmp_path / "new" / "deploy") == FILES
    autoprune.load(tmp_path / "new" / "deploy")
    (tmp_path / "taken").mkdir()
    with pytest.raises(AutopruneError, match="taken' exists already"):
        artifact.copy(saved, tmp_path / "taken")
    assert list((tmp_path / "taken").iterdir()) == []


def test_a_damaged_artifact_is_not_copied(damaged: Path, tmp_path: Path) -> None:
    flip_a_bit(damaged / "model/tensors.safetensors")
    with pytest.raises(AutopruneError, match=r"model/tensors\.safetensors"):
        artifact.copy(damaged, tmp_path / "deploy")
    assert not (tmp_path / "deploy").exists()


@pytest.mark.slow
def test_an_artifact_loads_in_a_clean_process_without_the_search(saved: Path, task: RecommenderTask) -> None:
    user = task.data.users[3]
    code = f"""
import sys, autoprune
served = autoprune.load({str(saved)!r})
print([found.item for found in served.recommend({user!r}, k=5)])
unwanted = ("autoprune.recipes.train", "autoprune.steps", "optuna", "hydra", "pandas")
print([name for name in unwanted if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=saved)
    assert ran.returncode == 0, ran.stderr
    here = autoprune.load(saved)
    assert isinstance(here, Recommender)
    answers, imported = ran.stdout.splitlines()
    assert answers == str([found.item for found in here.recommend(user, k=5)])
    assert imported == "[]"


@pytest.mark.parametrize("bits", [8, 4, 2, 1])
def test_the_codes_that_quality_is_measured_with_are_the_codes_that_ship(
    bits: int, quantised: Callable[[int], Model], task: RecommenderTask, tmp_path: Path
) -> None:
    model = quantised(bits)
    artifact.save(task.parts(model), tmp_path / "a", provenance={})
    shipped = artifact.read(tmp_path / "a").tensors
    for name, table in model.tables.items():
        assert isinstance(table.coded, RowCodes)
        codes = unpack_codes(shipped[f"{name}.codes"], bits, table.dim)
        assert np.array_equal(codes, table.coded.codes)
        assert np.array_equal(shipped[f"{name}.scale"], table.coded.scale)
        assert np.array_equal(shipped[f"{name}.offset"], table.coded.offset)
    served = autoprune.load(tmp_path / "a")
    assert isinstance(served, Recommender)
    for name, rows, ids in (("user", 5, task.data.users), ("item", 5, task.data.items)):
        for row in range(rows):
            vector = served.vector(**{name: ids[row]})
            np.testing.assert_allclose(vector, model.tables[name].values()[row].numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_the_size_on_disk_is_what_the_bits_make_it(
    bits: int, quantised: Callable[[int], Model], task: RecommenderTask, dense: Model, tmp_path: Path
) -> None:
    model = dense if bits == 32 else quantised(bits)
    artifact.save(task.parts(model), tmp_path / "a", provenance={})
    path, parts = tmp_path / "a" / "model" / "tensors.safetensors", artifact.read(tmp_path / "a")
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    ids = sum(parts.tensors[f"ids.{name}"].nbytes for name in ("user", "item"))
    by_hand = 0
    for table in model.tables.values():
        by_hand += table.rows * table.dim * bits // 8
        if bits < 32:
            by_hand += table.rows * (2 + 2) + 4  # scale and offset in float16 a row, one unit in float32
    assert path.stat().st_size == header + ids + by_hand


@pytest.mark.parametrize("device", ["mps", "meta", "xpu", "nonsense"])
def test_a_device_that_no_artifact_answers_on_is_unknown(device: str, saved: Path) -> None:
    with pytest.raises(AutopruneError, match=rf"device '{device}' is unknown; cpu and cuda are known"):
        autoprune.load(saved, device=device)


def test_a_device_that_is_not_there_is_told(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device, count in (("cuda:2", 2), ("cpu:1", 1)):
        with pytest.raises(
            AutopruneError, match=rf"device '{device}' was requested, but torch sees {count} of its kind"
        ):
            autoprune.load(saved, device=device)


@pytest.mark.parametrize("at", ["read", "serve"])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to\nallocate."), MemoryError()])
def test_too_little_memory_is_no_fault_of_the_artifact(
    error: Exception, at: str, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(artifact, at, fail)
    with pytest.raises(AutopruneError, match=r"needs more memory than is free .*another device") as refused:
        autoprune.load(saved)
    assert "rebuild" not in str(refused.value)
