"""Which parameters mattered."""

from __future__ import annotations

import pytest
from made_studies import make_study

from autoprune.record.record import Record
from autoprune.views.effects import epsilon_squared, importance, parameters


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return make_study(tmp_path_factory.mktemp("home") / "runs" / "demo", 150)


def test_epsilon_squared_matches_a_computation_by_hand() -> None:
    # Two groups, 1 2 3 and 5 6 7: between 24, within 4, total 28; (24 - 1 x 4/4) / 28.
    assert epsilon_squared(list("aaabbb"), [1, 2, 3, 5, 6, 7]) == pytest.approx(23 / 28)
    assert epsilon_squared(list("abab"), [1, 1, 3, 3]) == 0.0  # worse than chance is nothing
    assert epsilon_squared(list("aabb"), [1, 1, 1, 1]) != epsilon_squared(list("aabb"), [1, 1, 1, 1])  # nan


def test_parameters_are_paths_and_absent_ones_are_not_there() -> None:
    recipe = {"encode": {"method": {"quantize": {"bits": 4}}}, "prune": {"method": {"none": {}}, "epochs": 5}}
    assert parameters(recipe) == {
        "encode.method": "quantize",
        "encode.method.quantize.bits": 4,
        "prune.method": "none",
        "prune.epochs": 5,
    }


def test_importance_finds_what_the_made_up_sizes_depend_on(record: Record) -> None:
    found = importance(record)
    assert next(iter(found["size"])) in ("encode.method.quantize.bits", "prune.rows.sparsity.item")
    assert found["size"]["encode.method.quantize.bits"] > 0.2 > found["size"]["prune.epochs"]
