"""Recipes: their normal form, what is refused and where, and how a plan runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.errors import RecipeError
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.recipe import Plan, digest, plan
from autoprune.recipes.stages import rehearse, run, run_stage, sketch
from autoprune.recipes.store import Store
from autoprune.recipes.train import Trainer
from autoprune.recommender.task import RecommenderTask
from autoprune.steps.dims import Dims
from autoprune.steps.magnitude import Magnitude
from autoprune.steps.quantize import Quantize

HALF = {"magnitude": {"sparsity": 0.5}}


def planned(recipe: Mapping[str, Any]) -> Plan:
    return plan(recipe, base_defaults={"dim": 16})


def test_the_empty_recipe_is_the_baseline() -> None:
    assert planned({}) == Plan(base={}, stages=())


@pytest.mark.parametrize(
    "recipe",
    [
        {"base": {"dim": 16}},
        {"base": None},
        {"tune": {"epochs": 0}},
        {"tune": None},
        {"quantize": {"bits": 32}},
        {"prune": {"method": {"none": {}}}},
        {"prune": {"method": {"none": None}, "schedule": "cubic"}},
        {"prune": {"method": {"dims": {"sparsity": 0.0, "importance": "pca"}}}},
        {"prune": {"magnitude": {"sparsity": {"item": 0}, "scope": "table"}}},
    ],
)
def test_what_does_nothing_is_left_out(recipe: Mapping[str, Any]) -> None:
    assert planned(recipe) == planned({})
    assert planned(recipe).key == planned({}).key


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"prune": {"method": HALF}}, {"anything": HALF}),
        ({"prune": HALF}, {"magnitude": {"sparsity": 0.5}}),
        ({"prune": {**HALF, "epochs": 2}}, {"prune": HALF, "tune": {"epochs": 2}}),
        ({"prune": {**HALF, "schedule": "cubic"}}, {"prune": HALF}),
        ({"tune": {"epochs": 2, "schedule": "cubic"}}, {"tune": {"epochs": 2}}),
        ({"prune": {"none": {}, "epochs": 2}}, {"tune": {"epochs": 2}}),
        ({"prune": HALF}, {"prune": {"magnitude": {"sparsity": 0.5, "scope": "global", "min_per_row": 0}}}),
        ({"quantize": {"bits": 8}}, {"quantize": {}}),
    ],
)
def test_recipes_that_do_the_same_have_one_key(left: Mapping[str, Any], right: Mapping[str, Any]) -> None:
    assert planned(left).stages == planned(right).stages
    assert planned(left).key == planned(right).key


def test_recipes_that_differ_have_different_keys() -> None:
    recipes: list[dict[str, Any]] = [
        {},
        {"base": {"dim": 8}},
        {"tune": {"epochs": 1}},
        {"tune": {"epochs": 2}},
        {"prune": HALF},
        {"prune": {"magnitude": {"sparsity": 0.6}}},
        {"prune": {"magnitude": {"sparsity": 0.5, "scope": "table"}}},
        {"prune": {**HALF, "epochs": 2}},
        {"prune": {**HALF, "epochs": 2, "schedule": "cubic"}},
        {"tune": {"epochs": 2}, "prune": HALF},
        {"prune": {**HALF, "dims": {"sparsity": 0.5}}},
        {"prune": HALF, "then": {"dims": {"sparsity": 0.5}}},
        {"quantize": {"bits": 8}},
        {"quantize": {"bits": 4}},
    ]
    assert len({planned(recipe).key for recipe in recipes}) == len(recipes)


def test_a_key_is_stable() -> None:
    """A key names folders and cache entries: it may change with a step's version, never by accident."""
    assert planned({}).key == digest({"base": {}, "stages": []}) == "8cab4dc7758e"
    assert digest({"b": 1, "a": [0.5]}) == digest({"a": [0.5], "b": 1})


def test_one_shot_is_pruning_and_then_training() -> None:
    prune, tune = planned({"prune": {"method": HALF, "epochs": 3}}).stages
    assert (prune.steps, prune.epochs) == ((Magnitude(sparsity=0.5),), 0)
    assert (tune.steps, tune.epochs) == ((), 3)


def test_a_gradual_stage_stays_one() -> None:
    (stage,) = planned({"prune": {"method": HALF, "epochs": 3, "schedule": "cubic"}}).stages
    assert (stage.steps, stage.epochs, stage.schedule) == ((Magnitude(sparsity=0.5),), 3, "cubic")


def test_stages_and_steps_keep_the_order_of_the_recipe() -> None:
    made = planned({"b": {"dims": {"sparsity": 0.5}, "method": HALF}, "a": {"quantize": {"bits": 4}}})
    assert [stage.name for stage in made.stages] == ["b", "a"]
    assert made.stages[0].steps == (Dims(sparsity=0.5), Magnitude(sparsity=0.5))
    assert made.stages[0].paths == (("b", "dims"), ("b", "method", "magnitude"))
    assert made.stages[1].steps == (Quantize(bits=4),)


@pytest.mark.parametrize(
    ("recipe", "path", "words"),
    [
        ({"base": 5}, "base", "a mapping must be given, but got 5"),
        ({"base": {"dmi": 8}}, "base.dmi", "Did you mean dim"),
        ({"prune": "magnitude"}, "prune", "a mapping must be given"),
        ({"prune": {"method": "magnitude"}}, "prune.method", "a mapping must be given"),
        ({"prune": {"method": {"magnitude": 0.5}}}, "prune.method.magnitude", "a mapping must be given"),
        ({"prune": {"method": {"magnitud": {}}}}, "prune.method.magnitud", "Did you mean magnitude"),
        ({"prune": {"magnitud": {"sparsity": 0.5}}}, "prune.magnitud", "Did you mean magnitude"),
        ({"prune": {"method": {"magnitude": {}}}}, "prune.method.magnitude.sparsity", "needs a value"),
        ({"prune": {"method": {"dims": {"sparsty": 0.5}}}}, "prune.method.dims.sparsty", "Did you mean sparsity"),
        ({"dims": {"sparsty": 0.5}}, "dims.sparsty", "Did you mean sparsity"),
        ({"dims": {}}, "dims.sparsity", "dims needs a value for sparsity"),
        ({"prune": {"epoch": 2}}, "prune.epoch", "Did you mean epochs"),
        ({"tune": {"epochs": -1}}, "tune.epochs", "but got -1"),
        ({"tune": {"epochs": 1.5}}, "tune.epochs", "but got 1.5"),
        ({"tune": {"epochs": True}}, "tune.epochs", "but got True"),
        ({"tune": {"epochs": "2"}}, "tune.epochs", "but got '2'"),
        ({"prune": {"schedule": "cubik"}}, "prune.schedule", "Did you mean cubic"),
        ({"prune": {"schedule": ["cubic"]}}, "prune.schedule", "is unknown"),
        ({"quantize": {"bits": 8}, "prune": HALF}, "prune.magnitude", "codes cannot be pruned; prune first"),
        ({"quantize": {"bits": 8}, "tune": {"epochs": 1}}, "tune.epochs", "nothing can be trained after quantize"),
        ({"product": {}, "tune": {"epochs": 1}}, "tune.epochs", "nothing can be trained after product"),
        ({"mixed": {"head": 0.1}, "l1": {"strength": 1.0, "epochs": 1}}, "l1.epochs", "nothing can be trained after"),
        ({"a": {"mixed": {"head": 0.1}, "product": {}}}, "a.product", "the tables are coded already"),
        ({"prune": {**HALF, "schedule": "iterative", "rounds": 0}}, "prune.rounds", "but got 0"),
        ({"prune": {**HALF, "rounds": True}}, "prune.rounds", "but got True"),
        ({"prune": {**HALF, "rounds": 2.0}}, "prune.rounds", "but got 2.0"),
        ({"prune": {**HALF, "floor": 1.5}}, "prune.floor", "a fraction from 0 to 1 must be given, but got 1.5"),
        ({"prune": {**HALF, "floor": float("nan")}}, "prune.floor", "but got nan"),
        ({"prune": {**HALF, "floor": True}}, "prune.floor", "but got True"),
        ({"prune": {**HALF, "floor": "2%"}}, "prune.floor", "but got '2%'"),
        ({"a": {"quantize": {"bits": 8}}, "b": {"quantize": {"bits": 4}}}, "b.quantize", "name one way"),
    ],
)
def test_a_recipe_that_cannot_be_planned_names_its_path(recipe: Mapping[str, Any], path: str, words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        planned(recipe)
    assert ".".join(caught.value.path) == path
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("recipe", "path"),
    [
        ({"prune": {"method": {"dims": {"sparsity": 0.99}}}}, "prune.method.dims.sparsity"),
        ({"prune": {"rows": {"sparsity": {"items": 0.5}}}}, "prune.rows.sparsity.items"),
        ({"quantize": {"bits": 5}}, "quantize.bits"),
        ({"a": {"dims": {"sparsity": 0.9}}, "b": {"dims": {"sparsity": 0.9}}}, "b.dims.sparsity"),
        (
            {"prune": {"dims": {"sparsity": 0.75}, "magnitude": {"sparsity": 0.8, "min_per_row": 2}}},
            "prune.magnitude.sparsity",
        ),
        (
            {"a": {"dims": {"sparsity": 0.75}}, "b": {"magnitude": {"sparsity": 0.8, "min_per_row": 2}}},
            "b.magnitude.sparsity",
        ),
    ],
)
def test_a_rehearsal_finds_values_that_the_model_cannot_follow(
    recipe: Mapping[str, Any], path: str, task: RecommenderTask, context: Context, trainer: Trainer
) -> None:
    with pytest.raises(RecipeError) as caught:
        rehearse(planned(recipe), sketch(task, {}), task, context, trainer=trainer)
    assert ".".join(caught.value.path) == path


def test_what_passes_the_rehearsal_runs(task: RecommenderTask, context: Context, dense: Model) -> None:
    """Gradually, dimensions go before all weights have: what a row must keep is then more of what it has."""
    steps = {"magnitude": {"sparsity": 0.8, "min_per_row": 2}, "dims": {"sparsity": 0.75}}
    made, trainer = planned({"prune": {**steps, "schedule": "cubic", "epochs": 2}}), Trainer(task.training)
    try:
        rehearse(made, sketch(task, {}), task, context, trainer=trainer)
    except RecipeError:
        return  # a refusal before any training would do as well
    model = run_stage(dense, made.stages[0], task, context, trainer=trainer, key="")
    assert model.tables["item"].dim == 4


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({}, "dense"),
        ({"encode": {"quantize": {"bits": 1}, "epochs": 1}}, "1 epoch, 1 bit"),
        (
            {"encode": {"quantize": {"bits": {"user": 1, "item": 8}}, "epochs": 20}},
            "20 epochs, user 1 bit, item 8 bits",
        ),
        ({"mixed": {"head": 0.2, "head_bits": 4, "tail_bits": 1}}, "20% of rows 4 bits, others 1"),
    ],
)
def test_a_plan_in_words_counts_in_words(recipe: dict[str, Any], told: str) -> None:
    assert planned(recipe).summary() == told


def test_a_rehearsal_trains_nothing_and_leaves_the_sketch_alone(task: RecommenderTask, context: Context) -> None:
    told: list[str] = []
    model = sketch(task, {}, rows=50)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    recipe = {"prune": {"rows": {"sparsity": 0.5}, "epochs": 5, "schedule": "cubic"}, "quantize": {"bits": 4}}
    rehearse(planned(recipe), model, task, context, trainer=Trainer(task.training, report=told.append))
    assert told == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_sketch_has_the_real_axes_and_widths_but_few_rows(task: RecommenderTask) -> None:
    model, real = sketch(task, {"dim": 12}, rows=50), task.model({"dim": 12}, seed=0)
    assert model.axes == real.axes
    assert {name: tuple(table.weight.shape) for name, table in model.tables.items()} == {
        "user": (50, 12),
        "item": (50, 12),
    }
    assert sketch(task, {}).tables["item"].rows == real.tables["item"].rows  # fewer rows than asked for: all of them


def test_an_untrained_model_has_the_shapes_of_the_trained_one(task: RecommenderTask, context: Context) -> None:
    recipe = {
        "base": {"dim": 8},
        "prune": {"dims": {"sparsity": 0.25}, "rows": {"sparsity": {"item": 0.3}}, "epochs": 1},
        "quantize": {"bits": 4},
    }
    trainer = Trainer(dataclasses.replace(task.training, epochs=1))
    made, untrained = (
        task.parts(run(planned(recipe), task, context, trainer=trainer, epochs=epochs)) for epochs in (None, 0)
    )
    assert made.manifest == untrained.manifest
    assert {name: tensor.shape for name, tensor in made.tensors.items() if "ids" not in name} == {
        name: tensor.shape for name, tensor in untrained.tensors.items() if "ids" not in name
    }


def test_a_plan_that_was_run_trains_nothing_again(
    task: RecommenderTask, context: Context, dense: Model, tmp_path: Path
) -> None:
    told: list[str] = []
    trainer, store = Trainer(task.training, report=told.append), Store(tmp_path)
    tuned = planned({"prune": {**HALF, "epochs": 2}})
    first = run(tuned, task, context, trainer=trainer, store=store)
    dense_reports = len([words for words in told if "dense" in words])
    assert dense_reports > 1
    tuning = [message.split(", loss")[0] for message in told[dense_reports:]]
    assert tuning == ["fine-tuning: epoch 1 of 2", "fine-tuning: epoch 2 of 2"]
    told.clear()
    again = run(tuned, task, context, trainer=trainer, store=store)
    assert told == []
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, first.state_dict()[name])
    # what two plans share is shared, and the store changes no result
    baseline = run(planned({}), task, context, trainer=trainer, store=store)
    assert told == []
    for name, tensor in baseline.state_dict().items():
        assert torch.equal(tensor, dense.state_dict()[name])
    run(planned({"prune": {**HALF, "epochs": 1}}), task, context, trainer=trainer, store=store)
    assert [message.split(", loss")[0] for message in told] == ["fine-tuning: epoch 1 of 1"]


@pytest.mark.parametrize("change", ["seed", "training", "base"])
def test_a_store_mixes_up_nothing(change: str, task: RecommenderTask, context: Context, tmp_path: Path) -> None:
    told: list[str] = []
    short = dataclasses.replace(task.training, epochs=1)
    store, trainer = Store(tmp_path), Trainer(short, report=told.append)
    run(planned({}), task, context, trainer=trainer, store=store)
    told.clear()
    recipe: dict[str, Any] = {}
    if change == "seed":
        context = dataclasses.replace(context, seed=1)
    elif change == "training":
        trainer = Trainer(dataclasses.replace(short, learning_rate=0.02), report=told.append)
    else:
        recipe = {"base": {"dim": 8}}
    run(planned(recipe), task, context, trainer=trainer, store=store)
    assert told != []


@pytest.mark.parametrize("dim", [0, -1, 1.5, True, "8", 5000])
def test_a_width_that_cannot_be_is_refused(dim: object, task: RecommenderTask, context: Context) -> None:
    with pytest.raises(RecipeError, match=r"base\.dim: a whole number from 1 to 4096 must be given"):
        run(planned({"base": {"dim": dim}}), task, context, trainer=Trainer(task.training))
