"""The exam that every task takes. A new one needs one entry in `EXAMINEES`, nothing else here."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_planted
from minimal_task import MINIMAL, MinimalTask
from tiny_encoder import TEXTS, make_task
from tiny_vectors import vectors_task, words_task

import autoprune
from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served, serve
from autoprune.families import FAMILIES
from autoprune.measure.judge import Judge
from autoprune.measure.measurement import WHOLE
from autoprune.models.model import Model
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.recommender.data.interactions import split_log
from autoprune.recommender.data.log import read_log
from autoprune.recommender.task import RecommenderTask
from autoprune.study.job import run_study
from autoprune.study.settings import StudyConfig
from autoprune.study.verify import verify
from autoprune.tasks.task import Judging, Learning, Serving, Task, Training

if TYPE_CHECKING:
    from autoprune.encoder.task import EncoderTask

SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Examinee:
    """A task under test.

    Attributes:
        again: makes the same task once more.
        other: the same on other data.
        model: of the task, in a state in which it is judged; whoever changes it works on a copy.
    """

    task: Task[Any, Any]
    again: Callable[[], Task[Any, Any]]
    other: Callable[[], Task[Any, Any]]
    model: Model

    def served(self, runtime: str = "") -> Served:
        return serve(self.task.parts(self.model, runtime))


@pytest.fixture(scope="session")
def minimal() -> Iterator[Examinee]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, MINIMAL.kind, MINIMAL)
        task = MinimalTask()
        yield Examinee(task, MinimalTask, lambda: MinimalTask(seed=1), task.model({}, seed=0))


@pytest.fixture(scope="session")
def recommender(task: RecommenderTask, dense: Model, tmp_path_factory: pytest.TempPathFactory) -> Examinee:
    def other() -> RecommenderTask:
        folder = tmp_path_factory.mktemp("other")
        write_planted(folder, seed=1)
        return RecommenderTask("interactions", split_log(read_log(folder), where="other"), task.config)

    return Examinee(task, lambda: RecommenderTask("interactions", task.data, task.config), other, dense)


@pytest.fixture(scope="session")
def encoder(encoder_task: EncoderTask, tiny: Path) -> Examinee:
    model = encoder_task.model({}, seed=0)
    return Examinee(encoder_task, lambda: make_task(tiny), lambda: make_task(tiny, TEXTS[:119]), model)


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Examinee:
    one, other = (tmp_path_factory.mktemp(name) for name in ("vectors", "others"))
    task = vectors_task(one)
    return Examinee(task, lambda: vectors_task(one), lambda: vectors_task(other, seed=1), task.model({}, seed=0))


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Examinee:
    folder = tmp_path_factory.mktemp("words")
    task = words_task(folder)
    return Examinee(task, lambda: words_task(folder), lambda: words_task(folder, judged=30), task.model({}, seed=0))


EXAMINEES = ("minimal", "recommender", "encoder", "vectors", "words")


@pytest.fixture(params=EXAMINEES)
def examinee(request: pytest.FixtureRequest) -> Examinee:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Examinee)
    return found


def test_a_task_must_define_six_methods_at_most() -> None:
    needed = Task.__abstractmethods__
    assert len(needed) <= 6
    defined = {name for name in vars(MinimalTask) if name in dir(Task) and not name.startswith("_")}
    assert defined == needed, "and the minimal one defines no other"


def test_the_three_protocols_share_no_method() -> None:
    own = [{name for name in vars(one) if not name.startswith("_")} for one in (Learning, Judging, Serving)]
    assert sum(map(len, own)) == len(set().union(*own))
    assert set(vars(Task)) & set().union(*own) == {"validate"}, "which is learnt from by judging what is served"


# --- what it learns from


def test_what_a_task_says_of_itself(examinee: Examinee) -> None:
    task = examinee.task
    assert task.name
    assert task.describe()
    assert "\n" not in task.describe()
    assert task.metric in task.metrics
    assert task.runtimes
    assert task.workload_names
    json.dumps([dict(task.base), task.metric, task.slices, task.perturbations])
    task.training.check()


def test_the_fingerprint_is_stable_and_changes_with_the_data(examinee: Examinee) -> None:
    known = examinee.task.fingerprint()
    assert known == examinee.task.fingerprint() == examinee.again().fingerprint()
    assert examinee.other().fingerprint() != known


def test_a_model_is_made_from_the_seed_alone(examinee: Examinee) -> None:
    task = examinee.task
    one = task.model({}, seed=3)
    torch.rand(3)
    for other in (task.model({}, seed=3), task.model(dict(task.base), seed=3)):
        assert one.state_dict().keys() == other.state_dict().keys()
        assert all(torch.equal(one.state_dict()[name], held) for name, held in other.state_dict().items())
        assert all(one.tables[name] is not table for name, table in other.tables.items())


def test_batches_are_drawn_from_torchs_generator_alone(examinee: Examinee) -> None:
    def drawn(seed: int) -> list[list[int]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            np.random.default_rng().random()
            random.random()
            return [torch.as_tensor(batch).tolist() for batch in examinee.task.batches()]

    assert drawn(0) == drawn(0) != drawn(1)
    assert len({len(drawn(seed)) for seed in range(3)}) == 1, "a budget in epochs is one in updates"


def test_the_loss_is_finite_and_has_a_slope(examinee: Examinee) -> None:
    task, model = examinee.task, copy.deepcopy(examinee.model).train()
    with torch.no_grad():
        for table in model.tables.values():
            table.weight.add_(0.01 * torch.randn(table.weight.shape, generator=torch.Generator().manual_seed(0)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loss = task.loss(model, task.batches()[0])
    assert loss.shape == ()
    assert loss.isfinite()
    loss.backward()
    slopes = [table.weight.grad for table in model.tables.values()]
    assert all(slope is not None and slope.isfinite().all() for slope in slopes)
    assert any(bool(slope.any()) for slope in slopes if slope is not None)


def test_starting_weights_and_settling_are_deterministic(examinee: Examinee) -> None:
    made = []
    for _ in range(2):
        model = examinee.task.model({}, seed=0)
        examinee.task.initialize(model, seed=0)
        examinee.task.settle(model)
        made.append(model.state_dict())
    assert all(torch.equal(made[0][name], held) for name, held in made[1].items())
    assert all(held.isfinite().all() for held in made[0].values())


def test_settling_what_is_settled_changes_no_quality(examinee: Examinee) -> None:
    model = copy.deepcopy(examinee.model)
    examinee.task.settle(model)
    assert examinee.task.validate(model) == pytest.approx(examinee.task.validate(examinee.model), rel=1e-6)


def test_the_context_speaks_of_the_models_axes(examinee: Examinee) -> None:
    model = examinee.model
    context = examinee.task.context(seed=5, device=torch.device("cpu"))
    assert context.seed == 5
    for name, counts in context.frequency.items():
        assert len(counts) == model.tables[model.axes[name].pairs[0][0]].original_rows
    if context.calibration:
        inputs = context.calibration[:3]
        assert model.calibrate(inputs).shape[0] == len(inputs)
    else:
        with pytest.raises(NotImplementedError, match="takes no inputs"):
            model.calibrate([1])


def test_original_numbers_of_an_axis_outlive_a_cut(examinee: Examinee) -> None:
    model = copy.deepcopy(examinee.model)
    for axis in [axis for axis in model.axes.values() if axis.kind != "dim"]:
        assert model.numbers(axis) == list(range(model.size(axis)))
        keep = torch.arange(1, model.size(axis))
        model.cut(axis, keep)
        assert model.numbers(axis) == keep.tolist()
        if axis.kind == "layers":
            return  # others went with their layer


def test_what_is_validated_is_the_metric_of_what_is_served(examinee: Examinee) -> None:
    task = examinee.task
    found = task.validate(examinee.model)
    assert np.isfinite(found)
    values = [task.metrics[task.metric](task.score(examinee.served(one), "validation")) for one in task.runtimes]
    assert found in [pytest.approx(value, rel=1e-5) for value in values]


# --- how it is judged


@pytest.mark.parametrize("split", SPLITS)
def test_rows_have_the_columns_that_are_declared(examinee: Examinee, split: str) -> None:
    task, served = examinee.task, examinee.served()
    whole = task.score(served, split)
    assert len(whole)
    asked = [*task.perturbations, *(task.asides if split == "test" else ())]
    for rows in (whole, *(task.score(served, split, name) for name in asked)):
        assert isinstance(rows, pd.DataFrame)
        assert {task.unit, *task.slices} <= set(rows.columns)
        assert list(rows.columns) == list(whole.columns)
        assert rows.index.is_unique
    for column, names in task.slices.items():
        assert set(whole[column].unique()) <= set(names)
    names = [WHOLE, *task.perturbations, *task.asides, *(name for found in task.slices.values() for name in found)]
    assert len(names) == len(set(names)), "a reading is named by its slice"


@pytest.mark.parametrize("split", SPLITS)
def test_metrics_are_finite_and_rest_on_units(examinee: Examinee, split: str) -> None:
    task = examinee.task
    rows = task.score(examinee.served(), split)
    for metric in task.metrics.values():
        assert np.isfinite(metric(rows))
        assert 0 < metric.units(rows) <= rows[task.unit].nunique()
        assert np.isfinite(metric.influence(rows)).all()
        assert abs(metric.influence(rows).sum()) < 1e-6


def test_scoring_draws_nothing(examinee: Examinee) -> None:
    task, before = examinee.task, torch.random.get_rng_state()
    found = [task.score(examinee.served(), "validation") for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    pd.testing.assert_frame_equal(*found)


def test_splits_are_not_the_same(examinee: Examinee) -> None:
    served, task = examinee.served(), examinee.task
    one, other = (task.score(served, split) for split in SPLITS)
    assert not one.equals(other)


def test_a_baseline_judged_against_itself_is_even(examinee: Examinee) -> None:
    task, served = examinee.task, examinee.served()
    judge = Judge(task, "validation", served)
    found = judge.judge(judge.rows(served))
    np.testing.assert_equal(found.quality, judge.baseline.quality)  # which takes one nan for another
    assert set(found.quality) == set(task.metrics)
    slices = [WHOLE, *(name for names in task.slices.values() for name in names), *task.perturbations]
    assert all(list(by_slice) == slices for by_slice in found.quality.values())
    assert not any(found.errors.values())


# --- how it is served


def test_workloads_are_those_declared_and_can_be_asked_again(examinee: Examinee) -> None:
    for runtime in examinee.task.runtimes:
        found = examinee.task.workloads(examinee.served(runtime))
        assert tuple(found) == examinee.task.workload_names
        for request in found.values():
            assert all(request() is not None for _ in range(2))


def test_what_is_saved_and_loaded_answers_the_same(examinee: Examinee, tmp_path: Path) -> None:
    task = examinee.task
    for runtime in task.runtimes:
        parts = task.parts(examinee.model, runtime)
        assert parts.manifest["kind"] in FAMILIES
        assert json.loads(json.dumps(parts.manifest)) == parts.manifest
        artifact.save(parts, tmp_path / runtime, provenance={})
        loaded = autoprune.load(tmp_path / runtime)
        assert loaded.memory_bytes > 0
        eval(loaded.example, {"model": loaded})  # what people are told to ask
        for split in SPLITS:
            pd.testing.assert_frame_equal(task.score(loaded, split), task.score(serve(parts), split))


def test_what_lies_beside_is_the_same_for_every_model(examinee: Examinee) -> None:
    one, other = examinee.task.parts(examinee.model).beside, examinee.task.beside()
    assert one.values == other.values
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(one.tensors[name], held) for name, held in other.tensors.items())


# --- the minimal one, all the way


def test_a_minimal_task_goes_all_the_way(minimal: Examinee, tmp_path: Path) -> None:
    task = minimal.task
    trainer = Trainer(Training(epochs=40, learning_rate=0.02, warmup=1, evaluate_every=8))
    context = task.context(seed=0, device=torch.device("cpu"))
    recipes: list[dict[str, Any]] = [
        {},
        {"quantize": {"bits": 4}},
        {"prune": {"dims": {"sparsity": 0.25}}, "tune": {"epochs": 4}},
        {"prune": {"method": {"magnitude": {"sparsity": 0.3}}, "schedule": "cubic", "epochs": 4}},
    ]
    folders = []
    for number, recipe in enumerate(recipes):
        model = run(plan(recipe, base_defaults=task.base), task, context, trainer=trainer)
        folders.append(tmp_path / str(number))
        artifact.save(task.parts(model), folders[-1], provenance={"recipe": recipe})
    dense, *others = (autoprune.load(folder) for folder in folders)
    judge = Judge(task, "test", dense)
    assert judge.baseline.quality["closeness"][WHOLE] > 1.05 * task.metrics["closeness"](
        task.score(minimal.served(), "test")
    )
    for folder, served in zip(folders[1:], others, strict=True):
        found = judge.judge(judge.rows(served))
        assert 0.8 < found.quality["closeness"][WHOLE] / judge.baseline.quality["closeness"][WHOLE] < 1.1
        assert found.errors["closeness"] > 0
        assert artifact.size_bytes(folder) < artifact.size_bytes(folders[0])


def test_a_minimal_task_is_searched_verified_and_picked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family of one's own is a folder and a row: everything else is there."""
    monkeypatch.setitem(FAMILIES, MINIMAL.kind, MINIMAL)
    told = {
        "task": {"name": "products"},
        "space": {
            "dims": {"sparsity": {"float": [0.0, 0.5], "step": 0.25}, "importance": {"any_of": ["pca", "norm"]}},
            "quantize": {"bits": {"any_of": [32, 8, 4]}},
        },
        "presets": {"int8": {"quantize": {"bits": 8}}},
        "requirements": {"quality": {"drop": "50%"}, "prefer": "size"},
        "study": {**vars(StudyConfig()), "name": "own", "dir": str(tmp_path), "trials": 0, "latency_seconds": 0.01},
    }
    record = run_study(told, [])
    assert [point.candidate.name for point in record.points] == [
        "baseline",
        "int8",
        *["trial"] * (len(record.points) - 2),
    ]
    assert len(record.points) > 3
    front = verify(tmp_path / "own", rounds=1)
    assert front.verified
    picked = front.pick()
    assert picked.found["size_bytes"].ratio < 0.5
    picked.save(tmp_path / "deploy")
    rows = MinimalTask().score(autoprune.load(tmp_path / "deploy"), "test")
    assert MinimalTask().metrics["closeness"](rows) == picked.verified["quality"].value
