"""The exam that every task takes. A new one needs a fixture and three lines here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from conftest import write_planted
from minimal_task import MINIMAL, MinimalTask
from tiny_encoder import TEXTS, make_task
from tiny_vectors import vectors_task, words_task

import autoprune
from autoprune.artifacts import artifact
from autoprune.config.settings import StudyConfig
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
from autoprune.study.verify import verify
from autoprune.tasks.task import Judging, Learning, Serving, Task, Training
from autoprune.testing import Examinee, TaskExam

if TYPE_CHECKING:
    from autoprune.encoder.task import EncoderTask


@pytest.fixture(scope="module")
def minimal() -> Iterator[Examinee]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, MINIMAL.kind, MINIMAL)
        task = MinimalTask()
        yield Examinee(task, MinimalTask, task.model({}, seed=0), lambda: MinimalTask(seed=1))


@pytest.fixture(scope="session")
def recommender(task: RecommenderTask, dense: Model, tmp_path_factory: pytest.TempPathFactory) -> Examinee:
    def other() -> RecommenderTask:
        folder = tmp_path_factory.mktemp("other")
        write_planted(folder, seed=1)
        return RecommenderTask("interactions", split_log(read_log(folder), where="other"), task.config)

    return Examinee(task, lambda: RecommenderTask("interactions", task.data, task.config), dense, other)


@pytest.fixture(scope="session")
def encoder(encoder_task: EncoderTask, tiny: Path) -> Examinee:
    model = encoder_task.model({}, seed=0)
    return Examinee(encoder_task, lambda: make_task(tiny), model, lambda: make_task(tiny, TEXTS[:119]))


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Examinee:
    one, other = (tmp_path_factory.mktemp(name) for name in ("vectors", "others"))
    task = vectors_task(one)
    return Examinee(task, lambda: vectors_task(one), task.model({}, seed=0), lambda: vectors_task(other, seed=1))


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Examinee:
    folder = tmp_path_factory.mktemp("words")
    task = words_task(folder)
    return Examinee(task, lambda: words_task(folder), task.model({}, seed=0), lambda: words_task(folder, judged=30))


class TestMinimal(TaskExam):
    @pytest.fixture(autouse=True)
    def _examined(self, minimal: Examinee) -> None:
        self.examinee = minimal


class TestRecommender(TaskExam):
    @pytest.fixture(autouse=True)
    def _examined(self, recommender: Examinee) -> None:
        self.examinee = recommender


class TestEncoder(TaskExam):
    @pytest.fixture(autouse=True)
    def _examined(self, encoder: Examinee) -> None:
        self.examinee = encoder


class TestVectors(TaskExam):
    @pytest.fixture(autouse=True)
    def _examined(self, vectors: Examinee) -> None:
        self.examinee = vectors


class TestWords(TaskExam):
    @pytest.fixture(autouse=True)
    def _examined(self, words: Examinee) -> None:
        self.examinee = words


@pytest.mark.parametrize("name", ["minimal", "recommender", "encoder", "vectors", "words"])
def test_what_people_are_told_to_ask_is_answered(name: str, request: pytest.FixtureRequest) -> None:
    examinee = request.getfixturevalue(name)
    for runtime in examinee.task.runtimes:
        served = examinee.served(runtime)
        assert eval(served.example, {"model": served}) is not None


def test_a_task_must_define_six_methods_at_most() -> None:
    needed = Task.__abstractmethods__
    assert len(needed) <= 6
    defined = {name for name in vars(MinimalTask) if name in dir(Task) and not name.startswith("_")}
    assert defined == needed, "and the minimal one defines no other"


def test_the_three_protocols_share_no_method() -> None:
    own = [{name for name in vars(one) if not name.startswith("_")} for one in (Learning, Judging, Serving)]
    assert sum(map(len, own)) == len(set().union(*own))
    assert set(vars(Task)) & set().union(*own) == {"validate"}, "which is learnt from by judging what is served"


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
