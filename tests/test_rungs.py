"""Plans that are ended early, and what they leave behind for longer ones and for others."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autoprune.deadline import Deadline, OutOfTime
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.prefixes import LIMIT_BYTES, Prefixes
from autoprune.recipes.recipe import Plan, plan
from autoprune.recipes.stages import run, run_stage
from autoprune.recipes.store import Store
from autoprune.recipes.train import Trainer
from autoprune.recommender.task import RecommenderTask
from autoprune.steps.dims import Dims

UPDATES = 4
"""Of an epoch."""

DIMS = {"dims": {"sparsity": 0.25, "importance": "pca"}}
ZEROS = {"magnitude": {"sparsity": 0.5}}
RECIPES = {
    "cubic": {"prune": {"method": {**DIMS, **ZEROS}, "schedule": "cubic", "epochs": 4}},
    "tune": {"prune": {"method": DIMS}, "tune": {"epochs": 4}, "encode": {"quantize": {"bits": 4}}},
    "codes": {"prune": {"method": ZEROS}, "encode": {"quantize": {"bits": 2}, "epochs": 4}},
    "l1": {"press": {"l1": {"strength": 0.5}, "epochs": 4}, "encode": {"product": {"width": 4, "entries": 16}}},
    "stages": {"prune": {"method": ZEROS, "epochs": 3, "schedule": "cubic"}, "tune": {"epochs": 1}},
}


def planned(recipe: dict[str, Any]) -> Plan:
    return plan(recipe, base_defaults={"dim": 16})


def assert_same(left: Model, right: Model) -> None:
    assert left.state_dict().keys() == right.state_dict().keys()
    for name, tensor in left.state_dict().items():
        assert torch.equal(tensor, right.state_dict()[name]), name
    (left_entries, left_tensors), (right_entries, right_tensors) = left.packed(), right.packed()
    assert left_entries == right_entries
    assert all(np.array_equal(held, right_tensors[name]) for name, held in left_tensors.items())


class Counted(RecommenderTask):
    """Counts updates."""

    made = 0

    def loss(self, model: Any, batch: Any) -> torch.Tensor:
        self.made += 1
        return super().loss(model, batch)


@pytest.fixture(
    scope="module", params=[pytest.param(False, id="constant"), pytest.param(True, id="decay", marks=pytest.mark.slow)]
)
def counted(task: RecommenderTask, request: pytest.FixtureRequest) -> Counted:
    training = dataclasses.replace(task.training, decay=request.param)
    return Counted("interactions", task.data, dataclasses.replace(task.config, training=training))


class Maker:
    """Makes plans of one task over one store, from a dense model that is not trained, and says what each took."""

    def __init__(self, task: Counted, folder: Path | None) -> None:
        self.task, self.store = task, Store(folder) if folder else None
        self.context = task.context(seed=0, device=torch.device("cpu"))
        self.trainer = Trainer(dataclasses.replace(task.training, epochs=0))

    def make(self, recipe: dict[str, Any], context: Context | None = None, **settings: Any) -> tuple[Model, int]:
        before, made = self.task.made, planned(recipe)
        model = run(made, self.task, context or self.context, trainer=self.trainer, store=self.store, **settings)
        return model, self.task.made - before


@pytest.mark.parametrize(
    "name", ["cubic", "tune", *(pytest.param(name, marks=pytest.mark.slow) for name in ("codes", "l1", "stages"))]
)
def test_a_plan_goes_on_from_where_it_was_ended(name: str, counted: Counted, tmp_path: Path) -> None:
    recipe = RECIPES[name]
    maker, alone = Maker(counted, tmp_path), Maker(counted, None)
    whole, updates = alone.make(recipe)
    assert updates == 4 * UPDATES
    for epochs, more in ((0, 0), (1, 1), (1, 0), (3, 2), (4, 1), (None, 0), (9, 0), (1, 0)):
        model, updates = maker.make(recipe, epochs=epochs)
        assert updates == more * UPDATES
        assert_same(model, whole if epochs in (4, None, 9) else alone.make(recipe, epochs=epochs)[0])


def test_a_plan_that_is_ended_early_has_reached_its_targets(counted: Counted) -> None:
    maker = Maker(counted, None)
    for epochs in (0, 1, 2):
        model, updates = maker.make(RECIPES["cubic"], epochs=epochs)
        assert updates == epochs * UPDATES
        assert model.tables["item"].dim == 12
        assert sum(int((~table.mask).sum()) for table in model.tables.values()) == 360 * 12 // 2
    untrained = {"prune": {"method": {**DIMS, **ZEROS}}}
    assert_same(maker.make(untrained)[0], maker.make(RECIPES["cubic"], epochs=0)[0])
    assert planned(RECIPES["cubic"]).beginning(0, decay=True).key == planned(untrained).key


class Looks(Deadline):
    """Is over after so many looks at the clock: one after each update."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.__dict__["count"] = count

    @property
    def left(self) -> float:
        self.__dict__["count"] -= 1
        return float(self.__dict__["count"])


@pytest.mark.parametrize("name", ["cubic", "codes"])
@pytest.mark.parametrize("stopped_at", [1, 3], ids=["on the way to a rung", "beyond it"])
def test_a_kill_within_an_epoch_costs_nothing(name: str, stopped_at: int, counted: Counted, tmp_path: Path) -> None:
    recipe, maker = RECIPES[name], Maker(counted, tmp_path)
    whole, _ = Maker(counted, None).make(recipe)
    rung = 2
    spent = maker.make(recipe, epochs=rung)[1] if stopped_at > rung else 0
    reached = stopped_at * UPDATES + 2
    begun, stopping = counted.made, dataclasses.replace(maker.context, deadline=Looks(reached - spent))
    with pytest.raises(OutOfTime):
        maker.make(recipe, stopping, epochs=max(stopped_at, rung) + 1)
    assert counted.made - begun == reached - spent
    model, updates = maker.make(recipe)
    assert updates == 4 * UPDATES - reached
    assert_same(model, whole)


def test_budgets_are_beginnings_of_one_training_where_nothing_depends_on_its_length(
    counted: Counted, tmp_path: Path
) -> None:
    def recipe(epochs: int) -> dict[str, Any]:
        return {"prune": {"method": DIMS}, "tune": {"epochs": epochs}, "encode": {"quantize": {"bits": 8}}}

    maker, alone, free = Maker(counted, tmp_path), Maker(counted, None), not counted.training.decay
    spent = [maker.make(recipe(epochs), epochs=rung)[1] for epochs, rung in ((2, None), (5, None), (6, 3), (6, None))]
    assert [updates // UPDATES for updates in spent] == ([2, 3, 1, 1] if free else [2, 5, 3, 3])
    # 3 of 6 is a stage of 3, and 2 is still there after 6
    assert maker.make(recipe(3))[1] == (0 if free else 3 * UPDATES)
    for epochs in (2, 3, 5, 6):
        model, updates = maker.make(recipe(epochs))
        assert updates == 0
        assert_same(model, alone.make(recipe(epochs))[0])


ROUNDS = {"method": {**DIMS, **ZEROS}, "schedule": "iterative", "rounds": 3, "floor": 0.0, "epochs": 7}


def test_of_rounds_those_are_run_that_end_within_the_epochs(counted: Counted, tmp_path: Path) -> None:
    maker, alone = Maker(counted, tmp_path), Maker(counted, None)
    recipe = {"prune": ROUNDS, "encode": {"quantize": {"bits": 8}}}
    reached = []
    for epochs, trained in ((0, 0), (1, 0), (2, 2), (3, 0), (6, 2), (7, 3), (None, 0)):  # rounds end after 2, 4 and 7
        model, updates = maker.make(recipe, epochs=epochs)
        assert updates == trained * UPDATES
        assert_same(model, alone.make(recipe, epochs=epochs)[0])
        reached.append(model.tables["item"].dim)
    assert reached == [12, 12, 15, 15, 13, 12, 12]  # where no round ends the whole target is met at once
    at_once = {**recipe, "prune": {"method": ROUNDS["method"]}}
    assert_same(maker.make(recipe, epochs=1)[0], maker.make(at_once)[0])


def test_the_epochs_of_a_plan() -> None:
    made = planned({**RECIPES["stages"], "encode": {"quantize": {"bits": 4}}})
    assert made.epochs == 4
    assert planned({}).epochs == 0
    assert made.beginning(4, decay=True) == made.beginning(9, decay=False) == made
    assert [stage.epochs for stage in made.beginning(2, decay=False).stages] == [2, 0]
    beginnings = [made.beginning(epochs, decay=decay) for epochs in range(5) for decay in (False, True)]
    assert [begun.epochs for begun in beginnings] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert len({begun.key for begun in beginnings}) == 5  # a ramp depends on its length whatever the learning rate does


SHARING = [
    {},
    {"encode": {"quantize": {"bits": 8}}},
    {"encode": {"quantize": {"bits": {"item": 4}}}},
    *(
        {"prune": {"method": DIMS}, "encode": method}
        for method in ({"quantize": {"bits": 4}}, {"mixed": {"head": 0.2}})
    ),
    {"prune": {"method": DIMS}, "zeros": ZEROS, "encode": {"quantize": {"bits": 2}}},
    {"prune": {"method": DIMS}, "zeros": ZEROS, "encode": {"product": {"width": 4, "entries": 16}}},
    {"prune": {"method": DIMS}, "turn": {"method": {"rows": {"sparsity": 0.5}}}, "again": {"method": DIMS}},
    {"prune": {"method": DIMS}, "tune": {"epochs": 1}, "encode": {"quantize": {"bits": 4}}},
    {"prune": {"method": ZEROS, "epochs": 1}, "encode": {"quantize": {"bits": 4}}},
    {"prune": {"method": ZEROS, "epochs": 1}, "encode": {"quantize": {"bits": 1}, "epochs": 1}},
    {"prune": {**ROUNDS, "epochs": 3}, "encode": {"quantize": {"bits": 4}}},
    {"base": {"dim": 8}, "prune": {"method": {"rows": {"sparsity": 0.2}}}, "encode": {"quantize": {"bits": 4}}},
]


@pytest.mark.parametrize(
    "room", [pytest.param(0, marks=pytest.mark.slow), 60_000, pytest.param(LIMIT_BYTES, marks=pytest.mark.slow)]
)
def test_models_that_are_shared_change_no_result(room: int, counted: Counted, tmp_path: Path) -> None:
    asked = [(number, epochs) for number in range(len(SHARING)) for epochs in (0, 1, None)]
    alone, maker, shared = Maker(counted, None), Maker(counted, tmp_path), Prefixes(limit_bytes=room)
    expected = {(number, epochs): alone.make(SHARING[number], epochs=epochs)[0] for number, epochs in asked}
    random.Random(room).shuffle(asked)
    for number, epochs in asked:
        model, _ = maker.make(SHARING[number], epochs=epochs, prefixes=shared)
        assert_same(model, expected[number, epochs])
        assert shared.bytes <= room
    assert (shared.bytes > 0) == (room > 0)


def test_what_is_shared_is_not_made_again(
    task: RecommenderTask, context: Context, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    shared, train, convert = Prefixes(), Trainer.train_dense, Dims.convert

    def told(name: str, function: Any) -> Any:
        return lambda *args, **kwargs: (made.append(name), function(*args, **kwargs))[1]

    monkeypatch.setattr(Trainer, "train_dense", told("dense", train))
    monkeypatch.setattr(Dims, "convert", told("dims", convert))
    for recipe in (SHARING[5], SHARING[6], SHARING[1], SHARING[3]):
        run(planned(recipe), task, context, trainer=trainer, prefixes=shared)
    assert made == ["dense", "dims"]


def test_stages_without_training_share_what_they_do_not_change(
    dense: Model, task: RecommenderTask, context: Context, trainer: Trainer
) -> None:
    def places(recipe: dict[str, Any]) -> set[str]:
        (stage,) = planned(recipe).stages
        made = run_stage(dense, stage, task, context, trainer=trainer, key="").state_dict()
        return {name for name, held in dense.state_dict().items() if made[name].data_ptr() == held.data_ptr()}

    weights = {f"_tables.{name}.weight" for name in ("user", "item")}
    assert weights <= places({"encode": {"quantize": {"bits": 8}}})
    for recipe in (
        {"encode": {"quantize": {"bits": 4}}},
        {"prune": {"method": ZEROS}},
        {"prune": {"method": DIMS}},
        {"tune": {"epochs": 1}},
    ):
        assert not weights & places(recipe)


def test_models_that_were_used_longest_ago_go_first(dense: Model) -> None:
    size = sum(tensor.nbytes for tensor in dense.state_dict().values())
    shared = Prefixes(limit_bytes=2 * size + 1)
    for key in "ab":
        shared.put(key, dense)
    assert shared.longest(["b", "a", "c"])[0] == 1
    shared.put("c", dense)
    assert [shared.longest([key])[1] is not None for key in "abc"] == [True, False, True]
    assert shared.bytes == 2 * size
    small = Prefixes(limit_bytes=size - 1)
    small.put("a", dense)
    assert (small.bytes, small.longest(["a"])) == (0, (0, None))
