"""A front for programs says all that its table says: every word of the table is looked up in the CSV and the JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_studies import make_study
from rich.table import Table

from autoprune.fronts.front import NOTHING_TRIED, Front
from autoprune.fronts.limits import UNCHANGED, Limits
from autoprune.record.record import Record
from autoprune.views import phrases
from autoprune.views.front_json import front_json
from autoprune.views.rows import front_csv, listed
from autoprune.views.terminal.front import front_table

Row = dict[str, Any]

KINDS = ("verified", "raw", "partly", "one")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies, by name; not to be changed. In `partly` one point of the front is verified, and a tail is faint."""
    folder = tmp_path_factory.mktemp("runs")
    make_study(folder / "raw", verified=False)
    make_study(folder / "one", 1)
    done, partly = make_study(folder / "verified"), make_study(folder / "partly", verified=False)
    for number in (0, Front(partly).searched[1].number):
        partly.archive.add(done.point(number).candidate)
    path = folder / "partly" / "archive.jsonl"
    path.write_text(re.sub(r'"tail": ?([0-9.e-]+)', lambda tail: f'"tail":{float(tail[1]) / 5}', path.read_text()))
    return folder


def csv_rows(front: Front) -> list[Row]:
    return list(csv.DictReader(io.StringIO(front_csv(front))))


def json_rows(front: Front) -> list[Row]:
    """The points of the JSON in the columns of the CSV, the baseline first."""
    facts = json.loads(json.dumps(front_json(front), allow_nan=False))
    points = [facts["baseline"], *(point for point in facts["points"] if point["number"])]
    return [dict(flat(point)) for point in points] if facts["explanation"] is None else []


def flat(point: Row) -> Iterator[tuple[str, Any]]:
    for name, value in point.items():
        if name not in ("search", "verified", "recipe"):
            yield name, ("no", "yes")[value] if isinstance(value, bool) else "" if value is None else value
    yield "recipe", point["words"]
    yield "verified", "yes" if point["verified"] else "no"
    for side in ("search", "verified"):
        for name, reading in point[side].items():
            for kind, value in reading.items():
                yield f"{side} {name} {kind}", value


def words(row: Row) -> set[str]:
    """Every way to write what stands in a row."""
    found = {"baseline", *row["recipe"].split(), row["letters"], "-"}
    found |= {name for name in ("pick", "knee") if row[name] == "yes"}
    found |= set(row["profiles"].split() if isinstance(row["profiles"], str) else row["profiles"])
    numbers = {name: float(value) for name, value in row.items() if number_of(value) is not None}
    for name, value in numbers.items():
        if name in ("number", "beyond_ratio"):
            continue
        found |= {f"{value:.4f}", f"{value:.3f}", f"{value:.3f}x", f"{value:.4f}x", *phrases.byte_count(value).split()}
        if name.endswith("high"):
            low = numbers[f"{name.removesuffix('high')}low"]
            found |= {f"±{math.ceil((value - low) / 2 * 1000) / 1000:.3f}"}
    return found | {"ms", "±?"}


def number_of(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def cells(table: Table) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in zip(*(column.cells for column in table.columns), strict=True)]


@pytest.mark.parametrize("limits", [UNCHANGED, Limits(profile="none"), Limits(profile="smallest")])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows_of", [csv_rows, json_rows])
def test_programs_are_told_all_that_the_table_shows(rows_of: Any, kind: str, limits: Limits, runs: Path) -> None:
    front = Front(Record(runs / kind), limits)
    points, rows = listed(front), rows_of(front)
    assert [int(row["number"]) for row in rows] == [point.number for point in points]
    shown = [cells(front_table(front, points, picks=front.picks(), wide=wide)) for wide in (True, False)]
    anything = any(row["verified"] == "yes" for row in rows)
    for wide, narrow, row in zip(*shown, rows, strict=True):
        assert {"*" in cell for cell in wide} == {False, *([True] if row["beyond"] else [])}
        assert any(cell.endswith("?") and not cell.endswith("±?") for cell in wide) == (
            anything and row["verified"] == "no"
        )
        told = words(row) | {name[0].upper() for name in front.picks()}
        for cell in (*wide[1:], *narrow[1:]):
            for word in cell.replace("*", "").removesuffix(" ?").split():
                assert word in told, (kind, row["number"], cell, word)


def test_some_of_these_fronts_have_every_mark(runs: Path) -> None:
    rows = [row for kind in KINDS for row in csv_rows(Front(Record(runs / kind)))]
    for name in ("front", "pick", "knee", "verified"):
        assert {row[name] for row in rows} == {"yes", "no"}
    assert any(row["profiles"] for row in rows)
    assert any(row["letters"] for row in rows)
    assert any(row["beyond"] for row in rows)


def test_columns_are_the_same_where_nothing_is_feasible(runs: Path) -> None:
    record = Record(runs / "verified")
    header = front_csv(Front(record)).splitlines()[0]
    (alone,) = front_csv(Front(record, Limits(ceilings=["size_bytes=1B"]))).splitlines()
    assert set(alone.split(",")) <= set(header.split(","))
    assert header.startswith(
        "number,name,recipe,front,pick,knee,profiles,letters,for_sure,beyond,beyond_ratio,busy,verified,ndcg@20,"
    )


def test_what_stands_below_the_table_is_told_as_well(runs: Path) -> None:
    for kind in KINDS:
        front = Front(Record(runs / kind))
        facts = front_json(front)
        assert facts["notes"] == phrases.notes(front)
        assert facts["workload"] == "single"
        assert facts["picks"] == {name: point.number if point else None for name, point in front.picks().items()}
        assert [one["number"] for one in facts["falls"]] == [fall.point.number for fall in front.falls]
    assert "Nothing is verified yet" in front_json(Front(Record(runs / "raw")))["notes"][0]
    assert front_json(Front(Record(runs / "one")))["notes"] == [NOTHING_TRIED]
    strict = Limits(floors=["quality=1x", "worst_slice=1x"], ceilings=["size_bytes=1x"], profile="none")
    (alone, *_) = front_json(Front(Record(runs / "raw"), strict))["notes"]
    assert alone.startswith("No candidate of 39 meets every requirement.")
