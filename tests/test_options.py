"""The options that verbs share: what each verb takes, and what it gets."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from made_studies import make_study
from typer.testing import CliRunner

from autoprune.cli.options import Bounds, Everything, Study, with_options
from autoprune.cli.verbs import app
from autoprune.fronts.limits import UNCHANGED, Limits
from autoprune.record.record import Record

LIMITS = ["--floor", "--max", "--for"]

TAKES = {
    "front": [*LIMITS, "--prefer", "--format", "--sort", "--all", "--csv", "--json", "--runs"],
    "verify": [*LIMITS, "--prefer", "--format", "--all", "--again", "--rounds", "--runs"],
    "record": ["--to", "--runs"],
    "report": ["--to", *LIMITS, "--prefer", "--runs"],
    "show": [*LIMITS, "--runs"],
    "compare": [*LIMITS, "--json", "--runs"],
    "pick": ["--to", "--dense", "--bare", *LIMITS, "--prefer", "--format", "--runs"],
    "dashboard": ["--port", "--host", *LIMITS, "--runs"],
    "cache": ["--runs", "--clear"],
}
"""The options of every verb, in the order in which its help lists them."""


def test_every_verb_takes_its_options_in_their_order() -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group has them
    found = {
        name: [max(one.opts, key=len) for one in verb.params if one.param_type_name == "option" and one.name != "help"]
        for name, verb in verbs.items()
    }
    assert found == TAKES


def test_no_verb_has_more_than_eight_parameters() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        verb = inspect.unwrap(command.callback)
        assert len(inspect.signature(verb, follow_wrapped=False).parameters) <= 8, verb.__name__


@pytest.fixture
def got(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a verb of a study and limits; gives what it got."""
    monkeypatch.chdir(tmp_path)
    make_study(Path("runs/one"), 3, verified=False)
    make_study(Path("elsewhere/one"), 4, verified=False)
    held: dict[str, Any] = {}
    small = typer.Typer()

    @small.command()
    @with_options
    def verb(
        record: Study,
        other: Annotated[Record, typer.Argument(metavar="STUDY")],
        limits: Everything,
        *,
        own: Annotated[bool, typer.Option("--own")] = False,
    ) -> None:
        held.update(record=record, other=other, limits=limits, own=own)

    def run(*arguments: str) -> dict[str, Any]:
        held.clear()
        ended = CliRunner().invoke(small, arguments, catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
        return dict(held)

    return run


def test_a_verb_gets_records_and_one_value_of_limits(got: Any) -> None:
    found = got("one", "elsewhere/one", "--floor", "quality=0.9x", "--floor", "worst_slice=0.8x", "--for", "smallest")
    assert (len(found["record"].points), len(found["other"].points)) == (3, 4)
    assert found["limits"] == Limits(floors=["quality=0.9x", "worst_slice=0.8x"], profile="smallest")
    assert found["own"] is False
    found = got("one", "one", "--own", "--runs", "elsewhere", "--max", "size_bytes=0.5x", "--prefer", "latency")
    assert len(found["record"].points) == 4
    assert found["limits"] == Limits(ceilings=["size_bytes=0.5x"], prefer="latency")
    assert found["own"] is True
    assert got("one", "one")["limits"] == UNCHANGED


def test_a_verb_takes_no_option_that_it_has_no_use_for() -> None:
    @with_options
    def verb(record: Study, limits: Bounds) -> None:
        del record, limits

    assert list(inspect.signature(verb).parameters) == ["record", "floors", "ceilings", "profile", "runs"]
