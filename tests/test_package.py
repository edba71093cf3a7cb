"""The wheel: built, installed elsewhere without the repo, and run from another directory."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

REPO = Path(__file__).parent.parent


def test_every_folder_is_in_the_wheel() -> None:
    """An editable install has them all; a wheel has those that are listed."""
    listed = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    code = {path.parent.relative_to(REPO) for path in (REPO / "autoprune").rglob("__init__.py")}
    configs = {path.parent.relative_to(REPO) for path in (REPO / "conf").rglob("*.yaml")}
    folders = {".".join(path.parts) for path in code} | {".".join(["autoprune", *path.parts]) for path in configs}
    assert set(listed) == folders


@pytest.mark.slow
def test_wheel_runs_from_another_directory(planted: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(REPO)], check=True)
    (wheel,) = tmp_path.glob("autoprune-*.whl")
    home = tmp_path / "fresh"
    venv.create(home, with_pip=False)
    # The dependencies are those of this environment (they take minutes to install); the package itself is the wheel.
    site = next((home / "lib").glob("python*/site-packages"))
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], check=True)
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(here + "\n")
    python = home / "bin" / "python"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = subprocess.run(
        [python, "-c", "import autoprune; print(autoprune.__file__)"], cwd=elsewhere, capture_output=True, text=True
    )
    assert Path(where.stdout.strip()).is_relative_to(home)
    words = ["task=interactions", f"task.data.path={planted}", "presets=none", "study.trials=1", "study.name=s"]
    words += ["task.training.epochs=10", "study.latency_seconds=0.001", "study.verify_rounds=0"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([python, "-m", "autoprune", *words], cwd=elsewhere, env=environment, check=True)
    assert (elsewhere / "runs/s/archive.jsonl").read_text().count("\n") > 1
