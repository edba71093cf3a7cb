"""The options that verbs share: what each verb takes, and what it gets."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Annotated, Any

import pytest
from made_studies import make_study

from autoprune.cli.options import Argument, Bounds, Everything, Option, Parser, Study, parameters, run_verb
from autoprune.cli.verbs import VERBS
from autoprune.errors import AutopruneError
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
    assert {name: Parser(verb).flags for name, verb in VERBS.items()} == TAKES


def test_no_verb_has_more_than_eight_parameters() -> None:
    for name, verb in VERBS.items():
        assert len(inspect.signature(verb).parameters) <= 8, name


@pytest.fixture
def got(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a verb of a study and limits; gives what it got."""
    monkeypatch.chdir(tmp_path)
    make_study(Path("runs/one"), 3, verified=False)
    make_study(Path("elsewhere/one"), 4, verified=False)
    held: dict[str, Any] = {}

    def verb(
        record: Study,
        other: Annotated[Record, Argument("Another one.", "STUDY")],
        limits: Everything,
        number: Annotated[int | None, Argument("Of a candidate.", "NUMBER")] = None,
        *,
        own: Annotated[bool, Option("Of this verb alone.")] = False,
    ) -> None:
        held.update(record=record, other=other, limits=limits, number=number, own=own)

    def run(*words: str) -> dict[str, Any]:
        held.clear()
        run_verb(verb, words)
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


def test_a_number_may_stand_behind_options(got: Any) -> None:
    assert got("one", "one", "--own", "3")["number"] == 3
    assert got("--max=size_bytes=1MB", "one", "--own", "one")["number"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("one", "verb: the following arguments are required: STUDY."),
        ("one one --flor 3", "verb: there is no option --flor. Did you mean --floor"),
        ("one one 3 4", "verb: unexpected argument '4'."),
        ("one one 3.5", "verb: argument NUMBER: a whole number must be given, but got '3.5'."),
        ("one one --prefer", "verb: argument --prefer: expected one argument."),
    ],
)
def test_what_cannot_be_read_is_said_and_where_it_is_explained(words: str, said: str, got: Any) -> None:
    with pytest.raises(AutopruneError, match=re.escape(said)) as caught:
        got(*words.split())
    assert str(caught.value).endswith("See autoprune verb --help.")


def test_a_verb_takes_no_option_that_it_has_no_use_for() -> None:
    def verb(record: Study, limits: Bounds) -> None:
        del record, limits

    assert [one.name for one in parameters(verb)] == ["record", "floors", "ceilings", "profile", "runs"]
