"""Two made-up studies side by side, against what can be counted by hand."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
import yaml
from made_studies import make_study
from rich.console import Console

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.fronts.pareto import hypervolume
from autoprune.record.archive import Archive
from autoprune.record.point import Point
from autoprune.record.record import Record
from autoprune.views.compare import Best, Comparison, _readings, compare
from autoprune.views.terminal import print_comparison


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    make_study(folder / "one")
    make_study(folder / "other", 60, seed=3)
    make_study(folder / "raw", verified=False)
    make_study(folder / "elsewhere", seed=4, machine="ffff")
    make_study(folder / "alone", 1)
    make_study(folder / "none", requirements={"recall@20.tail": {"min": "1.5x"}})
    return folder


def front(runs: Path, name: str) -> Front:
    return Front(Record(runs / name))


def three(point: Point) -> tuple[float, float, float]:
    """All three so that more is better."""
    found = point.verified
    return found["quality"].value, -found["size_bytes"].value, -found["latency_ms"].ratio


def test_beaten_points_match_brute_force(runs: Path) -> None:
    one, other = front(runs, "one"), front(runs, "other")
    found = compare(one, other)
    assert found.verified
    assert found.machine == "0123456789"
    assert found.objectives == ["quality", "size", "latency"]
    for side, ours, theirs in zip(found.sides, (one, other), (other, one), strict=True):
        beaten = {
            our.number
            for our in ours
            if our.number
            for their in theirs
            if three(their) != three(our) and all(a >= b for a, b in zip(three(their), three(our), strict=True))
        }
        assert set(side.beaten) == beaten
        assert side.points == sum(point.number > 0 for point in ours)
    assert any(side.beaten for side in found.sides), "or nothing was tested"


def test_hypervolumes_share_one_floor_and_both_cover_no_less_than_each(runs: Path) -> None:
    one, record = front(runs, "one"), Record(runs / "other")
    other = Front(record, Limits(profile="none", floors=["quality=0.92x"]))
    found = compare(one, other)
    assert found.floor == pytest.approx(0.92)
    assert not found.verified, "a lower floor has other finalists"
    readings = [[point.found for point in side.searched] for side in (one, other)]
    for side, held in zip(found.sides, readings, strict=True):
        assert side.hypervolume == pytest.approx(hypervolume(held, found.objectives, floor=0.92))
    both = [*readings[0], *readings[1]]
    assert found.together == pytest.approx(hypervolume(both, found.objectives, floor=0.92))
    assert found.together >= max(side.hypervolume for side in found.sides)


def test_best_at_a_level_is_the_least_that_reaches_it(runs: Path) -> None:
    one, other = front(runs, "one"), front(runs, "other")
    for side, ours in zip(compare(one, other).sides, (one, other), strict=True):
        assert list(side.best) == [1.0, 0.99, 0.95]
        for level, best in side.best.items():
            able = [point for point in ours if point.verified["quality"].ratio >= level]
            for name, reading in (("size", "size_bytes"), ("latency", "latency_ms")):
                least = min(point.verified[reading].ratio for point in able)
                assert best[name].ratio == least
                assert ours.record.points[best[name].number].verified[reading].ratio == least


def test_a_study_against_itself_beats_nothing(runs: Path) -> None:
    found = compare(front(runs, "one"), front(runs, "one"))
    assert not any(side.beaten for side in found.sides)
    assert found.together == pytest.approx(found.sides[0].hypervolume)
    assert not found.notes


def test_one_that_is_not_verified_is_compared_as_searched(runs: Path) -> None:
    one, raw = front(runs, "one"), front(runs, "raw")
    found = compare(one, raw)
    assert not found.verified
    assert found.sides[0].points == sum(point.number > 0 for point in one.searched)
    assert found.sides[0].quality == one.record.baseline.found["quality"].value
    assert not any(side.beaten for side in found.sides), "they are the same candidates"
    assert found.notes == ["These are the searches' own values, because raw is not fully verified."]


def test_another_machine_leaves_latency_out(runs: Path) -> None:
    found = compare(front(runs, "one"), front(runs, "elsewhere"))
    assert found.machine is None
    assert found.objectives == ["quality", "size"]
    assert all(set(best) == {"size"} for side in found.sides for best in side.best.values())
    assert "Latency is not compared" in found.notes[0]
    assert "best latency" not in rendered(found, 80)


def test_ratios_are_to_the_first_baseline(runs: Path, tmp_path: Path) -> None:
    record = make_study(tmp_path / "better", 3, seed=7)
    archive = Archive(record.folder / "archive.jsonl")
    for point in record.points:
        taken = [
            dataclasses.replace(
                one,
                quality={m: {part: value * 1.1 for part, value in parts.items()} for m, parts in one.quality.items()},
            )
            for one in point.candidate.measurements
        ]
        archive.add(dataclasses.replace(point.candidate, measurements=tuple(taken)))
    found = compare(front(runs, "one"), Front(Record(record.folder)))
    assert found.sides[1].quality == pytest.approx(1.1 * found.sides[0].quality)
    assert found.sides[1].best[1.0]["size"].ratio <= 1.0
    assert any("ratios are to the one of one" in note for note in found.notes)


def test_other_tasks_and_data_are_refused_with_the_difference(runs: Path, tmp_path: Path) -> None:
    make_study(tmp_path / "film", task="movielens")
    with pytest.raises(
        AutopruneError, match=r"(?s)not studies of one task.*task\.name: one interactions, film movielens"
    ):
        compare(front(runs, "one"), Front(Record(tmp_path / "film")))
    make_study(tmp_path / "moved")
    path = tmp_path / "moved" / "study.yaml"
    content = yaml.safe_load(path.read_text())
    content["definition"]["data"] = "another"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(AutopruneError, match=r"data: one 34fea98e89a1, moved another"):
        compare(front(runs, "one"), Front(Record(tmp_path / "moved")))


def test_a_setting_that_only_one_version_knows_is_no_difference(runs: Path, tmp_path: Path) -> None:
    make_study(tmp_path / "later")
    path = tmp_path / "later" / "study.yaml"
    content = yaml.safe_load(path.read_text())
    content["definition"]["task"]["patience"] = 3
    path.write_text(yaml.safe_dump(content))
    assert compare(front(runs, "one"), Front(Record(tmp_path / "later")))


@pytest.mark.parametrize("name", ["one", "other", "raw", "elsewhere", "alone", "none"])
@pytest.mark.parametrize("width", [80, 200])
def test_every_pair_is_shown_and_is_valid_json(name: str, width: int, runs: Path) -> None:
    found = compare(front(runs, "one"), front(runs, name))
    text = rendered(found, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for side in found.sides:
        assert f"{side.hypervolume:.3f}" in text
        assert f"{len(side.beaten)} of {side.points}" in text
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["sides"][0]["name"] == "one"
    assert set(content["sides"][1]["best"]) == {"1", "0.99", "0.95"}


def test_beaten_points_are_listed_shortly(runs: Path) -> None:
    found = compare(front(runs, "one"), front(runs, "other"))
    many = dataclasses.replace(found.sides[0], beaten=dict.fromkeys(range(1, 10), 5), points=12)
    text = rendered(dataclasses.replace(found, sides=(many, found.sides[1])), 200)
    assert (
        "other beats these of one: #1 (by #5), #2 (by #5), #3 (by #5), #4 (by #5), #5 (by #5), #6 (by #5) and 3 more."
        in text
    )


def test_nothing_that_reaches_a_level_is_a_dash(runs: Path) -> None:
    found = compare(front(runs, "one"), front(runs, "none"))
    assert found.sides[1].best[1.0].get("size") is None
    assert isinstance(found.sides[0].best[1.0]["size"], Best)
    (line,) = [line for line in rendered(found, 80).splitlines() if "best size at ndcg@20 >= 1x" in line]
    assert line.rstrip().endswith("-")


def rendered(found: Comparison, width: int) -> str:
    file = io.StringIO()
    print_comparison(Console(width=width, file=file), found)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def test_errors_are_read_against_the_first_baseline_too(runs: Path, tmp_path: Path) -> None:
    record = make_study(tmp_path / "two", 60, seed=3)
    archive = Archive(record.folder / "archive.jsonl")
    for point in record.points:  # twice as good a dense model, and a candidate that finds nothing
        for purpose in ("search", "verify"):
            measured = point.candidate.measured(purpose, machine="0123456789")
            if measured and measured.quality:
                times = 0.0 if point.number == 1 else 2.0
                twice = {
                    name: {part: times * value for part, value in parts.items()}
                    for name, parts in measured.quality.items()
                }
                held = archive.candidates[point.candidate.key]
                archive.add(held.with_measurement(dataclasses.replace(measured, quality=twice)))
    other = Front(Record(record.folder), Limits(profile="none"))
    reference = front(runs, "one").record.baseline.verified
    found = _readings(other, reference, verified=True, timed=True)
    for number, readings in found.items():
        own, against = other.record.point(number).verified["quality"], readings["quality"]
        times = other.record.baseline.verified["quality"].value / reference["quality"].value
        assert times == pytest.approx(2.0)
        assert against.ratio == pytest.approx(times * own.ratio)
        assert against.error == pytest.approx(times * own.error)
    compare(front(runs, "one"), other)
