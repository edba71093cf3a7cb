"""What serves knows no training: an artifact is loaded, and answers, without the code that made it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from forking import answer_of_a_fork, two_threads
from tiny_encoder import TEXTS

import autoprune
from autoprune.artifacts import artifact
from autoprune.artifacts.served import serve
from autoprune.encoder.served import SentenceEncoder
from autoprune.families import FAMILIES, task_maker
from autoprune.models.model import Model
from autoprune.module.config import ModuleConfig
from autoprune.module.served import ServedModule
from autoprune.recommender.task import RecommenderTask

if TYPE_CHECKING:
    from autoprune.encoder.task import EncoderTask

HEAVY = {"torch", "optuna", "hydra", "omegaconf", "pandas", "scipy", "faiss", "rich"}
"""Packages that no answer waits for."""

TRAINING = ("models", "recipes", "tasks", "steps", "study", "measure", "record", "fronts")
"""Rooms of the package that no answer comes from; nor from a family's `model`, `task` and `make`."""

CODE = """
import json, sys
import autoprune
model = autoprune.load(".")
answer = {example}
print(json.dumps(sorted(name for name in sys.modules if name.startswith("autoprune.") or "." not in name)))
print(type(answer).__name__)
"""


def imported_by_asking(folder: Path) -> list[str]:
    """The packages, and our modules, that a fresh process has imported once the artifact in a folder has answered."""
    code = CODE.format(example=autoprune.load(folder).example)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder)
    assert ran.returncode == 0, ran.stderr
    names, answer = ran.stdout.splitlines()
    assert answer in ("list", "ndarray")
    found: list[str] = json.loads(names)
    return found


def assert_serves_alone(folder: Path, kind: str, *, needs: frozenset[str] = frozenset()) -> None:
    names = imported_by_asking(folder)
    assert HEAVY & set(names) == needs
    assert f"autoprune.{kind}.served" in names
    rooms = {name.split(".")[1] for name in names if name.startswith("autoprune.")}
    assert rooms.isdisjoint(TRAINING)
    assert rooms & set(FAMILIES) == {kind}, "no other family is asked"
    assert not {f"autoprune.{kind}.{name}" for name in ("model", "task", "make")} & set(names)


@pytest.mark.slow
def test_a_recommender_serves_without_what_trained_it(task: RecommenderTask, dense: Model, tmp_path: Path) -> None:
    artifact.save(task.parts(dense), tmp_path / "made", provenance={})
    assert_serves_alone(tmp_path / "made", "recommender")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_an_encoder_serves_without_what_trained_it(encoder_task: EncoderTask, runtime: str, tmp_path: Path) -> None:
    artifact.save(encoder_task.parts(encoder_task.model({}, seed=0), runtime), tmp_path / "made", provenance={})
    assert_serves_alone(tmp_path / "made", "encoder", needs=frozenset({"torch"} if runtime == "torch" else ()))


def test_a_fork_encodes_without_the_threads_of_torch(encoder_task: EncoderTask) -> None:
    served = serve(encoder_task.parts(encoder_task.model({}, seed=0), "torch"))
    assert isinstance(served, SentenceEncoder)
    with two_threads():
        expected = served.encode(TEXTS)
        np.testing.assert_allclose(answer_of_a_fork(lambda: served.encode(TEXTS)), expected, atol=1e-5)
        assert torch.get_num_threads() == 2, "here it goes on as it was"


def test_a_fork_looks_up_without_the_threads_of_torch() -> None:
    task = task_maker("module").make(ModuleConfig(file=str(Path(__file__).parent / "tiny_module.py")))
    served = serve(task.parts(task.model({}, seed=0)))
    assert isinstance(served, ServedModule)
    rows = np.arange(200_000) % served.tables["items"][0]
    with two_threads():
        expected = served.vectors("items", rows)
        assert np.array_equal(answer_of_a_fork(lambda: served.vectors("items", rows)), expected)
