"""Searches and fronts from Python."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from made_studies import make_study

import autoprune
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.record.record import Record


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


@pytest.mark.slow
def test_no_module_takes_the_name_of_a_public_function() -> None:
    code = (
        "import importlib, inspect, pkgutil, autoprune\n"
        "names = [found.name for found in pkgutil.walk_packages(autoprune.__path__, 'autoprune.')]\n"
        "assert len(names) > 100, names\n"
        "for name in names:\n"
        "    if name != 'autoprune.__main__': importlib.import_module(name)\n"
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
