"""The exam that every step takes. A new step needs one line for each family of models in `exams`, nothing else here."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exams import (
    EXAMS,
    REFUSED,
    Exam,
    Family,
    assert_same_state,
    reason_against,
    removed_parts,
    sizes_of,
    stage_of,
    state_of,
    widths_of,
)

from autoprune.artifacts.served import serve
from autoprune.errors import RecipeError
from autoprune.recipes import fit
from autoprune.recipes.recipe import plan
from autoprune.recipes.store import Store
from autoprune.recipes.train import Trainer
from autoprune.steps import CANNOT_FOLLOW, STEPS

# Pairs are many, and rules about them know no more than some aspects: one exam for each set of those.
RULED = {*STEPS, *(aspect for pair in CANNOT_FOLLOW for aspect in pair)}
# A step that changes no weight goes with all.
CHANGING = [exam for exam in EXAMS if exam.removes or exam.bits != {32}]
ONE_OF_A_KIND = list({(exam.family, exam.step.aspects() & RULED): exam for exam in reversed(CHANGING)}.values())[::-1]
PAIRS = [(one, other) for one in ONE_OF_A_KIND for other in ONE_OF_A_KIND if one.family == other.family]


def in_time(entry: Any, exam: Exam, *, whole: bool) -> Any:
    """An entry of a parametrisation, slow where the fast suite can do without."""
    encoders = exam.family == "encoders" and (whole or exam not in ONE_OF_A_KIND)
    marks = [pytest.mark.slow] if encoders or exam.family == "modules" else []
    return pytest.param(*entry, marks=marks, id="-".join(map(str, entry)))


every_step = pytest.mark.parametrize("exam", [in_time((exam,), exam, whole=False) for exam in EXAMS])
every_step_encoders_slowly = pytest.mark.parametrize("exam", [in_time((exam,), exam, whole=True) for exam in EXAMS])
at_once_and_gradually = pytest.mark.parametrize("epochs", [0, 2])


@pytest.fixture
def family(exam: Exam, request: pytest.FixtureRequest) -> Family:
    """The models that the exam is about."""
    found = request.getfixturevalue(exam.family)
    assert isinstance(found, Family)
    return found


def test_every_step_takes_the_exam() -> None:
    assert {exam.name for exam in EXAMS} == set(STEPS)


@every_step
@at_once_and_gradually
def test_the_input_is_untouched(exam: Exam, epochs: int, family: Family) -> None:
    dense = family.dense
    before, training, axes = state_of(dense), dense.training, dict(dense.axes)
    family.make(exam, epochs=epochs)
    assert_same_state(dense.state_dict(), before)
    assert all(table.coded is None for table in dense.tables.values())
    assert dense.axes == axes
    assert dense.training == training


@every_step
@at_once_and_gradually
def test_what_is_asked_is_reached_exactly(exam: Exam, epochs: int, family: Family) -> None:
    made = family.made(exam, epochs=epochs)
    gone, sizes = removed_parts(made, family.dense), sizes_of(family.dense)
    for name in exam.removes:
        assert gone[name] in exam.removed(name, sizes[name], epochs=epochs)
    kinds = {name.partition(".")[0] for name in exam.removes}
    allowed = kinds & set(exam.removes) | set(exam.removes)
    assert [name for name in made.axes if gone[name] and not {name, name.partition(".")[0]} & allowed] == []
    if exam.bits == {32} and "weights" not in kinds:
        assert gone["weights"] == 0
    assert widths_of(made) == exam.bits
    for table in made.tables.values():
        assert table.rows == len(table.index) == len(table.row_mask)
        assert bool(table.row_mask.all() and table.dim_mask.all())


@every_step
@at_once_and_gradually
def test_the_served_answers_are_those_of_the_masked_model(
    exam: Exam, epochs: int, family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, kind = family.made(exam, epochs=epochs), type(family.dense)
    with monkeypatch.context() as patch:
        patch.setattr(kind, "cut", kind.hide)
        masked = family.run(stage_of(exam, epochs=epochs))
    expected = family.expected(masked)
    for runtime in family.task.runtimes:
        found = family.answers(family.served(made, tmp_path / runtime, runtime))
        assert (np.isneginf(found) == np.isneginf(expected)).all()
        stands = ~np.isneginf(expected)
        tolerance = family.tolerance(made, runtime) * np.abs(expected[stands]).max()
        np.testing.assert_allclose(found[stands], expected[stands], rtol=0, atol=tolerance)


@every_step
def test_saving_and_loading_change_no_answer(exam: Exam, family: Family, tmp_path: Path) -> None:
    made = family.made(exam)
    for runtime in family.task.runtimes:
        loaded, kept = family.served(made, tmp_path / runtime, runtime), serve(family.task.parts(made, runtime))
        np.testing.assert_array_equal(family.answers(loaded), family.answers(kept))


@every_step
def test_what_a_step_remembers_is_in_the_state_dict(exam: Exam, family: Family, tmp_path: Path) -> None:
    """A checkpoint is taken before `convert`: the state alone must give the same artifact."""
    step, halfway, restored = exam.step, copy.deepcopy(family.dense), copy.deepcopy(family.dense)
    step.prepare(halfway, family.context)
    step.advance(halfway, family.context, 1.0)
    torch.save(halfway.state_dict(), tmp_path / "state.pt")
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert_same_state(restored.state_dict(), halfway.state_dict())
    for model in (halfway, restored):
        step.convert(model, family.context)
    for runtime in family.task.runtimes:
        left, right = family.task.parts(halfway, runtime), family.task.parts(restored, runtime)
        assert left.manifest == right.manifest
        assert left.files == right.files
        assert_same_state(left.tensors, right.tensors)


class Killed(Exception):
    """Stands for the end of the process."""


@every_step_encoders_slowly
def test_an_interrupted_stage_resumes_bit_identically(
    exam: Exam, family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(fit, "TELL_EVERY_S", math.inf)  # on a slow machine too an epoch is told once
    task, stage, store = family.task, stage_of(exam, epochs=4), Store(tmp_path)
    told: list[str] = []

    def die(words: str) -> None:
        if "epoch 3 of 4" in words:  # said before its checkpoint: two epochs are safe
            raise Killed

    undisturbed = family.run(stage, trainer=Trainer(task.training), key="k")
    with pytest.raises(Killed):
        family.run(stage, trainer=Trainer(task.training, report=die), key="k", store=store)
    (kept,) = tmp_path.glob("*.pt")
    checkpoint = store.load(kept.stem)
    assert checkpoint is not None
    assert checkpoint["epochs"] == 2
    resumed = family.run(stage, trainer=Trainer(task.training, report=told.append), key="k", store=store)
    assert [words.split(",")[0] for words in told] == ["fine-tuning: epoch 3 of 4", "fine-tuning: epoch 4 of 4"]
    assert_same_state(resumed.state_dict(), undisturbed.state_dict())
    assert_same_state(task.parts(resumed).tensors, task.parts(undisturbed).tensors)


@pytest.mark.slow
@pytest.mark.parametrize(("exam", "second"), [in_time(pair, pair[0], whole=True) for pair in PAIRS])
def test_two_steps_compose_or_are_refused_with_the_reason(
    exam: Exam, second: Exam, family: Family, tmp_path: Path
) -> None:
    first, task = exam, family.task

    def stages(epochs: int) -> dict[str, Any]:
        gradual = {"schedule": "cubic", "epochs": epochs}
        return {
            "one": {"method": {first.name: first.parameters}, "schedule": "cubic", "epochs": 1},
            "two": {"method": {second.name: second.parameters}, **gradual},
        }

    def assert_ships(recipe: dict[str, Any], name: str) -> None:
        made = family.train_through(recipe)
        for runtime in task.runtimes:
            family.assert_whole(family.served(made, tmp_path / name / runtime, runtime), made)
        gone, sizes = removed_parts(made, family.dense), sizes_of(family.dense)
        for taken in (first, second):
            for part in set(taken.removes) & set(made.axes):
                assert gone[part] >= round((taken.removes[part] or 0) * sizes[part])

    both = {"together": {"schedule": "cubic", "epochs": 1}}
    both["together"]["method"] = {first.name: first.parameters, second.name: second.parameters}
    reason = reason_against(first, second)
    if reason is not None:
        with pytest.raises(RecipeError) as caught:
            plan(stages(0), base_defaults=task.base)
        assert reason in str(caught.value)
        assert caught.value.path[-2:] == ("method", second.name)
        return
    assert_ships(stages(1 if first.step.trainable else 0), "following")
    # In one stage they act by their rank, whatever the order of the recipe: once for both orders of a pair.
    if first.name != second.name and first.step.rank <= second.step.rank:
        assert_ships(both, "together")


@every_step
def test_training_after_a_step_works_or_is_refused(exam: Exam, family: Family) -> None:
    method = {"method": {exam.name: exam.parameters}, "epochs": 2}
    before = family.train_through({"prune": method})
    assert_trained(before, family.dense)
    recipe = {"prune": method, "tune": {"epochs": 1}}
    if not exam.step.trainable:
        with pytest.raises(RecipeError, match=f"^tune.epochs: nothing can be trained after {exam.name}"):
            plan(recipe, base_defaults=family.task.base)
        return
    made = family.train_through(recipe)
    assert removed_parts(made, family.dense) == removed_parts(before, family.dense)  # recovery brings nothing back
    assert any(removed_parts(made, family.dense).values()) == (exam in CHANGING)
    assert_trained(made, before)


def assert_trained(model: Any, before: Any) -> None:
    """Every table has moved."""
    for name, table in model.tables.items():
        held = before.tables.get(name)
        assert held is None or not torch.equal(table.values(), held.values())


@every_step
def test_a_stage_without_training_does_no_harm_or_all_of_it(exam: Exam, family: Family) -> None:
    """What acts on updates alone is left out by a plan, and is harmless in a stage made by hand."""
    made, dense = family.made(exam), family.dense
    planned = plan({"prune": {exam.name: exam.parameters}}, base_defaults=family.task.base)
    assert (planned.stages == ()) == exam.step.only_trains
    same = (made.tables.keys(), made.stored_bits) == (dense.tables.keys(), dense.stored_bits) and all(
        torch.equal(table.values(), dense.tables[name].values()) for name, table in made.tables.items()
    )
    assert same == exam.step.only_trains


@every_step
def test_one_seed_gives_one_result(exam: Exam, family: Family) -> None:
    made = [family.made(exam, epochs=2), family.make(exam, epochs=2)]
    for runtime in family.task.runtimes:
        left, right = (family.task.parts(model, runtime) for model in made)
        assert left.files == right.files
        assert_same_state(left.tensors, right.tensors)


@pytest.mark.parametrize(("exam", "words"), REFUSED, ids=str)
def test_what_a_model_cannot_have_is_refused_with_the_reason(exam: Exam, words: str, family: Family) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        family.run(stage_of(exam, epochs=1))
    assert caught.value.path[0] == "under_test"
