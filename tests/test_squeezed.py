"""Entropy-coded files: the same answers in fewer bytes, near the entropy of codes, and damage that is found."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_artifact import flip_a_bit
from test_fuzz import reseal
from test_packing import drawn

import autoprune
from autoprune.artifacts import artifact, tensor_file
from autoprune.artifacts.served import Parts
from autoprune.errors import AutopruneError
from autoprune.models.model import Model
from autoprune.packing import squeezed
from autoprune.packing.bits import LEVELS, pack_codes
from autoprune.packing.normal import Normal
from autoprune.recipes.recipe import plan
from autoprune.recommender.task import RecommenderTask

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


def test_a_file_that_would_be_mapped_stays_as_it_is(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_file, "LARGE", 1000)
    artifact.save(parts, tmp_path / "a", provenance={})
    assert (tmp_path / "a" / TENSORS).stat().st_size > 1000
    assert artifact.size_bytes(tmp_path / "a") == artifact.weighed(parts)


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


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python brings the library")
def test_without_the_library_it_is_said_how_it_is_had(
    folder: Path, task: RecommenderTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    with pytest.raises(AutopruneError, match=r"backports\.zstd.* not installed: pip install 'autoprune\[entropy\]'"):
        autoprune.load(folder)
    (stage,) = plan({"encode": {"quantize": {"entropy": True}}}, base_defaults=task.base).stages
    with pytest.raises(AutopruneError, match=r"^entropy: .*pip install 'autoprune\[entropy\]'"):
        stage.steps[0].check(task.model(task.base, seed=0))
