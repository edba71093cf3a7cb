"""Values of looks are shrunk towards what their nearness foretells, against planted truths."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from made_looks import METRIC, made_look

from autoprune.fronts.promises import Promises
from autoprune.fronts.requirements import parse_requirements
from autoprune.fronts.shrinkage import CLOSER, LEARNED, LEAST, Line, Shrinkage
from autoprune.record.looks import Look


def planted(slope: float, spread: float, error: float, *, seed: int = 0, count: int = 256) -> tuple[np.ndarray, ...]:
    """What is lost of nearness and of the metric, the latter in truth and as looks see it."""
    draw = np.random.default_rng(seed)
    lost_near = draw.uniform(0.002, 0.2, count)
    lost = lost_near * draw.normal(slope, spread, count)
    return lost_near, lost, lost + draw.normal(0, error, count)


@pytest.mark.parametrize(("slope", "spread", "error"), [(0.3, 0.1, 0.03), (2.0, 1.0, 0.05), (1.0, 0.6, 0.001)])
def test_a_line_is_found_and_what_is_shrunk_is_nearer_to_the_truth(slope: float, spread: float, error: float) -> None:
    lost_near, truth, seen = planted(slope, spread, error)
    line = Line.through(lost_near, seen, np.full(len(seen), error))
    assert line.slope == pytest.approx(slope, rel=0.25)
    assert line.spread == pytest.approx(spread, rel=0.4)
    shrunk = np.array([line.shrunk(x, y, error) for x, y in zip(lost_near, seen, strict=True)])
    assert np.square(shrunk - truth).mean() <= 1.02 * np.square(seen - truth).mean()
    if error > spread * lost_near.mean():  # else what a look shows is worth more than the line
        assert np.square(shrunk - truth).mean() < 0.5 * np.square(seen - truth).mean()


def test_what_errs_little_stays_as_it_is_and_what_errs_much_is_what_the_line_says() -> None:
    line = Line(slope=0.5, spread=0.25)
    assert line.shrunk(0.1, 0.2, 0.0) == pytest.approx(0.2)
    assert line.shrunk(0.1, 0.2, 1e6) == pytest.approx(0.05)
    assert line.shrunk(-0.1, 0.3, 0.1) == pytest.approx(0.0, abs=1e-3), (
        "what answers as the dense model has lost nothing"
    )


def test_where_all_is_noise_some_spread_is_left() -> None:
    lost_near, _, seen = planted(0.5, 0.0, 0.05)
    line = Line.through(lost_near, seen, np.full(len(seen), 0.1))
    assert line.spread == pytest.approx(max(LEAST * line.slope, LEAST**2))


def test_lines_are_drawn_after_some_looks_and_no_more_after_many() -> None:
    lost_near, _, seen = planted(0.5, 0.1, 0.02, count=400)
    learnt, turns = Shrinkage(), list[int]()
    for x, y in zip(lost_near, seen, strict=True):
        learnt.add("m", False, (x, y, 0.02))
        turns.append(learnt.turns)
    assert [turns.index(turn) + 1 for turn in range(1, learnt.turns + 1)] == list(LEARNED)
    seen = (0.1, 0.3, 0.1)
    assert learnt.shrunk("other", False, seen) == 0.3, "of another metric nothing is known"
    assert learnt.shrunk("m", False, seen) < 0.1
    assert learnt.shrunk("m", True, seen) == learnt.shrunk("m", False, seen), "trained: as if not, until more is known"


def test_a_few_lucky_texts_do_not_tell_that_training_lost_nothing() -> None:
    """All looks ask the same texts: where these are lucky, every look is, and more looks do not help."""
    draw, luck, error = np.random.default_rng(1), 0.05, 0.05
    learnt = Shrinkage()
    lost_near, truth, seen = planted(1.0, 0.2, 0.02)
    for x, y in zip(lost_near, seen, strict=True):
        learnt.add("m", False, (x, y, 0.02))
    lost_near = draw.uniform(0.01, 0.04, LEARNED[1])
    truth = lost_near * draw.normal(1.0, 0.2, LEARNED[1])
    for x, y in zip(lost_near, truth, strict=True):
        learnt.add("m", True, (x, y - luck, error))
    shrunk = [learnt.shrunk("m", True, (x, y - luck, error)) for x, y in zip(lost_near, truth, strict=True)]
    alone = Line.through(lost_near, truth - luck, np.full(len(truth), error), like=(0.0, 1e6))
    assert alone.slope == 0
    assert abs(np.mean(shrunk - truth)) < 0.3 * luck


def looks(*, known: bool = True) -> tuple[Look, list[Look], np.ndarray]:
    """The dense model's look and others, and what these lose in truth."""
    near, truth, seen = planted(1.0, 0.2, 0.04)
    dense, found = made_look(0, 1.0, 1.0), []
    for at, (x, y) in enumerate(zip(near, seen, strict=True), start=1):
        look = dataclasses.replace(made_look(at, 1 - y, 1 - x), errors={METRIC: 0.04})
        found.append(dataclasses.replace(look, near={METRIC: 1 - x}) if known else look)
    return dense, found, truth


def promised(dense: Look, beside: Promises | None = None) -> Promises:
    return Promises(
        dense,
        baseline=dense.measurement(),
        metrics=[METRIC],
        requirements=parse_requirements({"quality": {"drop": "10%"}}),
        objectives=("quality", "size"),
        beside=beside,
    )


def test_the_front_of_what_is_foretold_is_not_of_the_lucky() -> None:
    shares = []
    for known in (False, True):
        dense, found, truth = looks(known=known)
        promises = promised(dense)
        promises.add(*found)
        shares.append(np.mean([truth[look.number - 1] > 0.1 for look in promises.front()]))
    assert shares[0] > 0.2, "of the front of the looks many miss the floor in truth"
    assert shares[1] < 0.5 * shares[0]
    readings = promises.readings(found[0])
    assert readings["quality"] == readings[METRIC]
    assert readings[METRIC].value == pytest.approx(readings[METRIC].ratio * dense.value(METRIC))


def test_looks_that_were_taken_in_before_a_line_was_drawn_are_read_by_it_too() -> None:
    dense, found, _ = looks()
    early, late = promised(dense), promised(dense)
    early.add(*found[: LEARNED[0] - 1])
    before = early.readings(found[0])["quality"].ratio
    early.add(found[LEARNED[0] - 1])
    late.add(*found[: LEARNED[0]])
    assert early.readings(found[0])["quality"].ratio != before
    assert early.front() == late.front()
    assert early.hypervolume == late.hypervolume


def test_closer_looks_are_read_by_the_lines_of_looks_until_they_have_their_own() -> None:
    dense, found, _ = looks()
    far = promised(dense)
    near = promised(dense, far)
    near.add(*found[: CLOSER[0] - 1])
    seen = near.readings(found[0])["quality"].ratio
    far.add(*found[-LEARNED[0] :])
    foretold = near.readings(found[0])["quality"].ratio
    assert foretold != seen
    assert (near.turns, far.turns) == (1, 1)
    near.add(found[CLOSER[0] - 1])
    assert near.readings(found[0])["quality"].ratio not in (seen, foretold)
    assert (near.turns, far.turns) == (2, 1), "of closer looks others learn nothing"
