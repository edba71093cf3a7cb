"""The picture of a front, looked at through matplotlib's own objects; and what a recorded study keeps."""

from __future__ import annotations

import builtins
import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_studies import make_study

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.measure.measurement import Latency, Measurement
from autoprune.record.archive import Archive, Candidate
from autoprune.record.record import Record
from autoprune.views.commands import search_command, without_places
from autoprune.views.front_png import PANELS, front_figure, save
from autoprune.views.snapshot import write

OVERRIDES = ["task=interactions", "task.data.path=/srv/me/films", "study.trials=90", "study.dir=/srv/me/runs"]


def measured(quality: float, size_bytes: int, ratio: float, *, purpose: str = "search") -> Measurement:
    timing = Latency(median_ms=ratio, p95_ms=2.0, ratio=ratio, ratio_low=ratio, ratio_high=ratio, pairs=15)
    return Measurement(
        split="validation" if purpose == "search" else "test",
        purpose=purpose,
        machine="here",
        quality={"ndcg@20": {"all": quality, "tail": quality / 2}},
        units={"ndcg@20": {"all": 200, "tail": 150}},
        size_bytes=size_bytes,
        memory_bytes=size_bytes,
        structure="s",
        latency={"single": timing},
    )


def candidate(number: int, name: str, *measurements: Measurement, rejected: str = "") -> Candidate:
    return Candidate(
        number=number,
        name=name,
        key=f"key{number}",
        recipe={"quantize": {"bits": 8}} if number else {},
        summary=f"summary {number}" if number else "dense",
        rejected=rejected,
        measurements=measurements,
        seconds=1.0,
    )


def record(folder: Path, candidates: list[Candidate], *, drop: str = "10%") -> Record:
    folder.mkdir(parents=True, exist_ok=True)
    definition = {
        "task": {"name": "interactions", "metric": "ndcg@20", "titles": "/srv/me/titles.txt"},
        "requirements": {"quality": {"drop": drop}},
        "study": {"objectives": ["quality", "size", "latency"]},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump({"definition": definition, "overrides": OVERRIDES}))
    archive = Archive(folder / "archive.jsonl")
    for one in candidates:
        archive.add(one)
    return Record(folder)


def many() -> list[Candidate]:
    """Baseline, two presets (one on the front), two trials on the front, one infeasible, one rejected."""
    rejected = dataclasses.replace(measured(0.5, 10, 1.0), quality={}, units={}, split=None)
    return [
        candidate(0, "baseline", measured(0.5, 1000, 1.0)),
        candidate(1, "int8", measured(0.49, 260, 1.5)),
        candidate(2, "bad", measured(0.3, 300, 1.6)),
        candidate(3, "trial", measured(0.48, 100, 1.2)),
        candidate(4, "trial", measured(0.46, 50, 1.1)),
        candidate(5, "trial", measured(0.1, 40, 1.0)),
        candidate(6, "trial", rejected, rejected="size_bytes <= 0.1x"),
    ]


def verified(candidates: list[Candidate], *, rounds: tuple[float, ...] = (), error: float = 0.0) -> list[Candidate]:
    """The finalists of `many`, measured again: all lose a little, candidate 4 too much.

    Args:
        rounds: what each round of timing found, as multiples of the ratio.
        error: standard error of the ratio of quality.
    """
    test = {0: 0.4, 1: 0.39, 2: 0.2, 3: 0.38, 4: 0.3}
    return [
        one.with_measurement(
            dataclasses.replace(
                measured(test[one.number], one.latest().size_bytes, 1.3, purpose="verify"),
                latency={
                    "single": dataclasses.replace(
                        one.latest().latency["single"],
                        median_ms=2.0,
                        rounds=[one.latest().latency["single"].ratio * times for times in rounds if one.number],
                    )
                },
                errors={"ndcg@20": error} if error and one.number else {},
            )
        )
        if one.number in test
        else one
        for one in candidates
    ]


def marks(axes: Any) -> dict[str, int]:
    """How many points each group has."""
    return {line.get_label(): len(line.get_xdata()) for line in axes.lines if not str(line.get_label()).startswith("_")}


def group(axes: Any, label: str) -> Any:
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


def bars(axes: Any, along: int) -> list[tuple[float, float]]:
    """The ends of the upright bars (1), or of those that lie (0)."""
    found = [
        (float(start[along]), float(end[along]))
        for collection in axes.collections
        for start, end in collection.get_segments()
        if start[1 - along] == end[1 - along]
    ]
    return sorted(found)


def test_every_candidate_is_drawn_once_in_each_panel(tmp_path: Path) -> None:
    figure = front_figure(Front(record(tmp_path / "s", many())))
    left, right = figure.axes
    for axes in (left, right):
        assert marks(axes) == {
            "candidates, validation": 1,
            "presets, validation": 1,
            "front, validation": 3,
            "baseline, validation": 1,
            "picks and knee": 1,
        }
        assert {text.get_text() for text in axes.texts} >= {"baseline", "int8", "bad"}
        groups = [line for line in axes.lines if "validation" in str(line.get_label())]
        assert all(line.get_markerfacecolor() == "white" for line in groups)


def test_axes_say_what_they_show(tmp_path: Path) -> None:
    figure = front_figure(Front(record(tmp_path / "s", many())))
    left, right = figure.axes
    assert (left.get_xscale(), right.get_xscale()) == ("log", "linear")
    assert [axes.get_xlabel() for axes in (left, right)] == [label for _, label, _ in PANELS]
    assert left.get_ylabel() == "quality: ndcg@20 / baseline's"
    assert "bytes" in left.get_xlabel()
    assert "ms" in right.get_xlabel()
    title = figure.get_suptitle()
    assert "s: 4 on the front of 6 candidates, on validation data" in title
    assert "quality >= 0.9x" in title


def test_what_was_verified_is_filled_and_stands_at_its_test_values(tmp_path: Path) -> None:
    front = Front(record(tmp_path / "s", verified(many())))
    left, _ = front_figure(front).axes
    assert marks(left) == {
        "candidates, validation": 1,
        "presets, test": 1,
        "front, test": 2,
        "baseline, test": 1,
        "before it fell": 1,
        "fell, test": 1,
        "picks and knee": 1,
    }
    line = group(left, "front, test")
    assert sorted(line.get_ydata()) == pytest.approx([0.95, 0.975])
    assert line.get_markerfacecolor() != "white"


def test_what_fell_is_crossed_where_it_came_to_be_and_hollow_where_it_was(tmp_path: Path) -> None:
    front = Front(record(tmp_path / "s", verified(many())))
    (fall,) = front.falls
    assert fall.point.number == 4
    figure = front_figure(front)
    for axes, (name, _, _) in zip(figure.axes, PANELS, strict=True):
        before, after = group(axes, "before it fell"), group(axes, "fell, test")
        assert (*before.get_xdata(), *before.get_ydata()) == pytest.approx((fall.point.found[name].ratio, 0.92))
        assert (*after.get_xdata(), *after.get_ydata()) == pytest.approx((fall.point.verified[name].ratio, 0.75))
        assert (before.get_markerfacecolor(), after.get_marker()) == ("white", "x")
        (line,) = [line for line in axes.lines if line.get_gid() == "line"]
        assert 0.75 not in [round(value, 9) for value in line.get_ydata()], "the line joins what stayed"
    assert "3 on the front of 6 candidates, 1 fell, on test data" in figure.get_suptitle()


def test_bars_are_the_intervals_of_a_remeasurement(tmp_path: Path) -> None:
    front = Front(record(tmp_path / "s", verified(many(), rounds=(0.9, 1.0, 1.1), error=0.01)))
    left, right = front_figure(front).axes
    shown = [*(point for point in front if point.number), front.record.points[2], front.falls[0].point]
    expected = {
        reading: sorted(point.verified[reading].interval or () for point in shown)
        for reading in ("quality", "latency_ms")
    }
    assert bars(left, 1) == expected["quality"]
    assert bars(left, 0) == [], "the same files weigh the same"
    assert bars(right, 1) == expected["quality"]
    assert bars(right, 0) == expected["latency_ms"]
    top = max(point.verified["quality"].interval or () for point in front if point.number)[1]
    assert top < left.get_ylim()[1], "no bar of the front is cut off above"


def test_what_is_unknown_has_no_bars(tmp_path: Path) -> None:
    left, right = front_figure(Front(record(tmp_path / "s", verified(many())))).axes
    assert bars(left, 1) == bars(right, 0) == []


def test_picks_and_knee_have_rings_and_numbers(tmp_path: Path) -> None:
    front = Front(make_study(tmp_path / "s", 40))
    expected = {point.number for point in front.picks().values() if point and point.number}
    assert front.knee is not None
    expected.add(front.knee.number)
    for axes in front_figure(front).axes:
        assert marks(axes)["picks and knee"] == len(expected)
        labels = {text.get_text() for text in axes.texts}
        assert labels <= {"baseline", "int8", "half_dims", "", "1 more below", f"{front.knee.number} knee"} | {
            str(number) for number in expected
        }


def test_what_another_machine_timed_has_no_place_among_the_latencies(tmp_path: Path) -> None:
    candidates = many()
    moved = dataclasses.replace(candidates[5].latest(), machine="another")
    candidates[5] = dataclasses.replace(candidates[5], measurements=(moved,))
    left, right = front_figure(Front(record(tmp_path / "s", candidates))).axes
    assert marks(left)["candidates, validation"] == 1
    assert "candidates, validation" not in marks(right)


def test_thousands_of_candidates_leave_the_front_to_be_seen(tmp_path: Path) -> None:
    front = Front(make_study(tmp_path / "s", 600, verified=False))
    left, _ = front_figure(front).axes
    crowd, kept = group(left, "candidates, validation"), group(left, "front, validation")
    assert crowd.get_markersize() < kept.get_markersize() / 2
    assert crowd.get_zorder() < kept.get_zorder()


def test_the_line_joins_what_nobody_beats_in_the_panel(tmp_path: Path) -> None:
    left, right = front_figure(Front(record(tmp_path / "s", many()))).axes
    (size,) = [line for line in left.lines if line.get_gid() == "line"]
    assert list(size.get_xdata()) == pytest.approx([0.05, 0.1, 0.26, 1.0])
    (latency,) = [line for line in right.lines if line.get_gid() == "line"]
    assert list(latency.get_xdata()) == pytest.approx([1.0]), "the baseline is fastest here, and best"


@pytest.mark.parametrize(("kept", "drop", "points"), [(1, "10%", 1), (3, "10%", 2), (7, "0%", 1)])
def test_small_fronts_are_drawn(tmp_path: Path, kept: int, drop: str, points: int) -> None:
    front = Front(record(tmp_path / "s", many()[:kept], drop=drop))
    assert len(front) == points
    save(front_figure(front), tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_an_empty_front_is_drawn(tmp_path: Path) -> None:
    found = record(tmp_path / "s", many())
    front = Front(found, Limits(floors=["quality=2x"]))
    assert not len(front)
    figure = front_figure(front)
    assert "0 on the front" in figure.get_suptitle()
    save(figure, tmp_path / "front.png")


def test_without_matplotlib_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    front = Front(record(tmp_path / "s", many()))
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(AutopruneError, match=r"pip install 'autoprune\[plots\]'"):
        write(front, tmp_path / "to")
    assert not (tmp_path / "to").exists()


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
        "autoprune task=interactions task.data.path=path/to/films study.trials=4 study.name=s && autoprune verify s"
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
    front = Front(make_study(tmp_path / "s", 40))
    write(front, tmp_path / "to")
    rows = list(csv.DictReader((tmp_path / "to" / "front.csv").read_text().splitlines()))
    told = {int(row["number"]): row["fell"] for row in rows if row["fell"]}
    assert told == {fall.point.number: fall.reason for fall in front.falls}
    assert any(words.startswith("is beaten by") for words in told.values())
    assert {int(row["number"]) for row in rows if row["front"] == "yes"} == {point.number for point in front}


def test_an_unverified_study_has_no_test_columns(tmp_path: Path) -> None:
    found = record(tmp_path / "s", many())
    write(Front(found), tmp_path / "to")
    assert "test" not in (tmp_path / "to" / "front.csv").read_text()
    assert "verify" not in search_command(found)


def test_another_study_is_not_overwritten(tmp_path: Path) -> None:
    one, other = record(tmp_path / "one", many()), record(tmp_path / "other", many())
    write(Front(one), tmp_path / "to")
    with pytest.raises(AutopruneError, match="there is the record of study 'one', not of 'other'"):
        write(Front(other), tmp_path / "to")
    before = (one.folder / "study.yaml").read_bytes()
    with pytest.raises(AutopruneError, match="name another folder with --to"):
        write(Front(one), one.folder)
    assert (one.folder / "study.yaml").read_bytes() == before


def test_places_are_cut_wherever_they_stand() -> None:
    content = {"a": ["/x/y/z", "b/c"], "d": {"e": "C:\\data\\films"}, "f": 1, "g": "per_user"}
    assert without_places(content) == {
        "a": ["path/to/z", "b/c"],
        "d": {"e": "path/to/films"},
        "f": 1,
        "g": "per_user",
    }
