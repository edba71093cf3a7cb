"""The rows of families: what they name is there, and what is not known is said with what is."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from autoprune.artifacts.formats import Format
from autoprune.artifacts.served import Beside, Parts, serve
from autoprune.errors import AutopruneError
from autoprune.families import FAMILIES, Family, family_format, formats_of, task_maker, what_serves
from autoprune.tasks.task import TaskMaker

PACKAGE = Path(__file__).parent.parent / "autoprune"


@pytest.mark.parametrize("row", FAMILIES.values(), ids=list(FAMILIES))
def test_what_a_row_names_is_there(row: Family) -> None:
    assert callable(what_serves(row.kind))
    for name in row.tasks:
        maker = task_maker(name)
        assert isinstance(maker, TaskMaker)
        assert dataclasses.is_dataclass(maker.config)
    for name in formats_of(row):
        found = family_format(name)
        assert isinstance(found, Format)
        assert found.name == name


def test_a_name_belongs_to_one_family() -> None:
    for names in ([*row.tasks] for row in FAMILIES.values()), ([*row.formats] for row in FAMILIES.values()):
        found = [name for own in names for name in own]
        assert len(found) == len(set(found))


@pytest.mark.parametrize("row", FAMILIES.values(), ids=list(FAMILIES))
def test_a_family_is_one_folder(row: Family) -> None:
    homes = {
        place.partition(":")[0].split(".")[1] for place in [row.serves, *row.tasks.values(), *row.formats.values()]
    }
    assert homes == {row.kind}
    assert (PACKAGE / row.kind / "__init__.py").is_file()


def test_no_other_room_knows_a_family_by_name() -> None:
    """Steps, models, recipes, tasks, measuring and artifacts import no family."""
    for room in ("steps", "models", "recipes", "tasks", "measure", "artifacts", "packing"):
        for path in (PACKAGE / room).rglob("*.py"):
            text = path.read_text()
            assert not [
                kind for kind in FAMILIES if f"import autoprune.{kind}" in text or f"from autoprune.{kind}" in text
            ]


def test_what_is_unknown_is_said_with_what_is_known() -> None:
    with pytest.raises(AutopruneError, match=r"artifact kind .*'encodr' is unknown.*Did you mean encoder"):
        serve(Parts(manifest={"kind": "encodr"}, tensors={}, beside=Beside(values={}, tensors={})))
    with pytest.raises(AutopruneError, match=r"task.name .*'movielenz' is unknown.*Did you mean movielens"):
        task_maker("movielenz")
    with pytest.raises(AutopruneError, match="artifact kind"):
        what_serves(None)


def test_a_row_imports_nothing_until_it_is_used() -> None:
    code = "import sys, autoprune.families; print([n for n in sys.modules if n in ('torch', 'numpy')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout == "[]\n", ran.stderr
