"""The file of a user's task: imported anew with what lies beside it, as it is now."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoprune.errors import AutopruneError
from autoprune.module.source import read_source

TASK = """import autoprune
import {helper}
from {helper}.deep import beside


class Mine(autoprune.ModuleTask):
    held = ({helper}.VALUE, beside.VALUE)
    helper = {helper}.Helper
    load = batches = loss = score = workloads = None
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A task, and a package beside it in which two things are held."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # which knows a file by its second and its size
    files = {
        "mine.py": TASK.replace("{helper}", "beside_mine"),
        "beside_mine/__init__.py": "VALUE = 1\n\n\nclass Helper:\n    pass\n",
        "beside_mine/deep/beside.py": "VALUE = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    yield tmp_path / "mine.py"
    for name in [name for name in sys.modules if name.startswith("beside_mine")]:
        del sys.modules[name]


def held(file: Path) -> tuple[int, int]:
    found: tuple[int, int] = read_source(file).kind.held  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(("name", "now"), [("beside_mine/__init__.py", (2, 1)), ("beside_mine/deep/beside.py", (1, 2))])
def test_what_is_changed_beside_a_task_is_run_as_it_is_now(file: Path, name: str, now: tuple[int, int]) -> None:
    before = read_source(file)
    assert held(file) == (1, 1)
    changed = file.parent / name
    changed.write_text(changed.read_text().replace("1", "2"))
    assert held(file) == now
    assert read_source(file).digest != before.digest


def test_what_somebody_else_imported_is_run_anew(file: Path) -> None:
    """It may be older than its file."""
    sys.path.insert(0, str(file.parent))
    __import__("beside_mine")
    beside = file.parent / "beside_mine/__init__.py"
    beside.write_text(beside.read_text().replace("1", "2"))
    assert held(file) == (2, 1)


def test_what_is_as_it_was_stays_so_that_its_objects_can_be_sent(file: Path) -> None:
    one, other = (read_source(file).kind for _ in range(2))
    assert one is not other
    assert one.helper is other.helper  # type: ignore[attr-defined]


def test_a_mistake_beside_a_task_is_named(file: Path) -> None:
    (file.parent / "beside_mine/deep/beside.py").write_text("VALUE =\n")
    with pytest.raises(AutopruneError, match=r"beside\.py:1: invalid syntax"):
        read_source(file)
