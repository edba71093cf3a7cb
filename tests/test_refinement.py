"""Refinement: what was trained is coded otherwise, without training it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_looks import TRAINED, Fading, Killed, MadeUp, held, lookout

from autoprune.deadline import NEVER, Deadline
from autoprune.recipes.space import Space
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.refinement import MOST_LOOKS, Refinement

CODED_LATER: dict[str, Any] = {
    "prune": {"method": {"dims": {"sparsity": {"float": [0.1, 0.9], "step": 0.1}}}, "epochs": {"any_of": [0, 4]}},
    "encode": {"method": {"choose": {"none": {}, "quantize": {"bits": {"any_of": [8, 4, 2]}}}}},
}
"""A space in which codes follow the training."""


def recipe(sparsity: float, epochs: int = 4, **coded: Any) -> dict[str, Any]:
    prune = {"method": {"dims": {"sparsity": sparsity}}, "epochs": epochs}
    return {"prune": prune, "encode": {"method": coded}}


def trained(folder: Path, evaluator: MadeUp, space: dict[str, Any] = CODED_LATER) -> tuple[Refinement, Lookout]:
    """Cuts that were trained, of which one is coded, and a coded one that was not trained."""
    taken = lookout(folder / "looks.jsonl", evaluator=evaluator)
    taken.take([recipe(0.5, quantize={"bits": 8}), recipe(0.3, none={}), recipe(0.1, none={})], epochs=4, until=NEVER)
    taken.take([recipe(0.2, 0, quantize={"bits": 8})], until=NEVER)
    return Refinement(Choices(Space(space), base={"dim": 16}), taken, seed=0), taken


def test_what_was_trained_is_coded_otherwise_and_not_trained_again(tmp_path: Path) -> None:
    evaluator = MadeUp()
    refinement, taken = trained(tmp_path, evaluator)
    evaluator.asked.clear()
    assert Choices(Space(CODED_LATER), base={"dim": 16}).recodes
    refinement.run(until=NEVER)
    assert refinement.done
    assert 0 < len(evaluator.asked) <= MOST_LOOKS
    assert {one.epochs for one in evaluator.asked} == {4}
    assert {one.recipe["prune"]["method"]["dims"]["sparsity"] for one in evaluator.asked} <= {0.1, 0.3, 0.5}
    found = [look.recipe["encode"]["method"] for look in taken.promises.front() if look.epochs]
    assert {"quantize": {"bits": 4}} in found, "which loses little after training"


def test_no_more_looks_are_taken_than_were_allowed(tmp_path: Path) -> None:
    evaluator = MadeUp()
    _, taken = trained(tmp_path, evaluator)
    evaluator.asked.clear()
    Refinement(Choices(Space(CODED_LATER), base={"dim": 16}), taken, seed=0, most=3).run(until=NEVER)
    assert 0 < len(evaluator.asked) <= 3


def test_it_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    undisturbed, whole = trained(tmp_path / "whole", MadeUp())
    undisturbed.run(until=NEVER)
    killed, _ = trained(tmp_path / "killed", Fading(6))
    with pytest.raises(Killed):
        killed.run(until=NEVER)
    again, taken = trained(tmp_path / "killed", MadeUp())
    again.run(until=NEVER)
    assert held(taken) == held(whole)


def test_nothing_is_refined_where_codes_are_trained_or_nothing_is(tmp_path: Path) -> None:
    evaluator = MadeUp()
    taken = lookout(tmp_path / "looks.jsonl", evaluator=evaluator)
    coded = {"prune": {"method": {"dims": {"sparsity": 0.5}}}, "encode": {"quantize": {"bits": 8}, "epochs": 4}}
    taken.take([coded], epochs=4, until=NEVER)
    evaluator.asked.clear()
    choices = Choices(Space(TRAINED), base={"dim": 16})
    assert not choices.recodes
    refinement = Refinement(choices, taken, seed=0)
    refinement.run(until=NEVER)
    assert refinement.done
    assert not evaluator.asked


def test_time_that_is_over_ends_it(tmp_path: Path) -> None:
    refinement, taken = trained(tmp_path, MadeUp())
    before = len(taken.looks)
    refinement.run(until=Deadline.after(-1))
    assert not refinement.done
    assert len(taken.looks) == before
