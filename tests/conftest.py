"""Tiny real objects: a recommender with planted tastes, small enough to train in a second."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest
import torch
from exams import Family, encoder_family, module_family, recommender_family
from tiny_encoder import make_task, write_tiny_bert

from autoprune.families import task_maker
from autoprune.measure import timing
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.module.config import ModuleConfig
from autoprune.module.task import AdoptedTask
from autoprune.recipes import space
from autoprune.recipes.recipe import plan
from autoprune.recipes.stages import run
from autoprune.recipes.train import Trainer
from autoprune.recommender.config import RecommenderConfig
from autoprune.recommender.data.interactions import Interactions, split_log
from autoprune.recommender.data.log import read_log
from autoprune.recommender.task import RecommenderTask
from autoprune.tasks.task import Training

if TYPE_CHECKING:
    from autoprune.encoder.task import EncoderTask

# What a shell starts in the background does not hear Ctrl-C, nor does what it starts: some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What passes here passes everywhere, on a busy machine too.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

torch.set_num_threads(1)  # tiny tensors: a second thread costs more than it brings, …
os.environ["OMP_NUM_THREADS"] = "1"  # … in the processes that tests start as well

LONGEST = ["conformance", "study", "fuzz", "faults", "verify", "cli", "movielens", "driver", "report", "encoder_task"]
LONGEST += ["cluster", "local", "docs", "package", "stock"]
"""Files of tests by the time that they take."""

USERS, ITEMS, TASTES = 240, 120, 6


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that processes that share the work end together."""
    place = {f"test_{name}": at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


def write_planted(folder: Path, *, seed: int = 0) -> None:
    """Writes train.txt, valid.txt and test.txt: every user likes the items of one taste, popular ones more."""
    draw = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, ITEMS + 1) ** 0.5
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "train.txt").open("w") as train,
        (folder / "valid.txt").open("w") as valid,
        (folder / "test.txt").open("w") as test,
    ):
        for user in range(USERS):
            liking = popularity * np.where(np.arange(ITEMS) % TASTES == user % TASTES, 12.0, 1.0)
            count = int(draw.integers(12, 24))
            items = draw.choice(ITEMS, size=count, replace=False, p=liking / liking.sum())
            # ids that are not positions: 10 apart, starting at 100
            names = [str(100 + 10 * item) for item in items]
            print(user * 3, *names[:-4], file=train)
            print(user * 3, *names[-4:-2], file=valid)
            print(user * 3, *names[-2:], file=test)


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No cache and no lock is shared: with whoever runs the tests, or with tests that run beside these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("temporary")))
        patch.setattr(tempfile, "tempdir", None)  # to be read again
        patch.setattr(os, "fsync", lambda file: None)  # no test outlives the machine
        yield


@pytest.fixture(scope="session", autouse=True)
def _short_studies() -> Iterator[None]:
    """A study times 3 pairs of each request, once, and builds some corners of a space: most of what a tiny one costs.

    Every end of an open value is still among the corners; test_space.py and test_config.py have the real numbers.
    """
    with pytest.MonkeyPatch.context() as patch:
        for timed in (timing.paired_latency, timing.own_latency):
            patch.setitem(timed.__kwdefaults__, "fewest", 3)
            patch.setitem(timed.__kwdefaults__, "tries", 1)
        patch.setattr(space, "MOST_CORNERS", 50)
        patch.setattr(space, "DRAWN_CORNERS", 10)
        yield


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of LightGCN-style files."""
    folder = tmp_path_factory.mktemp("planted")
    write_planted(folder)
    return folder


@pytest.fixture(scope="session")
def data(planted: Path) -> Interactions:
    return split_log(read_log(planted), where="planted")


@pytest.fixture(scope="session")
def task(data: Interactions) -> RecommenderTask:
    """The recommender task on planted data, dense width 16."""
    training = Training(epochs=60, evaluate_every=20, learning_rate=0.01, warmup=5)
    config = RecommenderConfig(dim=16, users_per_update=64, noise=1.0, temperature=0.5, training=training)
    return RecommenderTask("interactions", data, config)


@pytest.fixture(scope="session")
def context(task: RecommenderTask) -> Context:
    return task.context(seed=0, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def trainer(task: RecommenderTask) -> Trainer:
    return Trainer(task.training)


@pytest.fixture(scope="session")
def dense(task: RecommenderTask, context: Context, trainer: Trainer) -> Model:
    """The trained dense model; whoever changes it works on a copy."""
    return run(plan({}, base_defaults=task.base), task, context, trainer=trainer)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny BERT, as sentence-transformers keeps one."""
    pytest.importorskip("transformers")
    return write_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def encoder_task(tiny: Path) -> EncoderTask:
    """The sentence-encoder task: the tiny BERT, texts, and pairs whose score is how many words they share."""
    for package in ("onnx", "onnxruntime", "sklearn"):
        pytest.importorskip(package)
    return make_task(tiny)


@pytest.fixture(scope="session")
def recommenders(task: RecommenderTask, context: Context, trainer: Trainer, dense: Model) -> Family:
    return recommender_family(task, context, trainer, dense)


@pytest.fixture(scope="session")
def encoders(encoder_task: EncoderTask) -> Family:
    return encoder_family(encoder_task)


@pytest.fixture(scope="session")
def modules() -> Family:
    task = task_maker("module").make(ModuleConfig(file=str(Path(__file__).parent / "tiny_module.py")))
    assert isinstance(task, AdoptedTask)
    return module_family(task)
