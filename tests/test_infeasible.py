"""Studies built to have no feasible point: what the explanation says is true, and what it advises works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_studies import make_study

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.infeasible import explain
from autoprune.fronts.limits import Limits
from autoprune.fronts.requirements import Requirements
from autoprune.record.record import Record

STRICT: dict[str, dict[str, Any]] = {
    "one is too much": {"quality": {"drop": "0.1%"}, "size_bytes": {"max": "0.1x"}},
    "each is too much": {"quality": {"min": "1.5x"}, "size_bytes": {"max": "0.0001x"}, "latency_ms": {"max": "0.01x"}},
    "absolute": {"ndcg@20": {"min": 0.2}, "size_bytes": {"max": "1KB"}},
    "a bound": {"quality": {"min": "1.05x", "confidence": 0.95}, "worst_slice": {"drop": "1%"}},
    "one slice": {"ndcg@20.tail": {"min": "2x"}},
}


@pytest.fixture(scope="module", params=list(STRICT))
def record(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Record:
    return make_study(tmp_path_factory.mktemp("runs") / "s", 60, requirements=STRICT[request.param], verified=False)


def loosened(flags: list[str]) -> Limits:
    arguments = " ".join(flags).split()
    limits = {
        kind: [limit for flag, limit in zip(arguments[::2], arguments[1::2], strict=True) if flag == kind]
        for kind in arguments[::2]
    }
    return Limits(floors=limits.get("--floor", ()), ceilings=limits.get("--max", ()))


def test_misses_match_a_count(record: Record) -> None:
    front = Front(record)
    assert not front.feasible
    found = front.infeasible()
    assert found.candidates == len(record.points) - 1
    assert found.rejected == sum(bool(point.candidate.rejected) for point in record.points)
    for item in front.requirements.items:
        by = [
            item.violation(point.found[item.reading])
            for point in record.points[1:]
            if item.reading in point.found and item.violation(point.found[item.reading]) > 0
        ]
        if by:
            (missed,) = [one for one in found.missed if one.text == item.text]
            assert (missed.times, missed.least) == (len(by), min(by))


def test_each_advice_makes_something_feasible(record: Record) -> None:
    found = Front(record).infeasible()
    assert found.loosenings or found.together
    for advice in [[one.flag] for one in found.loosenings] or [found.together]:
        assert Front(record, loosened(advice)).feasible, advice


def test_no_smaller_change_of_one_requirement_would_do(record: Record) -> None:
    front = Front(record)
    found = front.infeasible()
    advised = {one.text: one.point for one in found.loosenings}
    for item in front.requirements.items:
        others = Requirements(items=tuple(other for other in front.requirements.items if other != item))
        able = [point for point in record.points[1:] if not point.candidate.rejected and others.hold(point.found)]
        assert bool(able) == (item.text in advised)
        if able:
            least = min(item.violation(point.found[item.reading]) for point in able)
            assert item.violation(advised[item.text].found[item.reading]) == least


def test_the_nearest_misses_least(record: Record) -> None:
    front = Front(record)
    found = front.infeasible()
    whole = [point for point in record.points[1:] if not point.candidate.rejected]
    worst = [max(front.requirements.violations(point.found).values()) for point in whole]
    assert max(found.nearest[0].violations.values()) == min(worst)
    assert len(found.nearest) == 3


def test_a_pick_says_why_there_is_none(record: Record) -> None:
    with pytest.raises(
        AutopruneError, match=r"(?s)No candidate of 59 meets every requirement.*missed by.*Nearest misses"
    ):
        Front(record).pick()


def test_the_baseline_alone_is_explained_too(tmp_path: Path) -> None:
    front = Front(make_study(tmp_path / "s", 1, requirements={"size_bytes": {"max": "0.5x"}}, verified=False))
    assert "No candidate of 1 meets every requirement" in front.explain_empty()
    assert "--max size_bytes=1x" in front.explain_empty()


def test_advice_is_enough_although_decimals_are_rounded(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 200, requirements={}, verified=False)
    for point in record.points[1:]:
        if point.candidate.rejected:
            continue
        ratio = point.found["size_bytes"].ratio
        strict = Limits(ceilings=[f"size_bytes={ratio * 0.5:.17g}x"]).requirements(record)
        flags = explain([record.points[0], point], strict, measuring="").loosenings
        assert len(flags) == 1
        assert Limits(ceilings=[flags[0].flag.removeprefix("--max ")]).requirements(record).hold(point.found)


def test_doubt_is_told_from_loss_and_the_way_out_works(tmp_path: Path) -> None:
    record = make_study(
        tmp_path / "s", 60, requirements={"quality": {"drop": "1%", "confidence": 0.999}}, verified=False
    )
    front = Front(record)
    (item,) = front.requirements.items
    (missed,) = front.infeasible().missed
    found = [point.found["quality"] for point in record.points[1:] if "quality" in point.found]
    doubted = [reading for reading in found if reading.ratio >= 0.99 and item.violation(reading) > 0]
    assert missed.doubted == len(doubted) > 1
    doubts = sorted(reading.ratio - reading.bound(0.999, upper=False) for reading in doubted)
    assert missed.doubt == doubts[len(doubts) // 2]
    assert (
        f"{len(doubted)} of them meet it by their values, but not by the bound, so this is doubt, not loss: the bound"
        in front.infeasible().text
    )
    assert missed.by_value == "--floor quality=0.99x"
    by_value = Front(record, loosened([missed.by_value]))
    assert sum(bool(point.number) for point in by_value.feasible) >= len(doubted)


def test_what_was_not_timed_is_said_with_the_command_that_times_it(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", 6, requirements={"latency_ms": {"max": "0.9x"}}, verified=False)
    untimed(made)
    found = Front(Record(made.folder)).infeasible()
    command = f"autoprune verify s --all --runs {tmp_path}"
    assert f"latency_ms: not measured for 5 of 5; to measure it:\n  {command}\nNearest misses:\n  #" in found.text
    assert found.nearest[0].text.endswith(": latency_ms is not measured")


def test_no_flags_are_advised_that_leave_something_unmeasured(tmp_path: Path) -> None:
    made = make_study(tmp_path / "s", 6, requirements={"quality": {"min": "1.5x"}, "latency_ms": {"max": "0.9x"}})
    untimed(made)
    front = Front(Record(made.folder))
    assert front.infeasible().together == []
    assert "together these would be" not in front.infeasible().text
    for one in front.infeasible().loosenings:
        assert Front(front.record, loosened([one.flag])).feasible


def untimed(record: Record) -> None:
    """Takes the latencies of all but the baseline from a study, which is not asked to make it small then."""
    lines = [json.loads(line) for line in record.archive.path.read_text().splitlines()]
    for line in lines:
        if line["number"]:
            line["measurements"] = [{**one, "latency": {}} for one in line["measurements"]]
    record.archive.path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    definition = record.folder / "study.yaml"
    definition.write_text(definition.read_text().replace("    - latency\n", ""))
