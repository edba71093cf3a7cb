"""Stages that do more than one thing at once: rounds with a floor, and training on codes."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.artifacts.served import serve
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.packing.codes import RowCodes
from autoprune.recipes.recipe import Plan, plan
from autoprune.recipes.stages import rehearse, run_stage, sketch
from autoprune.recipes.store import Store
from autoprune.recipes.train import Trainer
from autoprune.recommender.task import RecommenderTask
from autoprune.steps.dims import Dims

ROUNDS = {"schedule": "iterative", "rounds": 3, "floor": 0.9, "epochs": 7}
PRUNE = {"method": {"magnitude": {"sparsity": 0.6}, "dims": {"sparsity": 0.25}}}


def planned(recipe: dict[str, Any]) -> Plan:
    return plan(recipe, base_defaults={"dim": 16})


def state_of(model: Model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(left: Model, right: Model) -> bool:
    one, other = left.state_dict(), right.state_dict()
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Model]]:
    """Makes validation say what a test wants; returns the models it was asked about."""

    def script(*qualities: float) -> list[Model]:
        asked: list[Model] = []
        answers: Iterator[float] = iter(qualities)

        def validate(_: RecommenderTask, model: Model) -> float:
            asked.append(copy.deepcopy(model))
            return next(answers)

        monkeypatch.setattr(RecommenderTask, "validate", validate)
        return asked

    return script


def run_rounds(
    dense: Model, task: RecommenderTask, context: Context, told: list[str], recipe: dict[str, Any], **settings: Any
) -> Model:
    (stage,) = planned({"prune": recipe}).stages
    trainer = Trainer(task.training, report=told.append)
    return run_stage(dense, stage, task, context, trainer=trainer, key="k", **settings)


def test_rounds_that_all_pass_reach_the_whole_target_in_equal_shares(
    dense: Model, task: RecommenderTask, context: Context, scripted: Callable[..., list[Model]]
) -> None:
    asked = scripted(1.0, 0.95, 0.9, 0.99)
    told: list[str] = []
    made = run_rounds(dense, task, context, told, {**PRUNE, **ROUNDS})
    widths = [model.tables["item"].dim for model in asked]
    assert widths == [16, 15, 13, 12]  # 4 dimensions go: round(4/3), round(8/3), 4
    pruned = [sum(int((~table.mask).sum()) for table in model.tables.values()) for model in asked]
    assert pruned == [
        0,
        *(round(0.6 * part / 3 * 360 * width) for part, width in zip((1, 2, 3), widths[1:], strict=True)),
    ]
    assert same(made, asked[-1])
    epochs = [words.removeprefix("fine-tuning: epoch ").split(",")[0] for words in told]
    assert epochs == ["1 of 2", "2 of 2", "1 of 2", "2 of 2", "1 of 3", "2 of 3", "3 of 3"]


@pytest.mark.parametrize("failing", [2, 3])
def test_a_round_below_the_floor_gives_back_the_round_before(
    failing: int, dense: Model, task: RecommenderTask, context: Context, scripted: Callable[..., list[Model]]
) -> None:
    asked = scripted(0.5, *[0.46] * (failing - 1), 0.449, 1.0)
    told: list[str] = []
    made = run_rounds(dense, task, context, told, {**PRUNE, **ROUNDS})
    assert len(asked) == failing + 1  # nothing is tried beyond
    assert same(made, asked[failing - 1])
    assert not same(made, asked[failing])


@pytest.mark.parametrize(
    "method", [PRUNE["method"], {"dims": {"sparsity": 0.5, "importance": "pca"}}, {"quantize": {"bits": 4}}]
)
def test_a_first_round_below_the_floor_gives_back_the_start(
    method: dict[str, Any], dense: Model, task: RecommenderTask, context: Context, scripted: Callable[..., list[Model]]
) -> None:
    before = state_of(dense)
    scripted(0.5, 0.4)
    made = run_rounds(dense, task, context, [], {"method": method, **ROUNDS})
    assert same(made, dense)
    assert made is not dense
    assert all(table.coded is None for table in made.tables.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())


def test_rounds_without_epochs_only_prune_and_validate(
    dense: Model, task: RecommenderTask, context: Context, scripted: Callable[..., list[Model]]
) -> None:
    asked = scripted(1.0, 0.95, 0.95, 0.1)
    told: list[str] = []
    made = run_rounds(dense, task, context, told, {"dims": {"sparsity": 0.75}, **ROUNDS, "epochs": 0})
    assert told == []
    assert [model.tables["user"].dim for model in asked] == [16, 12, 8, 4]
    assert made.tables["user"].dim == 8


def test_codes_are_in_the_quality_that_a_round_is_judged_by(
    dense: Model, task: RecommenderTask, context: Context, scripted: Callable[..., list[Model]]
) -> None:
    asked = scripted(1.0, 1.0, 1.0, 1.0)
    made = run_rounds(dense, task, context, [], {"method": {"quantize": {"bits": 2}}, **ROUNDS})
    assert [model.tables["item"].coded is not None for model in asked] == [False, True, True, True]
    assert made.tables["item"].coded is not None


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("at", [3, 6])
def test_rounds_go_on_after_a_kill_between_them(
    at: int, dense: Model, task: RecommenderTask, context: Context, tmp_path: Path
) -> None:
    recipe, store = {**PRUNE, **ROUNDS, "floor": 0.0}, Store(tmp_path)
    undisturbed = run_rounds(dense, task, context, [], recipe)
    (stage,) = planned({"prune": recipe}).stages
    heard: list[str] = []

    def die(words: str) -> None:
        heard.append(words)
        if len(heard) == at:
            raise Killed

    with pytest.raises(Killed):
        run_stage(dense, stage, task, context, trainer=Trainer(task.training, report=die), key="k", store=store)
    told: list[str] = []
    resumed = run_rounds(dense, task, context, told, recipe, store=store)
    assert len(told) == {3: 5, 6: 3}[at]  # what earlier rounds trained is not trained again
    assert same(resumed, undisturbed)
    told.clear()
    assert same(run_rounds(dense, task, context, told, recipe, store=store), undisturbed)
    assert told == []


def test_the_floor_is_about_quality_as_the_task_measures_it(
    dense: Model, task: RecommenderTask, context: Context
) -> None:
    recipe = {"dims": {"sparsity": 0.9}, "schedule": "iterative", "rounds": 7, "epochs": 0}
    sizes = {}
    for floor in (0.0, 0.9, 1.0):
        made = run_rounds(dense, task, context, [], {**recipe, "floor": floor})
        quality, before = (
            task.metrics[task.metric](task.score(serve(task.parts(model)), "validation")) for model in (made, dense)
        )
        assert quality >= floor * before, "of what ships, not of a copy that was settled once more"
        sizes[floor] = made.tables["item"].dim
    assert sizes[0.0] == 2
    assert sizes[0.0] < sizes[0.9] <= sizes[1.0] <= 16


def test_rounds_are_rehearsed_as_if_all_passed(task: RecommenderTask, context: Context, trainer: Trainer) -> None:
    made = planned({"prune": {**PRUNE, **ROUNDS}})
    rehearse(made, sketch(task, {}), task, context, trainer=trainer)
    model = run_stage(sketch(task, {}), made.stages[0], task, context, trainer=trainer, key="", train=False)
    assert model.tables["item"].dim == 12


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({**PRUNE, "rounds": 9, "floor": 0.5}, PRUNE),
        ({**PRUNE, "rounds": 9, "epochs": 2, "schedule": "cubic"}, {**PRUNE, "epochs": 2, "schedule": "cubic"}),
        ({**PRUNE, "schedule": "iterative"}, {**PRUNE, "schedule": "iterative", "rounds": 4, "floor": 0.98}),
        ({**PRUNE, "schedule": "iterative", "floor": 1}, {**PRUNE, "schedule": "iterative", "floor": 1.0}),
        ({"schedule": "iterative", "rounds": 5, "epochs": 2}, {"epochs": 2}),
        ({"schedule": "iterative", "l1": {"strength": 1.0}}, {}),
        ({"quantize": {"bits": {"user": 8, "item": 32}}}, {"quantize": {"bits": {"user": 8}}}),
    ],
)
def test_what_rounds_cannot_change_is_not_in_the_key(left: dict[str, Any], right: dict[str, Any]) -> None:
    one, other = planned({"prune": left}), planned({"prune": right})
    assert one.stages == other.stages or [s.describe() for s in one.stages] == [s.describe() for s in other.stages]
    assert one.key == other.key


def test_what_rounds_change_is_in_the_key() -> None:
    iterative = {**PRUNE, "schedule": "iterative"}
    recipes = [
        PRUNE,
        iterative,
        {**iterative, "rounds": 1},
        {**iterative, "floor": 0.5},
        {**iterative, "epochs": 2},
        {**PRUNE, "epochs": 2},
        {"l1": {"strength": 1.0}, "epochs": 2},
        {"l1": {"strength": 1.0, "groups": "dims"}, "epochs": 2},
        {"quantize": {"bits": 4}},
        {"quantize": {"bits": 4}, "epochs": 2},
    ]
    assert len({planned({"prune": recipe}).key for recipe in recipes}) == len(recipes)


CODED = [
    {"quantize": {"bits": 1}},
    {"quantize": {"bits": {"item": 2}}},
    {"mixed": {"head": 0.3, "head_bits": 4, "tail_bits": 1}},
]


@pytest.mark.parametrize("method", CODED, ids=str)
def test_the_loss_sees_what_the_codes_stand_for(
    method: dict[str, Any], dense: Model, task: RecommenderTask, context: Context
) -> None:
    (stage,) = planned({"q": {"method": method}}).stages
    training, coded = copy.deepcopy(dense), copy.deepcopy(dense)
    for model in (training, coded):
        stage.steps[0].advance(model, context, 1.0)
    stage.steps[0].convert(coded, context)
    torch.manual_seed(0)
    batch = task.batches()[0]
    losses = [float(task.loss(model.eval(), batch).detach()) for model in (training, coded, copy.deepcopy(dense))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)


@pytest.mark.parametrize("method", CODED, ids=str)
def test_the_codes_of_the_last_update_ship(
    method: dict[str, Any],
    dense: Model,
    task: RecommenderTask,
    context: Context,
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (stage,) = planned({"q": {"method": method, "epochs": 2}}).stages
    last: dict[str, torch.Tensor] = {}
    settle = RecommenderTask.settle

    def look(self: RecommenderTask, model: Model) -> None:
        last.update({name: table.values().detach() for name, table in model.tables.items()})
        settle(self, model)

    monkeypatch.setattr(RecommenderTask, "settle", look)
    made = run_stage(dense, stage, task, context, trainer=trainer, key="")
    for name, table in made.tables.items():
        # Cosines: the lengths of rows are settled at the end, their directions are what trained. A weight on the
        # border of two codes may fall to either when its row is scaled.
        cosines = torch.nn.functional.cosine_similarity(table.values().detach(), last[name])
        assert float((cosines > 1 - 1e-5).float().mean()) > 0.95
        assert float(cosines.min()) > 0.7  # each of 16 signs turns a row by about 2 / 16; two may turn


def test_training_on_signs_beats_training_first_and_taking_signs_then(
    dense: Model, task: RecommenderTask, context: Context, trainer: Trainer
) -> None:
    """By the training loss, noise and all, at one budget."""
    losses = []
    coded = {"quantize": {"bits": 1}}
    for recipe in ({"tune": {"epochs": 10}, "q": coded}, {"q": {**coded, "epochs": 10}}):
        model = dense
        for stage in planned(recipe).stages:
            model = run_stage(model, stage, task, context, trainer=trainer, key="")
        assert all(isinstance(table.coded, RowCodes) for table in model.tables.values())
        torch.manual_seed(0)
        batches = [batch for _ in range(5) for batch in task.batches()]
        losses.append(sum(float(task.loss(model.train(), batch).detach()) for batch in batches))
    assert losses[1] < losses[0]


def test_codes_are_chosen_before_a_stage_trains_and_kept(
    dense: Model, task: RecommenderTask, context: Context, trainer: Trainer
) -> None:
    (stage,) = planned({"q": {"quantize": {"bits": 4}, "epochs": 1}}).stages
    made = run_stage(dense, stage, task, context, trainer=trainer, key="")
    at_once = run_stage(dense, dataclasses.replace(stage, epochs=0), task, context, trainer=trainer, key="")
    for name, table in made.tables.items():
        assert torch.equal(table.shares, at_once.tables[name].shares)
        assert set(table.bits.tolist()) == {4}


def test_a_stage_of_codes_keeps_its_epochs_and_one_that_prunes_gives_them_away() -> None:
    (stage,) = planned({"q": {"quantize": {"bits": 4}, "dims": {"sparsity": 0.5}, "epochs": 2}}).stages
    assert stage.epochs == 2
    assert stage.steps[0] == Dims(sparsity=0.5)
    prune, tune = planned({"q": {"dims": {"sparsity": 0.5}, "epochs": 2}}).stages
    assert (prune.epochs, tune.epochs) == (0, 2)
    (pressed,) = planned({"q": {"l1": {"strength": 1.0}, "epochs": 2}}).stages
    assert pressed.epochs == 2
    assert planned({"q": {"l1": {"strength": 1.0}}}).stages == ()
