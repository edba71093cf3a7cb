"""What is said of looks beside what was measured."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from made_studies import add_looks, make_study
from rich.console import Console

from autoprune.fronts.front import Front
from autoprune.record.looks import CLOSER_LOOKS, Looks
from autoprune.record.record import Record
from autoprune.views import looks, plots
from autoprune.views.effects import importance
from autoprune.views.front_json import front_json
from autoprune.views.origin import made_how
from autoprune.views.report.content import content
from autoprune.views.rows import front_csv
from autoprune.views.terminal import print_front


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Front:
    return Front(add_looks(make_study(tmp_path_factory.mktemp("home") / "runs" / "demo", 40)))


def shown(front: Front, *, everything: bool) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_front(console, front, everything=everything)
    return console.file.getvalue()


def test_looks_stand_after_the_front_and_never_on_it(front: Front) -> None:
    promises = front.promises
    assert promises
    found = looks.unmade(front, promises)
    assert len(found) > 20
    assert not {look.key for look in found} & set(front.record.archive.candidates)
    assert "Looks, not measurements" not in shown(front, everything=False)
    text = shown(front, everything=True)
    head = f"Looks, not measurements: {len(found)} recipes on their front were not made, 20 of them are shown"
    table, _, after = text.partition(head)
    assert found[0].summary not in table
    assert found[0].summary in after
    rows = list(csv.DictReader(io.StringIO(front_csv(front))))
    assert {int(row["number"]) for row in rows} == {0, *(point.number for point in front)}


def test_it_is_said_how_well_looks_foretold(front: Front) -> None:
    assert front.promises
    told = looks.foretold(front, front.promises)
    assert told
    assert told.made == sum("quality" in point.found for point in front.record.points[1:])
    assert told.most == pytest.approx(0.004)
    said = " ".join(looks.sentences(front))
    assert "200 of the 600 units" in said
    assert "6 failed, most often with: ndcg@20 is nan" in said
    assert "0.004x at most" in said


def test_closer_looks_stand_alone_where_there_are_any(front: Front, tmp_path: Path) -> None:
    shutil.copytree(front.record.folder, tmp_path / "demo")
    taken = list(front.record.looks.found.values())
    closer = [dataclasses.replace(look, units=600, counts={"ndcg@20": {"all": 600}}) for look in taken[:1]]
    closer += [dataclasses.replace(look, units=600) for look in taken[1:] if not look.failed][:80]
    Looks(tmp_path / "demo" / CLOSER_LOOKS).add(*closer)
    near = Front(Record(tmp_path / "demo"))
    text = " ".join(shown(near, everything=True).split())
    assert near.closer
    found = looks.unmade(near, near.closer)
    assert {look.units for look in found} == {600}, "looks that asked less are not among them"
    assert f"Closer looks, not measurements: {len(found)} recipes on their front were not made" in text
    assert "on 200 of the 600 units" in text
    assert "80 closer looks choose what is made. They used all 600 units and were 0.0" in text
    told = front_json(near)
    assert told["looked"]["closer"] == 80
    assert [one["words"] for one in told["looks"]] == [look.summary for look in found]
    assert {one["units"] for one in told["looks"]} == {600}


def test_programs_are_told_looks_apart(front: Front) -> None:
    found = json.loads(json.dumps(front_json(front), allow_nan=False))
    assert front.promises
    assert [one["words"] for one in found["looks"]] == [look.summary for look in looks.unmade(front, front.promises)]
    assert {one["units"] for one in found["looks"]} == {200}
    assert {one["of_units"] for one in found["looks"]} == {600}
    assert found["looked"]["failed"] == 6
    ratios = [one["quality_ratio"] for one in found["looks"]]
    assert ratios == sorted(ratios, reverse=True)


def test_dots_are_behind_the_candidates_and_few(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "MOST_DRAWN", 30)
    figure = plots.tradeoff(front)
    dots, line = figure.data[:2]
    assert dots.meta["layer"] == line.meta["layer"] == "looks"
    assert 10 < len(dots.x) <= 30
    assert list(line.y) == sorted(line.y)
    assert len(line.x) == len(line.text)
    assert all(trace.meta["layer"] != "looks" for trace in plots.tradeoff(front, "latency_ms.single").data)
    page = content(front)
    kept = [trace for trace in page["figures"]["tradeoff"]["size_bytes"]["data"] if trace["meta"]["layer"] == "looks"]
    assert [len(trace["x"]) for trace in kept] == [len(dots.x), len(line.x)]
    assert page["looks"]["count"] == len(looks.others(front))


def test_what_mattered_is_asked_of_looks_as_they_stand(front: Front, tmp_path: Path) -> None:
    alone = importance(make_study(tmp_path / "runs" / "bare", 40))  # the same candidates
    found = importance(front.record)
    assert found["latency"] == alone["latency"], "which looks do not tell"
    assert found["size"]["encode.method"] != alone["size"]["encode.method"]


def test_the_card_counts_looks(front: Front) -> None:
    assert f"found by {len(front.record.looks):,} looks in memory" in made_how(front.record, front.record.baseline, {})


def test_a_study_without_looks_says_nothing_of_them(tmp_path: Path) -> None:
    bare = Front(make_study(tmp_path / "runs" / "bare", 12))
    assert bare.promises is None
    assert "look" not in shown(bare, everything=True)
    told: dict[str, Any] = front_json(bare)
    assert told["looks"] == []
    assert told["looked"] is None
    assert content(bare)["looks"]["text"] == ""


def test_latency_that_the_search_left_out_is_the_verifications(tmp_path: Path) -> None:
    record = make_study(tmp_path / "runs" / "untimed", 40, objectives=("quality", "size"))
    lines = [json.loads(line) for line in record.archive.path.read_text().splitlines()]
    for line in lines:
        if line["number"]:
            line["measurements"][0]["latency"] = {}
    record.archive.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for point in Record(record.folder).points[1:]:
        assert ("latency_ms" in point.found) == bool(point.verified)
        assert point.found.get("latency_ms") == point.verified.get("latency_ms")
        assert "latency_ms" not in point.searched
        assert point.searched.keys() == {name for name in point.found if "latency" not in name}
