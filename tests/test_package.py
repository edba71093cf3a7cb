"""The wheel: built, installed elsewhere without the repo, and run from there, with its extras and without."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import numpy as np
import pytest
import safetensors

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Beside, Parts
from autoprune.encoder.task import EncoderTask
from autoprune.models.model import Model
from autoprune.packing.squeezed import zstd
from autoprune.recommender.served import Recommender
from autoprune.recommender.task import RecommenderTask

REPO = Path(__file__).parent.parent

BASE = (zstd, np, safetensors)
"""All that `pip install autoprune` brings beside itself."""


def test_every_folder_is_in_the_wheel() -> None:
    """An editable install has them all; a wheel has those that are listed."""
    listed = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    code = {path.parent.relative_to(REPO) for path in (REPO / "autoprune").rglob("__init__.py")}
    configs = {path.parent.relative_to(REPO) for path in (REPO / "conf").rglob("*.yaml")}
    folders = {".".join(path.parts) for path in code} | {".".join(["autoprune", *path.parts]) for path in configs}
    assert set(listed) == folders


def test_what_is_installed_without_extras_is_what_answers_from_tables() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    assert [one.partition(">")[0] for one in project["dependencies"]] == [one.__name__ for one in BASE]
    assert [one.partition(">")[0] for one in project["optional-dependencies"]["encoder"]] == [
        "onnxruntime",
        "tokenizers",
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel, numpy and safetensors, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "-w", str(folder), str(REPO)], check=True)
    (wheel,) = folder.glob("autoprune-*.whl")
    venv.create(folder / "fresh", with_pip=False)
    site = next((folder / "fresh" / "lib").glob("python*/site-packages"))
    subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-compile", "--target", str(site), str(wheel)], check=True
    )
    for package in BASE:
        here = Path(str(package.__file__)).parent
        inside = site.joinpath(*package.__name__.split("."))
        inside.parent.mkdir(exist_ok=True)
        for place in (here, here.with_name(f"{here.name}.libs")):  # of compiled code
            if place.is_dir():
                inside.with_name(place.name).symlink_to(place)
    return folder / "fresh"


def ask(home: Path, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the environment's Python in a folder."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [home / "bin" / "python", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_without_extras_tables_answer_and_all_else_says_what_it_needs(
    home: Path, task: RecommenderTask, dense: Model, tmp_path: Path
) -> None:
    folder = tmp_path / "größe und mehr"  # a path with a space, and letters beyond ASCII
    artifact.save(task.parts(dense), folder / "made", provenance={})
    user = task.data.users[3]
    said = ask(home, "-c", f"import autoprune; print(autoprune.load('made').recommend({user!r}, k=5))", folder=folder)
    served = artifact.load(folder / "made")
    assert isinstance(served, Recommender)
    assert said.stdout.strip() == str(served.recommend(user, k=5)), said.stderr
    search = "which is not installed: pip install 'autoprune[search]'."
    for words in (["front", "x"], ["task=movielens"], ["--help"], []):
        found = ask(home, "-m", "autoprune", *words, folder=folder)
        assert (found.returncode, found.stderr) == (2, f"autoprune: the command line needs rich, {search}\n")
    asked = {
        "autoprune.search('task=movielens')": f"autoprune.search needs torch, {search}",
        "autoprune.load('made', device='cuda')": f"what answers on the device 'cuda' needs torch, {search}",
    }
    for code, expected in asked.items():
        found = ask(home, "-c", f"import autoprune; {code}", folder=folder)
        assert found.stderr.splitlines()[-1] == f"autoprune.errors.AutopruneError: {expected}"


@pytest.mark.slow
def test_an_artifact_says_which_extra_it_needs(home: Path, encoder_task: EncoderTask, tmp_path: Path) -> None:
    model, nothing = encoder_task.model({}, seed=0), Beside(values={}, tensors={})
    parts = {name: encoder_task.parts(model, name) for name in ("onnx", "torch")}
    parts["module"] = Parts(manifest={"kind": "module", "tables": {}}, tensors={}, beside=nothing)
    expected = {
        "onnx": ("what encodes texts needs onnxruntime", "encoder"),
        "torch": ("an encoder whose runtime is torch needs torch", "search"),
        "module": ("an artifact of the kind 'module' needs torch", "search"),
    }
    for name, made in parts.items():
        artifact.save(made, tmp_path / name, provenance={})
        found = ask(home, "-c", f"import autoprune; autoprune.load({name!r})", folder=tmp_path)
        what, extra = expected[name]
        said = f"{what}, which is not installed: pip install 'autoprune[{extra}]'."
        assert found.stderr.splitlines()[-1] == f"autoprune.errors.AutopruneError: {said}"


@pytest.mark.slow
def test_wheel_runs_from_another_directory(home: Path, planted: Path, tmp_path: Path) -> None:
    # The dependencies are those of this environment: they take minutes to install.
    here = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    environment = {**os.environ, "PYTHONPATH": here}
    where = ask(home, "-c", "import autoprune; print(autoprune.__file__)", folder=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(home)
    words = ["task=interactions", f"task.data.path={planted}", "presets=none", "study.name=s"]
    words += ["study.looks=5", "study.trials=1", "study.latency_seconds=0.001", "study.verify_rounds=0"]
    words += ["task.training.epochs=10", "~space.prune"]  # fewer corners to build
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "autoprune", *words], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "runs/s/archive.jsonl").read_text().count("\n") > 1
