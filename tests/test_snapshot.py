"""What a recorded study keeps."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest
import yaml
from made_studies import make_study
from small_study import many, record, verified

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.views.commands import search_command, without_places
from autoprune.views.snapshot import write


def test_a_record_keeps_numbers_recipes_and_no_places(tmp_path: Path) -> None:
    front = Front(record(tmp_path / "s", verified(many())))
    to = tmp_path / "studies" / "s"
    to.mkdir(parents=True)
    (to / "README.md").write_text("mine")
    for _ in range(2):  # a second time replaces the first
        assert [path.name for path in write(front, to)] == ["study.yaml", "front.csv", "front.png"]
    assert (to / "README.md").read_text() == "mine"
    rows = list(csv.DictReader((to / "front.csv").read_text().splitlines()))
    assert [row["number"] for row in rows] == ["0", "1", "3", "4", "2"]
    assert [row["front"] for row in rows] == ["yes", "yes", "yes", "no", "no"]
    assert [row["fell"] for row in rows] == ["", "", "", "misses quality >= 0.9x by 16.7% of the limit", ""]
    last = rows[3]
    assert (last["ndcg@20_ratio"], last["test_ndcg@20_ratio"]) == ("0.92", "0.75")
    assert (last["size_bytes"], last["latency_ms.single_ratio"]) == ("50", "1.1")
    assert (last["verified_latency_ms.single_ratio"], last["verified_latency_ms.single"]) == ("1.1", "2.2")
    assert json.loads(last["recipe"]) == {"quantize": {"bits": 8}}
    content = yaml.safe_load((to / "study.yaml").read_text())
    assert content["study"] == "s"
    assert content["command"] == (
        "autoprune task=interactions task.data.path=path/to/films study.trials=90 study.name=s && autoprune verify s"
    )
    assert content["definition"]["task"]["titles"] == "path/to/titles.txt"
    for name in ("study.yaml", "front.csv"):
        assert str(tmp_path) not in (to / name).read_text()
        assert "/home" not in (to / name).read_text()


def test_intervals_of_what_was_verified_are_kept(tmp_path: Path) -> None:
    front = Front(record(tmp_path / "s", verified(many(), rounds=(0.9, 1.0, 1.1), error=0.01)))
    write(front, tmp_path / "to")
    rows = {int(row["number"]): row for row in csv.DictReader((tmp_path / "to" / "front.csv").read_text().splitlines())}
    for number, row in rows.items():
        for label, name in (("test_ndcg@20", "ndcg@20"), ("verified_latency_ms.single", "latency_ms.single")):
            ends = (row[f"{label}_low"], row[f"{label}_high"])
            interval = front.record.point(number).verified[name].interval
            assert ends == (tuple(f"{end:.6g}" for end in interval) if interval else ("", ""))
    assert rows[1]["test_ndcg@20_low"]
    assert not rows[0]["test_ndcg@20_low"], "all are read against the baseline"
    assert not any("size_bytes_low" in name for name in rows[0])


def test_what_is_beaten_after_verification_is_told(tmp_path: Path) -> None:
    front = Front(make_study(tmp_path / "s", 40, seed=2))
    write(front, tmp_path / "to")
    rows = list(csv.DictReader((tmp_path / "to" / "front.csv").read_text().splitlines()))
    told = {int(row["number"]): row["fell"] for row in rows if row["fell"]}
    assert told == {fall.point.number: fall.reason for fall in front.falls}
    assert any(words.startswith("is beaten by #") for words in told.values())
    assert {int(row["number"]) for row in rows if row["front"] == "yes"} == {point.number for point in front}


def test_an_unverified_study_has_no_test_columns(tmp_path: Path) -> None:
    found = record(tmp_path / "s", many())
    write(Front(found), tmp_path / "to")
    assert "test" not in (tmp_path / "to" / "front.csv").read_text()
    assert "verify" not in search_command(found)


def test_another_study_is_not_overwritten(tmp_path: Path) -> None:
    one, other = record(tmp_path / "one", many()), record(tmp_path / "other", many())
    write(Front(one), tmp_path / "to")
    with pytest.raises(AutopruneError, match="it is the record of study 'one', not of 'other'"):
        write(Front(other), tmp_path / "to")
    before = (one.folder / "study.yaml").read_bytes()
    with pytest.raises(AutopruneError, match="name another folder with --to"):
        write(Front(one), one.folder)
    assert (one.folder / "study.yaml").read_bytes() == before


def test_what_is_no_record_is_not_overwritten(tmp_path: Path) -> None:
    found, path = record(tmp_path / "s", many()), tmp_path / "to" / "study.yaml"
    path.parent.mkdir()
    path.write_text("study: [")
    with pytest.raises(AutopruneError, match=r"study\.yaml: the file is not valid YAML(?s:.)*name another folder"):
        write(Front(found), path.parent)
    assert path.read_text() == "study: ["


@pytest.mark.parametrize("override", ["+task.a=1", "++task.b.c=2", "~task.titles", "task=films", "study.device=cuda"])
def test_what_shapes_a_candidate_is_in_the_command_that_makes_it_again(override: str, tmp_path: Path) -> None:
    found = record(tmp_path / "s", many())
    found.overrides = ["task=interactions", override, "study.minutes=3", "space.prune.epochs=0"]
    command = shlex.split(found.command(found.point(1)))
    assert command[:3] == ["autoprune", "task=interactions", override]
    assert not {"study.minutes=3", "space.prune.epochs=0"} & set(command)


def test_places_are_cut_wherever_they_stand() -> None:
    content = {"a": ["/x/y/z", "b/c"], "d": {"e": "C:\\data\\films"}, "f": 1, "g": "per_user"}
    assert without_places(content) == {
        "a": ["path/to/z", "b/c"],
        "d": {"e": "path/to/films"},
        "f": 1,
        "g": "per_user",
    }


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("task.texts=[general,/srv/me/with.txt]", "task.texts=[general,path/to/with.txt]"),
        ("task.texts=['/srv/me/my own.txt', b]", "task.texts=['path/to/my own.txt', b]"),
        ("task.data.path=a.csv,/srv/me/b.csv", "task.data.path=a.csv,path/to/b.csv"),
        ("task.data.path=/srv/me/a.csv,/srv/me/b.csv", "task.data.path=path/to/a.csv,path/to/b.csv"),
        ("task.data.path='/srv/me/my (1).csv'", "task.data.path=path/to/my (1).csv"),
        ("+task.options={train:/srv/me/a.csv,share:0.5}", "+task.options={train:path/to/a.csv,share:0.5}"),
        ("task.data.path=[C:\\me\\a.csv,b/c.csv]", "task.data.path=[path/to/a.csv,b/c.csv]"),
        ("executor.address=ray://head:10001", "executor.address=ray://head:10001"),
    ],
)
def test_each_of_several_places_is_cut(told: str, shown: str, tmp_path: Path) -> None:
    found = record(tmp_path / "s", many())
    found.overrides = [told]
    assert shlex.split(search_command(found)) == ["autoprune", shown, "study.name=s"]
    assert without_places(told.partition("=")[2].strip("'")) == shown.partition("=")[2]
