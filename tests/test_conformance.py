"""The exam that every step takes. A new step needs one line in `EXAMS`, nothing else here."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autoprune
from autoprune import artifact, train
from autoprune.context import Context
from autoprune.errors import RecipeError
from autoprune.models.model import Model
from autoprune.recipe import Stage, plan
from autoprune.runtime import serve
from autoprune.runtime.recommender import Recommender
from autoprune.stages import run_stage
from autoprune.steps import CANNOT_FOLLOW, STEPS, make_step
from autoprune.steps.step import Step
from autoprune.store import Store
from autoprune.tasks.recommender import RecommenderTask
from autoprune.train import Trainer


@dataclass(frozen=True)
class Exam:
    """A step under test, and what it declares to do.

    Attributes:
        removes: fraction by what it is a fraction of: `weights` (of all tables together), `weights.item`, `dim`,
            `rows.item`, …; structure that is not named must stay whole.
        bits: of every table afterwards.
    """

    name: str
    parameters: dict[str, Any]
    removes: Mapping[str, float] = field(default_factory=dict)
    bits: int = 32

    def __str__(self) -> str:
        values = [str(value).translate(str.maketrans("", "", "{}' ")) for value in self.parameters.values()]
        return "-".join([self.name, *values])

    @property
    def step(self) -> Step:
        return make_step(self.name, self.parameters)


EXAMS = [
    Exam("magnitude", {"sparsity": 0.9}, {"weights": 0.9}),
    Exam("magnitude", {"sparsity": 0.6, "scope": "table"}, {"weights.user": 0.6, "weights.item": 0.6}),
    Exam("magnitude", {"sparsity": {"item": 0.7}, "scope": "table"}, {"weights.item": 0.7}),
    Exam("magnitude", {"sparsity": 0.37, "min_per_row": 3}, {"weights": 0.37}),
    Exam("dims", {"sparsity": 0.5}, {"dim": 0.5}),
    Exam("dims", {"sparsity": 0.3, "importance": "pca"}, {"dim": 0.3}),
    Exam("rows", {"sparsity": {"item": 0.3}}, {"rows.item": 0.3}),
    Exam("dims", {"sparsity": 0.4, "importance": "activation"}, {"dim": 0.4}),
    Exam("rows", {"sparsity": 0.45}, {"rows.item": 0.45, "rows.user": 0.45}),
    Exam(
        "rows", {"sparsity": {"item": 0.25, "user": 0.6}, "importance": "norm"}, {"rows.item": 0.25, "rows.user": 0.6}
    ),
    Exam("rows", {"sparsity": {"user": 0.3}, "importance": "both"}, {"rows.user": 0.3}),
    Exam("l1", {"strength": 5.0}, {"weights": None}),
    Exam("l1", {"strength": 5.0, "groups": "dims"}, {"dim": None}),
    Exam("l1", {"strength": 5.0, "groups": "rows"}, {"rows.item": None, "rows.user": None}),
    Exam("quantize", {"bits": 8}, bits={8}),
    Exam("quantize", {"bits": 4}, bits={4}),
    Exam("quantize", {"bits": {"user": 2, "item": 1}}, bits={2, 1}),
    Exam("mixed", {"head": 0.2, "head_bits": 8, "tail_bits": 2}, bits={8, 2}),
    Exam("product", {"width": 4, "entries": 16}, bits={4}),
]

every_step = pytest.mark.parametrize("exam", EXAMS, ids=str)
at_once_and_gradually = pytest.mark.parametrize("epochs", [0, 2])


def stage_of(exam: Exam, *, epochs: int = 0) -> Stage:
    return Stage(name="under_test", steps=(exam.step,), paths=(("under_test",),), epochs=epochs, schedule="cubic")


def state_of(model: Model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_state(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def removed_parts(model: Model, dense: Model) -> dict[str, int]:
    """How much is gone, by the names that `Exam.removes` uses."""
    zeros = {f"weights.{name}": int((table.values() == 0).sum()) for name, table in model.tables.items()}
    gone = {name: dense.size(axis) - model.size(axis) for name, axis in model.axes.items()}
    return {"weights": sum(zeros.values()), **zeros, **gone}


def sizes_of(dense: Model) -> dict[str, int]:
    weights = {f"weights.{name}": table.weight.numel() for name, table in dense.tables.items()}
    return {
        "weights": sum(weights.values()),
        **weights,
        **{name: dense.size(axis) for name, axis in dense.axes.items()},
    }


def all_scores(served: object, task: RecommenderTask, *, every: int = 5) -> np.ndarray[Any, Any]:
    """Scores of one user in `every` x all items of the task."""
    assert isinstance(served, Recommender)
    users = range(0, len(task.data.users), every)
    return torch.stack([served.scores(task.data.users[user]) for user in users]).numpy()


def expected_scores(masked: Model, task: RecommenderTask) -> np.ndarray[Any, Any]:
    """What a model whose rows are hidden, not cut, must answer; in numpy, float64."""
    user, item = (masked.tables[name].values().detach().double().numpy() for name in ("user", "item"))
    user_stays, item_stays = (masked.tables[name].row_mask.numpy() for name in ("user", "item"))
    vectors, fold_in = user.copy(), task.config.fold_in
    gram = item[item_stays].T @ item[item_stays]
    # Parts that are hidden are not there for the ridge either: it spans the dimensions that stay.
    dims = masked.tables["item"].dim_mask.numpy()
    scale = np.diag(gram)[dims].mean()
    penalty = fold_in.alpha * gram + fold_in.ridge * scale * np.eye(len(gram))
    history = task.data.train.joined(task.data.validation)
    # A row without a single weight left says nothing of its user: the history has to.
    for at in np.flatnonzero(~user_stays | ~user.any(1)):
        seen = history.of(int(at)).numpy()
        seen = seen[item_stays[seen]]
        rows = item[seen]
        solution = np.linalg.solve(rows.T @ rows + penalty, rows.sum(0))
        vectors[at] = solution if len(seen) else user[user_stays].mean(0)
    return np.where(item_stays, vectors[::5] @ item.T, -np.inf)


def test_every_step_takes_the_exam() -> None:
    assert {exam.name for exam in EXAMS} == set(STEPS)


@every_step
@at_once_and_gradually
def test_the_input_is_untouched(
    exam: Exam, epochs: int, dense: Model, task: RecommenderTask, context: Context, trainer: Trainer
) -> None:
    before, training = state_of(dense), dense.training
    run_stage(dense, stage_of(exam, epochs=epochs), task, context, trainer=trainer, key="")
    assert_same_state(dense.state_dict(), before)
    assert all(table.coded is None for table in dense.tables.values())
    assert dense.training == training


@every_step
@at_once_and_gradually
def test_what_is_asked_is_reached_exactly(
    exam: Exam, epochs: int, dense: Model, task: RecommenderTask, context: Context, trainer: Trainer
) -> None:
    made = run_stage(dense, stage_of(exam, epochs=epochs), task, context, trainer=trainer, key="")
    gone, sizes = removed_parts(made, dense), sizes_of(dense)
    for name, fraction in exam.removes.items():
        assert gone[name] == round(fraction * sizes[name])
    assert [name for name in made.axes if gone[name] and name not in exam.removes] == []
    if exam.bits == 32 and not any(name.startswith("weights") for name in exam.removes):
        assert gone["weights"] == 0
    for table in made.tables.values():
        assert table.packed().entry["bits"] == exam.bits
        assert table.rows == len(table.index) == len(table.row_mask)
        assert bool(table.row_mask.all() and table.dim_mask.all())


@every_step
@at_once_and_gradually
def test_the_served_answers_are_those_of_the_masked_model(
    exam: Exam,
    epochs: int,
    dense: Model,
    task: RecommenderTask,
    context: Context,
    trainer: Trainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = stage_of(exam, epochs=epochs)
    made = run_stage(dense, stage, task, context, trainer=trainer, key="")
    artifact.save(task.parts(made), tmp_path / "a", provenance={})
    with monkeypatch.context() as patch:
        patch.setattr(Model, "cut", lambda *_: None)
        masked = run_stage(dense, stage, task, context, trainer=trainer, key="")
    found, expected = all_scores(autoprune.load(tmp_path / "a"), task), expected_scores(masked, task)
    assert (np.isneginf(found) == np.isneginf(expected)).all()
    stands = ~np.isneginf(expected)
    np.testing.assert_allclose(found[stands], expected[stands], atol=2e-5 * np.abs(expected[stands]).max())


@every_step
def test_saving_and_loading_change_no_answer(
    exam: Exam, dense: Model, task: RecommenderTask, context: Context, trainer: Trainer, tmp_path: Path
) -> None:
    parts = task.parts(run_stage(dense, stage_of(exam), task, context, trainer=trainer, key=""))
    artifact.save(parts, tmp_path / "a", provenance={})
    np.testing.assert_array_equal(all_scores(autoprune.load(tmp_path / "a"), task), all_scores(serve(parts), task))


@every_step
def test_what_a_step_remembers_is_in_the_state_dict(
    exam: Exam, dense: Model, task: RecommenderTask, context: Context, tmp_path: Path
) -> None:
    """A checkpoint is taken before `convert`: the state alone must give the same artifact."""
    step, halfway, restored = exam.step, copy.deepcopy(dense), copy.deepcopy(dense)
    step.prepare(halfway, context)
    step.advance(halfway, context, 1.0)
    torch.save(halfway.state_dict(), tmp_path / "state.pt")
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert_same_state(restored.state_dict(), halfway.state_dict())
    for model in (halfway, restored):
        step.convert(model, context)
    left, right = task.parts(halfway), task.parts(restored)
    assert left.manifest == right.manifest
    assert_same_state(left.tensors, right.tensors)


class Killed(Exception):
    """Stands for the end of the process."""


@every_step
def test_an_interrupted_stage_resumes_bit_identically(
    exam: Exam,
    dense: Model,
    task: RecommenderTask,
    context: Context,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train, "SAVE_EVERY_S", -1.0)
    stage, store = stage_of(exam, epochs=4), Store(tmp_path)
    told: list[str] = []

    def die(words: str) -> None:
        if "epoch 3 of 4" in words:  # said before its checkpoint: two epochs are safe
            raise Killed

    undisturbed = run_stage(dense, stage, task, context, trainer=Trainer(task.training), key="k")
    with pytest.raises(Killed):
        run_stage(dense, stage, task, context, trainer=Trainer(task.training, report=die), key="k", store=store)
    checkpoint = store.load("k")
    assert checkpoint is not None
    assert checkpoint["epochs"] == 2
    trainer = Trainer(task.training, report=told.append)
    resumed = run_stage(dense, stage, task, context, trainer=trainer, key="k", store=store)
    assert told == ["fine-tuning: epoch 3 of 4", "fine-tuning: epoch 4 of 4"]
    assert_same_state(resumed.state_dict(), undisturbed.state_dict())
    assert_same_state(task.parts(resumed).tensors, task.parts(undisturbed).tensors)


def reason_against(first: Exam, second: Exam) -> str | None:
    pairs = [(a, b) for a in first.step.aspects() for b in second.step.aspects()]
    return next((CANNOT_FOLLOW[pair] for pair in pairs if pair in CANNOT_FOLLOW), None)


def train_through(
    recipe: Mapping[str, Any], dense: Model, task: RecommenderTask, context: Context, trainer: Trainer
) -> Model:
    model = dense
    for stage in plan(recipe, base_defaults=task.base).stages:
        model = run_stage(model, stage, task, context, trainer=trainer, key="")
    return model


def assert_ships(model: Model, task: RecommenderTask, folder: Path) -> None:
    """The artifact loads and answers, with exactly the items that stand."""
    artifact.save(task.parts(model), folder, provenance={})
    found = all_scores(autoprune.load(folder), task, every=24)
    stands = np.zeros(len(task.data.items), dtype=bool)
    stands[model.tables["item"].index.numpy()] = True
    assert np.isfinite(found[:, stands]).all()
    assert np.isneginf(found[:, ~stands]).all()


@pytest.mark.parametrize("second", EXAMS, ids=str)
@pytest.mark.parametrize("first", EXAMS, ids=str)
def test_two_steps_compose_or_are_refused_with_the_reason(
    first: Exam,
    second: Exam,
    dense: Model,
    task: RecommenderTask,
    context: Context,
    trainer: Trainer,
    tmp_path: Path,
) -> None:
    def stages(epochs: int) -> dict[str, Any]:
        gradual = {"schedule": "cubic", "epochs": epochs}
        return {
            "one": {"method": {first.name: first.parameters}, "schedule": "cubic", "epochs": 1},
            "two": {"method": {second.name: second.parameters}, **gradual},
        }

    both = {"together": {"schedule": "cubic", "epochs": 1}}
    both["together"]["method"] = {first.name: first.parameters, second.name: second.parameters}
    reason = reason_against(first, second)
    if reason is not None:
        with pytest.raises(RecipeError) as caught:
            plan(stages(0), base_defaults=task.base)
        assert reason in str(caught.value)
        assert caught.value.path[-2:] == ("method", second.name)
        if first.step.rank > second.step.rank:  # in one stage the other acts first, whatever the order of the recipe
            assert_ships(train_through(both, dense, task, context, trainer), task, tmp_path / "together")
        return
    made = train_through(stages(1 if first.step.trainable else 0), dense, task, context, trainer)
    assert_ships(made, task, tmp_path / "following")
    gone, sizes = removed_parts(made, dense), sizes_of(dense)
    for exam in (first, second):
        for name in set(exam.removes) & set(dense.axes):
            assert gone[name] >= round(exam.removes[name] * sizes[name])
    if first.name != second.name:
        assert_ships(train_through(both, dense, task, context, trainer), task, tmp_path / "together")


@every_step
def test_training_after_a_step_works_or_is_refused(
    exam: Exam, dense: Model, task: RecommenderTask, context: Context, trainer: Trainer
) -> None:
    recipe = {"prune": {"method": {exam.name: exam.parameters}, "epochs": 1}}
    if not exam.step.trainable:
        with pytest.raises(RecipeError, match=f"prune.epochs: nothing can be trained after {exam.name}"):
            plan(recipe, base_defaults=task.base)
        return
    made = train_through(recipe, dense, task, context, trainer)
    at_once = run_stage(dense, stage_of(exam), task, context, trainer=trainer, key="")
    gone = removed_parts(made, dense)
    assert gone == removed_parts(at_once, dense)  # recovery brings nothing back
    assert not torch.equal(made.tables["item"].weight, at_once.tables["item"].weight)


@every_step
def test_one_seed_gives_one_result(
    exam: Exam, dense: Model, task: RecommenderTask, context: Context, trainer: Trainer
) -> None:
    made = [run_stage(dense, stage_of(exam, epochs=1), task, context, trainer=trainer, key="") for _ in range(2)]
    assert_same_state(task.parts(made[0]).tensors, task.parts(made[1]).tensors)
