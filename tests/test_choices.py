"""What a space leaves open: what a look can tell, what only training can, and which dense models there are."""

from __future__ import annotations

from typing import Any

import pytest
from made_looks import CUTS, TRAINED, planned

from autoprune.recipes.space import Space
from autoprune.study.sampling.choices import Choices

METHOD, SPARSITY = "space.prune.method", "space.prune.method.choose.dims.sparsity"
BITS, EPOCHS = "space.encode.quantize.bits", "space.encode.epochs"

CUTS_OF_BITS = {"encode": {"quantize": {"bits": {"any_of": [8, 4]}}}}

LATER = {
    "prune": {"dims": {"sparsity": {"float": [0.0, 0.5]}}, "epochs": {"any_of": [0, 4]}},
    "encode": {"quantize": {"bits": {"any_of": [8, 4]}}},
}


def choices(tree: dict[str, Any], **base: Any) -> Choices:
    return Choices(Space(tree), base=base or {"dim": 16})


@pytest.mark.parametrize(
    ("given", "default", "expected"),
    [
        ({"any_of": [8, 16, 32]}, 16, [16, 8, 32]),
        ({"any_of": [8, 32, 64]}, 24, [32, 8, 64]),
        ({"any_of": [64, 32]}, 8, [32, 64]),
        ({"int": [8, 64]}, 64, [64, 8]),
        (32, 16, []),
    ],
)
def test_the_first_dense_model_is_as_near_to_the_default_as_can_be(
    given: Any, default: int, expected: list[int]
) -> None:
    found = choices({"base": {"dim": given}, **CUTS}, dim=default).bases
    if expected:
        assert sorted(found, key=str) == sorted(({"space.base.dim": value} for value in expected), key=str)
        assert found[0] == {"space.base.dim": expected[0]}
    else:
        assert found == [{}]


def test_a_setting_that_is_no_number_is_the_default_or_another() -> None:
    found = choices({"base": {"kind": {"any_of": ["b", "a", True]}}}, kind="a").bases
    assert found[0] == {"space.base.kind": "a"}
    assert len(found) == 3


def test_what_is_left_out_of_training_is_at_its_least() -> None:
    made = choices(TRAINED).recipe({METHOD: "dims", SPARSITY: 0.5, BITS: 4})
    assert made["encode"] == {"quantize": {"bits": 4}, "epochs": 0}
    assert planned(made).epochs == 0
    trained = choices(TRAINED).recipe({METHOD: "none", BITS: 8, EPOCHS: 8})
    assert planned(trained).epochs == 8
    strict = {"tune": {"epochs": {"any_of": [6, 2]}, "schedule": {"any_of": ["one_shot", "cubic"]}}}
    assert choices(strict).recipe({}) == {"tune": {"epochs": 2, "schedule": "one_shot"}}


def test_values_decide_the_recipe_again() -> None:
    made = choices(TRAINED)
    recipe = made.recipe({METHOD: "dims", SPARSITY: 0.5, BITS: 4, EPOCHS: 4})
    assert made.values(recipe) == {METHOD: "dims", SPARSITY: 0.5, BITS: 4, EPOCHS: 4}
    assert made.recipe(made.values(recipe) or {}) == recipe
    partly = made.values({"encode": {"quantize": {"bits": 2}}})
    assert partly is not None
    assert partly[BITS] == 2
    for outside in (
        {"quantize": {"bits": 4}},
        {"encode": {"quantize": {"bits": 3}}},
        {"prune": {"method": {"rows": {}}}},
    ):
        assert made.values(outside) is None


def test_what_a_recipe_does_not_say_is_at_its_least() -> None:
    tree = {
        "base": {"dim": {"any_of": [8, 16]}},
        "prune": {
            "method": {"choose": {"dims": {"sparsity": {"float": [0.1, 0.9]}}, "none": {}}},
            "epochs": {"any_of": [8, 4, 0]},
        },
        **CUTS_OF_BITS,
    }
    made = choices(tree)
    least = {"space.base.dim": 16, METHOD: "none", "space.prune.epochs": 0, BITS: 4}
    assert made.values({"encode": {"quantize": {"bits": 4}}}) == least
    assert made.values({"prune": {"epochs": 4}, "encode": {"quantize": {"bits": 4}}}) == {
        **least,
        "space.prune.epochs": 4,
    }
    partly = made.values({"prune": {"method": {"dims": {}}}, "encode": {"quantize": {"bits": 4}}})
    assert partly == {**least, METHOD: "dims", SPARSITY: 0.1}


def test_a_stage_that_is_named_after_what_only_trains_is_training() -> None:
    named = {"l1": {"strength": {"float": [0.1, 1.0]}, "epochs": 4}, "encode": {"quantize": {"bits": 8}}}
    made = choices(named)
    assert [domain.path for domain in made.training] == ["space.l1.strength"]
    assert made.cuts == []
    within = {"l1": {"strength": 1.0, "epochs": 4, "dims": {"sparsity": {"float": [0.1, 0.5]}}}}
    assert [domain.path for domain in choices(within).cuts] == ["space.l1.dims.sparsity"]
    chosen = {"l1": {"strength": 1.0, "epochs": 4, "method": {"choose": {"none": {}, "dims": {"sparsity": 0.5}}}}}
    assert [domain.path for domain in choices(chosen).cuts] == ["space.l1.method"]


@pytest.mark.parametrize(
    ("tree", "count"),
    [
        ({}, 1),
        ({"quantize": {"bits": 8}}, 1),
        ({"quantize": {"bits": {"any_of": [8, 4, 2]}}}, 3),
        ({"prune": {"dims": {"sparsity": {"float": [0.0, 0.5], "step": 0.25}}}, **{"quantize": {"bits": 8}}}, 3),
        ({"encode": {"product": {"width": {"int": [2, 8], "step": 2}, "entries": {"int": [16, 20]}}}}, 20),
        ({"encode": {"quantize": {"bits": {"any_of": [8, 4]}}, "epochs": {"int": [0, 1000]}}}, 2),
        (CUTS, None),
        ({"prune": {"dims": {"sparsity": {"float": [0.01, 0.5], "log": True}}}}, None),
        ({"prune": {"rows": {"sparsity": {"float": [0.0, 0.9], "step": 0.01}}}}, None),
    ],
)
def test_small_spaces_can_be_listed(tree: dict[str, Any], count: int | None) -> None:
    grid = choices(tree).grid(50)
    assert (None if grid is None else len(grid)) == count
    for values in grid or []:
        for path, value in values.items():
            assert Space(tree).domains[path].holds(value)


def test_what_follows_the_training_costs_none() -> None:
    late, same = choices(LATER), choices(TRAINED)
    trained = {"prune": {"dims": {"sparsity": 0.2}, "epochs": 4}, "encode": {"quantize": {"bits": 4}}}
    assert [domain.path for domain in late.after_training(trained)] == [BITS]
    untrained = {**trained, "prune": {"dims": {"sparsity": 0.2}, "epochs": 0}}
    assert len(late.after_training(untrained)) == 2
    assert same.after_training({"prune": {}, "encode": {"quantize": {"bits": 4}, "epochs": 4}}) == []


def test_recipes_that_differ_in_their_codes_alone_have_all_else_in_common() -> None:
    found = choices(LATER)

    def uncoded(sparsity: float, epochs: int, bits: int) -> str:
        prune = {"dims": {"sparsity": sparsity}, "epochs": epochs}
        return found.uncoded({"prune": prune, "encode": {"quantize": {"bits": bits}}})

    assert uncoded(0.2, 4, 8) == uncoded(0.2, 4, 4)
    assert uncoded(0.2, 0, 8) == uncoded(0.2, 0, 4)
    assert len({uncoded(*one, 8) for one in [(0.2, 4), (0.3, 4), (0.2, 0)]}) == 3
    assert uncoded(0.9, 4, 8) != uncoded(0.9, 4, 4), "outside the space nothing is known"
    still = choices(CUTS_OF_BITS)
    assert len({still.uncoded({"encode": {"quantize": {"bits": bits}}}) for bits in (8, 4)}) == 2, "nothing trains"
