"""The result in a sentence: the range of speeds, not the best; and intervals that say nothing."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from made_studies import make_study

from autoprune.fronts.front import NOTHING_TRIED, Front
from autoprune.fronts.limits import Limits
from autoprune.fronts.requirements import parse_flag
from autoprune.measure.measurement import VERIFY
from autoprune.measure.reading import Reading
from autoprune.record.archive import Archive
from autoprune.record.point import Point, columns
from autoprune.record.record import Record
from autoprune.views import phrases
from autoprune.views.card import card
from autoprune.views.front_json import front_json
from autoprune.views.headline import certainty, headline
from autoprune.views.intervals import ends, legend, plus_minus, telling
from autoprune.views.pace import SIZE, SPEED, factor, faster, spread, surely_faster, timed
from autoprune.views.report.content import content
from autoprune.views.rows import marked

RATIOS = {"1x32": 0.2, "1x16": 0.21, "1x128": 0.27, "32x32": 0.32}
"""Of a model that is five times faster on one short text, and three times on a batch."""


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return make_study(tmp_path_factory.mktemp("runs") / "s")


def point_with(point: Point, latency: dict[str, Reading]) -> Point:
    """The same point with other latencies, the first of them the one that `latency_ms` means."""
    rest = {name: reading for name, reading in point.verified.items() if not name.startswith("latency_ms")}
    named = {f"latency_ms.{name}": reading for name, reading in latency.items()}
    return dataclasses.replace(point, verified={**rest, "latency_ms": next(iter(latency.values())), **named})


@pytest.mark.parametrize(
    ("ratios", "told"),
    [
        ([0.2, 0.32, 0.27], "3.1 to 5.0× faster"),
        ([0.32, 0.2], "3.1 to 5.0× faster"),
        ([0.5, 0.501], "2.0× faster"),
        ([0.01, 0.5], "2.0 to 100× faster"),
        ([1.2, 1.9], "1.2 to 1.9× slower"),
        ([1.013, 1.943], "1.9× slower to as fast"),
        ([1.9, 0.2], "1.9× slower to 5.0× faster"),
        ([0.98, 0.5], "as fast to 2.0× faster"),
        ([0.99, 1.01], "as fast"),
        ([0.1], "10× faster"),
        ([0.02, 0.09], "11 to 50× faster"),
    ],
)
def test_a_spread_goes_from_the_worst_to_the_best(ratios: list[float], told: str) -> None:
    assert spread(ratios, SPEED) == told


@pytest.mark.parametrize(("ratio", "told"), [(0.5, "2.0× smaller"), (1.25, "1.2× larger"), (1.0, "as large")])
def test_what_grew_is_not_called_smaller(ratio: float, told: str) -> None:
    assert factor(ratio, SIZE) == told


def test_every_workload_is_in_the_headline(record: Record) -> None:
    point = point_with(record.points[1], {name: Reading(1.0, ratio) for name, ratio in RATIOS.items()})
    assert faster(point) == (
        "3.1 to 5.0× faster (1x32: 5.0× faster; 1x16: 4.8× faster; 1x128: 3.7× faster; 32x32: 3.1× faster)"
    )
    alone = point_with(record.points[1], {"single": Reading(1.0, 0.25)})
    assert faster(alone) == "4.0× faster (single)"


def test_headlines_of_all_views_are_one_sentence(record: Record) -> None:
    front = Front(record)
    pick = front.pick()
    each = [f"{factor(reading.ratio, SPEED)} ({name})" for name, reading in timed(pick).items()]
    assert len(each) == 2
    assert ", ".join(each) in headline(front)
    assert front_json(front)["headline"] == headline(front)
    assert faster(pick) in card(front, pick)
    assert f"{100 * (pick.verified['worst_slice'].ratio - 1):+.1f}% on the worst slice" in headline(front)


def test_certainty_covers_every_workload_and_names_the_machine(record: Record) -> None:
    front = Front(record)
    told = certainty(front)
    each = [f"{spread(reading.interval or (), SPEED)} ({name})" for name, reading in timed(front.pick()).items()]
    assert len(each) == 2
    assert f"In 95 of 100 repeats it is {', '.join(each)}." in told
    assert told.count("In 95 of 100 repeats ") == 2, "each of the two is likely; both at once are less so"
    assert "Latency was timed on made up, 2 cores." in told
    steady = {"single": Reading(1.0, 0.5, repeat=0.01)}
    assert surely_faster(point_with(front.pick(), steady)) == "1.9 to 2.1× faster"
    for doubtful in (Reading(1.0, 0.5), Reading(1.0, 0.5, repeat=5.0)):
        assert not surely_faster(point_with(front.pick(), {**steady, "batch": doubtful})), (
            "of one workload nobody knows"
        )


def test_a_bound_within_too_few_processes_is_not_called_sure(record: Record) -> None:
    sure = parse_flag("latency_ms=0.9x:0.95", "max", None)
    for reading, told in (
        (Reading(1.0, 0.8, error=0.01), f"holds; {phrases.THINLY}"),
        (Reading(1.0, 0.8, error=0.01, repeat=0.02, freedom=4), "holds"),
    ):
        assert sure.violation(reading) < 0, "a search times in one process, and could meet it by no other"
        assert phrases.certainty(sure, reading) == told
        assert (phrases.bound(sure, reading) == phrases.NOTHING) == (told != "holds")
    front = Front(record, Limits(ceilings=["latency_ms=2x:0.95"]))
    once = point_with(front.pick(), {"single": Reading(1.0, 0.8, error=0.01)})
    assert f"latency_ms <= 2x (95 % sure) ({phrases.THINLY})" in phrases.evidence(front, once)
    assert phrases.THINLY not in phrases.evidence(front, front.pick())


def test_a_floor_on_another_metric_is_in_the_headline(record: Record) -> None:
    front = Front(record, Limits(floors=["recall@20=0.9x"]))
    change = 100 * (front.pick().verified["recall@20"].ratio - 1)
    assert f"{change:+.1f}% recall@20" in headline(front)
    assert "recall" not in headline(Front(record))


def test_nothing_is_claimed_where_nothing_was_tried(tmp_path: Path) -> None:
    assert headline(Front(make_study(tmp_path / "s", 1))) == NOTHING_TRIED


@pytest.mark.parametrize(
    ("reading", "sign", "told"),
    [
        (Reading(1, 1, repeat=0.0001), "±0.001", "0.9998x to 1x"),
        (Reading(1, 1), "", ""),
        (Reading(1, 1, error=0.0), "", ""),
        (Reading(1, math.nan, repeat=0.1), "", ""),
        (Reading(1, 0.309, repeat=667.0), "±?", "±?"),
        (Reading(1, -0.1, repeat=0.2), "±?", "±?"),
        (Reading(1, 0.309, repeat=60.0, freedom=1), "±?", "±?"),
        (Reading(1, 0.5, repeat=0.1), "±0.196", "0.304x to 0.696x"),
    ],
)
def test_an_interval_wider_than_its_value_says_nothing(reading: Reading, sign: str, told: str) -> None:
    assert (plus_minus(reading), ends(reading)) == (sign, told)
    assert reading.vague == (sign == "±?")
    assert (telling(reading) is None) == (sign in ("", "±?"))
    assert ("says nothing" in legend([Reading(1, 1), reading])) == (sign == "±?")


def test_no_picture_draws_an_interval_that_says_nothing(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 20)
    number = Front(record).pick().number
    archive = Archive(record.folder / "archive.jsonl")
    point = record.point(number)
    archive.add(point.candidate.with_measurement(
        dataclasses.replace(point.candidate.latest("verify"), errors={"ndcg@20": 50.0})
    ))  # fmt: skip
    front = Front(Record(record.folder))
    side = content(front)["tested"]
    assert side["vague"]["quality"] == [number]
    assert side["above"]["quality"][number] is None
    (row,) = [
        line for line in card(front, front.record.point(number)).splitlines() if line.startswith("| ndcg@20, test")
    ]
    assert row.endswith("±? |")


def test_what_is_not_known_or_was_timed_under_load_is_not_praised(record: Record) -> None:
    vague = Reading(0.2, 1.0, error=1.0, repeat=3.0, freedom=4)
    sure = Reading(0.2, 0.5, error=0.01, repeat=0.01, freedom=4)
    point = next(point for point in record.points if point.verified and point.number)
    assert faster(point_with(point, {"single": vague})) == "latency not known (single)"
    told = faster(point_with(point, {"single": vague, "batch": sure}))
    assert told == "latency not known (single), 2.0× faster (batch)"
    low_high = [name for name in columns(point_with(point, {"single": vague}), ["latency_ms"]) if name[-4:] != "atio"]
    assert not any(name.endswith(("_low", "_high")) for name in low_high)
    measured = point.candidate.latest(VERIFY)
    loaded = {name: dataclasses.replace(timed, load=0.5) for name, timed in measured.latency.items()}
    candidate = point.candidate.with_measurement(dataclasses.replace(measured, latency=loaded))
    busy = dataclasses.replace(point_with(point, {"single": sure}), candidate=candidate)
    assert faster(busy) == "2.0× faster (single), timed under load"
    assert "its latency is uncertain" in card(Front(record), busy)
    assert marked(Front(record), [busy])[0]["busy"]
