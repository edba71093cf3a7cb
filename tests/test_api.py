"""Searches and fronts from Python."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_studies import make_study

import autoprune
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.record.record import Record
from autoprune.study.definition import make_task


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home") / "runs"
    make_study(folder / "careful", 60)
    return folder


def test_front_opens_a_study_under_its_own_requirements(runs: Path) -> None:
    front, record = autoprune.front("careful", runs=runs), autoprune.open_study("careful", runs=runs)
    assert isinstance(front, Front)
    assert isinstance(record, Record)
    assert [point.number for point in front] == [point.number for point in Front(record)]
    assert front.requirements == Limits().requirements(record)


def test_front_takes_the_limits_of_the_command_line(runs: Path) -> None:
    asked = {"floors": ["ndcg@20=0.97x"], "ceilings": ["size_bytes=0.5x"], "profile": "smallest", "prefer": "latency"}
    front = autoprune.front("careful", runs=runs, **asked)  # type: ignore[arg-type]  # a TypedDict's keywords
    assert [item.text for item in front.requirements.items] == [
        "worst_slice >= 0.75x",
        "ndcg@20 >= 0.97x",
        "size_bytes <= 0.5x",
    ]
    assert front.requirements.prefer == "latency"
    assert front.limits.flags == [
        *("--for", "smallest", "--floor", "ndcg@20=0.97x", "--max", "size_bytes=0.5x", "--prefer", "latency")
    ]
    with pytest.raises(AutopruneError, match="Did you mean ndcg@20"):
        autoprune.front("careful", runs=runs, floors=["ndgc@20=0.9x"])
    with pytest.raises(AutopruneError, match="objective 'speed' is unknown"):
        autoprune.front("careful", runs=runs, prefer="speed")
    with pytest.raises(AutopruneError, match="holds no study 'nosuch'"):
        autoprune.front("nosuch", runs=runs)


def test_the_home_folder_stands_for_its_mark(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(runs.parent))
    assert autoprune.open_study("careful", runs="~/runs").folder == runs / "careful"
    with pytest.raises(AutopruneError, match=f"'{runs}' holds no study 'careless'"):
        autoprune.verify_study("careless", runs="~/runs")


@pytest.mark.parametrize(("format", "more"), [("autoprune", " --bare"), ("numpy", " --format numpy")])
def test_what_makes_an_artifact_again_is_named(format: str, more: str, runs: Path, tmp_path: Path) -> None:
    point = autoprune.open_study("careful", runs=runs).point(7)
    to = tmp_path / "to ship"
    with pytest.raises(AutopruneError, match="the artifact of candidate 7 is missing") as caught:
        point.save(to, format=format, bare="bare" in more)
    assert str(caught.value).endswith(f"\n  autoprune pick {runs}/careful 7 --to '{to}'{more}")
    with pytest.raises(AutopruneError, match=f"autoprune pick {runs}/careful 7 --to DIR"):
        point.load()


LONG = "a" * 400
"""Longer than a name in a folder can be, at which the system itself complains."""

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "pairs": (
        lambda: make_task({"name": "encoder", "data": {"pairs": LONG + ".csv"}}),
        r"^task\.data\.pairs: File name",
    ),
    "retrieval": (lambda: make_task({"name": "encoder", "data": {"retrieval": LONG}}), r"^task\.data\.retrieval: "),
    "classes": (lambda: make_task({"name": "encoder", "data": {"classification": LONG}}), r"^task\.data\.class"),
    "texts": (lambda: autoprune.search("task=encoder", f"task.texts={LONG}.txt"), r"^task\.texts: File name too long"),
    "table": (lambda: make_task({"name": "interactions", "data": {"path": LONG}}), r"File name too long"),
    "artifact": (lambda: autoprune.load(LONG), r"'a+' cannot be read: File name too long"),
    "a number": (lambda: autoprune.load(5), r"must be a string or a path, but got 5"),  # type: ignore[arg-type]
    "no name": (lambda: autoprune.open_study(None), r"name of a study must be a string or a path"),  # type: ignore[arg-type]
    "a list": (lambda: autoprune.search(["task=encoder"]), r"must be an argument of its own"),  # type: ignore[arg-type]
    "a flag": (lambda: autoprune.search("--multirun", "task=stsb"), r"'--multirun': flags work only on"),
    "job": (lambda: autoprune.search("--cfg", "job"), r"'--cfg': flags work only"),
    "a key taken out": (lambda: autoprune.search(**{"~task.dim": 1}), r"'~task\.dim': only a key with dots"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_our_words(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call, said = REFUSED[case]
    with pytest.raises(AutopruneError, match=said):
        call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", ["name", "folder", "archive"])
def test_a_study_that_the_system_cannot_read_is_refused_in_our_words(kept: str, runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "careful", tmp_path / "s")
    if kept == "archive":
        (tmp_path / "s" / "archive.jsonl").unlink()
        (tmp_path / "s" / "archive.jsonl").mkdir()
    with pytest.raises(AutopruneError, match=r"cannot be read: (File name too long|Is a directory)"):
        autoprune.open_study("s" if kept == "archive" else LONG, runs=tmp_path if kept != "folder" else tmp_path / LONG)


@pytest.mark.slow
def test_no_module_takes_the_name_of_a_public_function() -> None:
    code = (
        "import importlib, importlib.util, inspect, pkgutil, autoprune\n"
        "absent = {'autoprune.__main__'}\n"
        "if importlib.util.find_spec('ray') is None: absent.add('autoprune.study.executors.cluster')\n"
        "names = [found.name for found in pkgutil.walk_packages(autoprune.__path__, 'autoprune.')]\n"
        "assert len(names) > 100, names\n"
        "for name in names:\n"
        "    if name not in absent: importlib.import_module(name)\n"
        "public = ['search', 'front', 'open_study', 'verify_study', 'load']\n"
        "assert set(public) < set(autoprune.__all__)\n"
        "assert all(inspect.isfunction(getattr(autoprune, name)) for name in public)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_functions_take_at_most_eight_parameters() -> None:
    for name in ("search", "front", "open_study", "verify_study", "load"):
        assert len(inspect.signature(getattr(autoprune, name)).parameters) <= 8


def test_plots_are_where_they_were() -> None:
    pytest.importorskip("plotly")
    from autoprune import plots

    assert callable(plots.tradeoff)


STATE = """
import gc, json, locale, logging, os, random, signal, sys, warnings
from pathlib import Path
import scipy.sparse, scipy.special, sympy  # they set filters of warnings when torch first needs them
import numpy, optuna, torch, transformers, onnxruntime, hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer
from transformers.utils import logging as theirs
import autoprune

def state():
    loggers = {name: (one.level, one.disabled, one.propagate, len(one.handlers))
               for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    return {
        "hydra": {kind.__name__: id(one) for kind, one in Singleton._instances.items()},
        "resolvers": {name: id(one) for name, one in BaseContainer._resolvers.items()},
        "loggers": {name: held for name, held in loggers.items() if name in KNOWN},
        "root": (logging.root.level, len(logging.root.handlers), logging.root.manager.disable),
        "optuna": optuna.logging.get_verbosity(),
        "transformers": (theirs.get_verbosity(), theirs.is_progress_bar_enabled()),
        "warnings": list(warnings.filters),
        "showwarning": id(warnings.showwarning),
        "environment": {name: held for name, held in os.environ.items() if not name.startswith("TORCHINDUCTOR_")},
        "folder": os.getcwd(),
        "locale": locale.setlocale(locale.LC_ALL),
        "gc": (gc.isenabled(), gc.get_threshold()),
        "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
        "torch": (torch.get_num_threads(), torch.get_num_interop_threads(), str(torch.get_default_dtype()),
                  torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled()),
        "random": (hash(random.getstate()), torch.get_rng_state().tolist(), str(numpy.random.get_state()),
                   str(numpy.geterr())),
        "system": (sys.argv[:], list(sys.path), id(sys.excepthook), id(sys.stdout), sys.getrecursionlimit()),
    }

@hydra.main(config_path="own", config_name="app", version_base="1.3")
def program(config):
    OmegaConf.register_new_resolver("now", lambda text: "ours", replace=True)
    random.seed(1); numpy.random.seed(1); torch.manual_seed(1)
    before = state()
    words = sys.stdin.read().split()
    runs = Path(os.environ["RUNS"])
    front = autoprune.search(*words, f"study.dir={runs}", **{"study.name": "inner"})
    try:
        autoprune.search(*words, "study.nosuch=1")
    except autoprune.AutopruneError:
        pass
    autoprune.front("inner", runs=runs).pick().save(runs / "deploy")
    autoprune.load(runs / "deploy")
    after = state()
    for name in before:
        assert before[name] == after[name], (name, before[name], after[name])
    assert OmegaConf.create({"at": "${now:%Y}"}).at == "ours"
    assert HydraConfig.get().job.name == "app"
    from hydra import compose
    assert compose("app").mine == 3
    print("as it was")

KNOWN = set(logging.root.manager.loggerDict)
program()
"""
"""A program that is a Hydra application itself, and searches within."""


@pytest.mark.slow
def test_a_program_that_searches_finds_its_own_state_as_it_was(tmp_path: Path, planted: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "app.yaml").write_text("mine: 3\nhydra: {run: {dir: .}, output_subdir: null}\n")
    (tmp_path / "app.py").write_text(STATE)
    home = tmp_path / "home"
    home.mkdir()
    words = f"task=interactions task.data.path={planted} task.dim=8 task.training.epochs=5 presets=none ~space.prune"
    words += " requirements=none ~space.encode study.looks=5 study.trials=2 study.verify_rounds=0"
    words += " study.latency_seconds=0.001"
    environment = {**os.environ, "RUNS": str(tmp_path / "runs"), "HOME": str(home), "ORT_DISABLE_TELEMETRY": "1"}
    ended = subprocess.run(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        input=words,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("as it was\n", "", 0)
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_onnxruntime_reports_nothing_and_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    code = (
        "import os; before = dict(os.environ)\n"
        "from autoprune.errors import AutopruneError\n"
        "from autoprune.encoder.onnx.session import open_session, run\n"
        "import numpy as np; from onnx import TensorProto, helper\n"
        "names = ['input_ids', 'attention_mask', 'sentence_embedding']\n"
        "given = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, 2]) for name in names]\n"
        "nodes = [helper.make_node('Add', names[:2], names[2:])]\n"
        "graph = helper.make_graph(nodes, 'sum', given[:2], given[2:])\n"
        "opsets = [helper.make_opsetid('', 18)]\n"
        "made = helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString()\n"
        "assert run(open_session(made, 1), *2 * [np.ones((1, 2), np.int64)]).tolist() == [[2, 2]]\n"
        "assert dict(os.environ) == before\n"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")
    }
    subprocess.run([sys.executable, "-c", code], check=True, env={**environment, "HOME": str(tmp_path)})
    assert list(tmp_path.rglob("*")) == []
