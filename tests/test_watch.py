"""What people see while work goes on: it moves with the clock, and a log is never silent for long."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from made_studies import make_study
from rich.console import Console

from autoprune.fronts.front import Front
from autoprune.record.archive import Candidate
from autoprune.record.record import Record
from autoprune.study.progress.progress import Expected, Progress
from autoprune.views.terminal import Watch, watch


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def progress(record: Record, latest: Candidate, expected: Expected | None = None) -> Progress:
    return Progress(stage="scan", looks=50, trials=0, front=Front(record), rejected=0, latest=latest, expected=expected)


def waited(console: Console, pattern: str) -> list[str]:
    """What matches, once three things do."""
    until = time.monotonic() + 20
    while len(found := re.findall(pattern, text(console))) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    return found


def test_a_log_is_never_silent_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "QUIET_S", 0.02)
    monkeypatch.setattr(watch, "TICK_S", 0.01)
    console = Console(file=io.StringIO(), width=200)
    with Watch(console) as shown:
        shown.note("7 users x 3 items")
        shown.working("judging on validation data")
        shown.expect(Expected(current=5000.0))
        lines = waited(console, r"about (1:2\d:\d\d) left \| judging on validation data")
    assert len(lines) >= 3, "nobody said anything meanwhile"
    before, _, _ = text(console).partition("7 users x 3 items\n")
    assert not before.replace("     starting\n", "")  # on a busy machine it was silent for long before that


def test_a_terminal_is_refreshed_while_nobody_says_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "TICK_S", 0.01)
    console = Console(file=io.StringIO(), width=200, force_terminal=True)
    with Watch(console) as shown:
        shown.working("timing")
        assert len(waited(console, "timing")) >= 3


def test_the_hypervolume_of_a_search_is_of_its_own_measurements(tmp_path: Path) -> None:
    """Some of its points are verified before it trains, on test data."""
    record = make_study(tmp_path / "s", 40)
    front = Front(record)
    assert f"{front.hypervolume:.3f}" != f"{front.searched_hypervolume:.3f}"
    shown = Watch(Console(file=io.StringIO(), width=200))
    shown.report(progress(record, record.point(7).candidate))
    assert f"hypervolume {front.searched_hypervolume:.3f} " in shown._now()


@pytest.mark.parametrize(
    ("elapsed", "left"), [(0.0, "4:00"), (50.0, "3:10"), (100.0, "2:30"), (130.0, "2:33"), (1400.0, "4:40")]
)
def test_what_is_left_moves_with_the_clock(
    elapsed: float, left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two minutes twenty that follow nothing has passed, however long what is in the making takes."""
    record = make_study(tmp_path / "s", 8, verified=False)
    console, now = Console(file=io.StringIO(), width=200), [1000.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    shown, latest = Watch(console), record.point(7).candidate
    expected = Expected(current=100.0, after=140.0)
    shown.report(
        Progress(stage="scan", looks=50, trials=0, front=Front(record), rejected=0, latest=latest, expected=expected)
    )
    shown.working("fine-tuning: epoch 3 of 9")
    now[0] += elapsed
    assert shown._now().startswith("8 candidates | ")
    assert f" | about {left} left | fine-tuning: epoch 3 of 9" in shown._now()


def test_the_baseline_misses_nothing(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 8, verified=False, requirements={"size_bytes": {"max": "0.01x"}})
    console = Console(file=io.StringIO(), width=200)
    for number in (0, 1):
        latest = record.point(number).candidate
        Watch(console).report(
            Progress(stage="scan", looks=50, trials=0, front=Front(record), rejected=0, latest=latest, expected=None)
        )
    before, after = text(console).splitlines()
    assert "misses" not in before
    assert "feasible" not in before
    assert "misses size_bytes <= 0.01x" in after


def test_where_nothing_is_known_no_time_is_told() -> None:
    shown = Watch(Console(file=io.StringIO()))
    shown.working("training the dense model")
    assert shown._now() == "training the dense model"
