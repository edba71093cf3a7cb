"""The picture of a front, looked at through matplotlib's own objects."""

from __future__ import annotations

import builtins
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from made_studies import make_study
from small_study import many, record, verified

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.limits import Limits
from autoprune.views.front_png import PANELS, front_figure, save
from autoprune.views.snapshot import write


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
        below = {f"{count} more below" for count in range(1, 4)}
        assert labels <= {"baseline", "int8", "half_dims", "", *below, f"{front.knee.number} knee"} | {
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
