"""Spaces and presets on models of few layers and heads, and on tokenizers that keep their vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from autoprune.encoder.reach import of_layers, within_reach, without
from autoprune.errors import AutopruneError
from autoprune.recipes.recipe import plan
from autoprune.steps.step import removed
from autoprune.study.suited import suited
from autoprune.tasks.task import Task

CONF = Path(__file__).parents[1] / "conf"
PRESETS: dict[str, Any] = yaml.safe_load((CONF / "presets" / "encoder.yaml").read_text())
SPACE: dict[str, Any] = yaml.safe_load((CONF / "space" / "encoder.yaml").read_text())
LAYERS: dict[str, Any] = {
    name: {"cut": {"layers": {"sparsity": sparsity}}, "tune": {"epochs": epochs}}
    for name, sparsity, epochs in (
        ("layers_most", 0.17, 2),
        ("layers_many", 0.34, 2),
        ("layers_few", 0.5, 2),
        ("long_layers_few", 0.5, 4),
    )
}


class Sized:
    """What `suited` asks of a task."""

    base: ClassVar[dict[str, Any]] = {}
    runtimes = ("torch", "onnx")

    def __init__(self, layers: int, *, heads: int = 12, vocabulary: bool = True) -> None:
        self.sizes = {"layers": (layers,), "heads": of_layers([heads] * layers)}
        self.vocabulary = vocabulary

    def suited(self, recipe: dict[str, Any]) -> dict[str, Any]:
        found = within_reach(recipe, self.sizes)
        return found if self.vocabulary else without(found, "rows")


def kept(task: Sized, presets: dict[str, Any] = PRESETS) -> tuple[dict[str, Any], list[str]]:
    made: Task[Any, Any] = task  # type: ignore[assignment]
    sections, words = suited({"space": SPACE, "presets": presets}, made)
    assert len(sections["presets"]) + len(words) == len(presets)
    return sections["presets"], words


@pytest.mark.parametrize("layers", [6, 12, 24])
def test_presets_and_space_stay_as_they_are_on_usual_models(layers: int) -> None:
    presets, words = kept(Sized(layers))
    assert presets == PRESETS
    assert words == []
    assert Sized(layers).suited(SPACE) == SPACE


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        (1, {}),
        (2, {"layers_few": 1, "long_layers_few": 1}),
        (3, {"layers_many": 2, "layers_few": 1, "long_layers_few": 1}),
        (4, {"layers_most": 3, "layers_few": 2, "long_layers_few": 2}),
        (5, {"layers_most": 4, "layers_many": 3, "long_layers_few": 3}),  # half of five removes two, as a third does
        (6, {"layers_most": 5, "layers_many": 4, "layers_few": 3, "long_layers_few": 3}),
    ],
)
def test_presets_that_come_to_the_same_layers_run_once(layers: int, wanted: dict[str, int]) -> None:
    presets, words = kept(Sized(layers), LAYERS)
    found = {name: presets[name]["cut"]["layers"]["sparsity"] for name in LAYERS if name in presets}
    stay = {name: layers - removed(layers, sparsity) for name, sparsity in found.items()}
    assert stay == wanted
    assert all(abs(removed(layers, share) / layers - share) <= 0.01 for share in found.values()), "as it is told"
    assert {word.split()[1] for word in words} == set(LAYERS) - set(wanted)
    keys = [plan(recipe, base_defaults={}, runtimes=Sized.runtimes).key for recipe in presets.values()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("layers", range(1, 25))
def test_choices_of_the_space_differ_in_layers(layers: int) -> None:
    choices = Sized(layers).suited(SPACE)["cut"]["layers"]["sparsity"]["any_of"]
    counts = [removed(layers, choice) for choice in choices]
    assert len(set(counts)) == len(counts)
    assert set(counts) == {removed(layers, choice) for choice in (0.0, 0.17, 0.34)}


@pytest.mark.parametrize(
    ("heads", "layers", "choices"), [(1, 1, [0.0]), (1, 6, [0.0]), (2, 2, [0, 0.25, 0.5]), (12, 6, [0, 0.25, 0.5])]
)
def test_heads_that_cannot_go_are_no_choice(heads: int, layers: int, choices: list[float]) -> None:
    assert Sized(layers, heads=heads).suited(SPACE)["cut"]["heads"]["sparsity"]["any_of"] == choices


def test_a_vocabulary_that_stays_whole_takes_its_presets_along() -> None:
    presets, words = kept(Sized(6, vocabulary=False))
    assert presets.keys() == {"int8", "words_int4", "rated", "rated_finely", "narrow_rated"}
    assert "preset stock_vocab_half is left out: the step that it is named after does not apply to this model" in words


def test_what_one_asks_for_oneself_stays() -> None:
    mine = {
        "layers_third": {"cut": {"layers": {"sparsity": 0.33}}},
        "four": {"cut": {"layers": {"keep": [0, 1, 4, 5]}}},
    }
    assert kept(Sized(6), mine) == (mine, [])
    all_of_them = {"none_left": {"cut": {"layers": {"sparsity": 0.8}, "heads": {"sparsity": 0.6}}}}
    assert kept(Sized(2, heads=1), all_of_them) == (all_of_them, [])  # refused by what was asked
    odd = {
        "odd": {"cut": {"layers": {"sparsity": "half"}}},
        "open": {"cut": {"layers": {"sparsity": {"float": [0, 1]}}}},
    }
    assert kept(Sized(2), odd) == (odd, [])  # refused where recipes are checked
    twice = {"one": PRESETS["int8"], "other": PRESETS["int8"], "plain": {}}
    assert kept(Sized(6), twice)[1] == [
        "preset other is left out: is equivalent to one",
        "preset plain is left out: is equivalent to the dense model",
    ]


def test_a_preset_that_is_no_recipe_is_refused_by_its_name() -> None:
    made: Task[Any, Any] = Sized(6)  # type: ignore[assignment]
    with pytest.raises(AutopruneError, match=r"presets\.int4: a recipe is a mapping of stages, but got 4"):
        suited({"space": SPACE, "presets": {**PRESETS, "int4": 4}}, made)


def test_a_preset_of_null_is_left_out() -> None:
    made: Task[Any, Any] = Sized(6)  # type: ignore[assignment]
    sections, words = suited({"space": SPACE, "presets": {**PRESETS, "int8": None}}, made)
    assert sections["presets"] == {name: recipe for name, recipe in PRESETS.items() if name != "int8"}
    assert words == []
