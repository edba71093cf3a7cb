"""How long what is left of a search takes."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from made_studies import make_study

from autoprune.fronts.front import Front
from autoprune.study.progress.outlook import Outlook


@pytest.mark.parametrize(
    ("dense", "training", "others"),
    [(10.0, 0.0, 300.0), (400.0, 390.0, 300.0), (400.0, 0.0, 10.0)],
    ids=["comes trained", "is trained here", "was trained by an older version"],
)
def test_of_verification_no_training_is_expected(dense: float, training: float, others: float, tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 4, verified=False)
    for key, candidate in list(record.archive.candidates.items()):
        times = {"seconds": others} if candidate.number else {"seconds": dense, "training": training}
        record.archive.candidates[key] = dataclasses.replace(candidate, **times)
    front = Front(record)
    assert front.finalists

    def seconds(rounds: int, at_once: int = 1) -> float:
        outlook = Outlook(record.archive, rounds=rounds, reading=0.0, timing=0.0, at_once=at_once)
        return outlook.verification(front)

    assert seconds(0) == 0.0
    assert seconds(1) == 10.0 * len(front.finalists)
    assert seconds(1, at_once=100) == 10.0 * 2, "the dense model, then all others"
    assert seconds(3) > seconds(1), "processes that time start one by one"


def test_what_is_verified_takes_no_time_again(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 4, verified=True)
    front = Front(record)
    assert front.finalists
    outlook = Outlook(record.archive, rounds=5, reading=10.0, timing=1.0, at_once=1)
    assert outlook.verification(front) == 0.0


def test_candidates_that_are_made_together_are_awaited_together(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 4, verified=True)
    outlook = Outlook(record.archive, rounds=0, reading=0.0, timing=0.0)
    left = {}
    for at_once in (1, 4):
        expected = outlook.expected(
            stage=0.0, making=8, at_once=at_once, front=Front(record), limit=math.inf, trains=False
        )
        assert expected is not None
        left[at_once] = expected.after
    assert left[1] == 4 * left[4] > 0


def test_before_training_nobody_knows_the_end_but_the_limit(tmp_path: Path) -> None:
    record = make_study(tmp_path / "s", 4, verified=True)
    outlook = Outlook(record.archive, rounds=0, reading=0.0, timing=0.0)

    def said(limit: float, *, trains: bool) -> str:
        expected = outlook.expected(stage=60.0, making=0, at_once=1, front=Front(record), limit=limit, trains=trains)
        assert expected is not None
        return expected.text()

    assert said(600.0, trains=True) == "about 10:00 left"
    assert said(math.inf, trains=True) == "at least 1:00 left"
    assert said(600.0, trains=False) == said(math.inf, trains=False) == "about 1:00 left"
