"""The training loop: it learns, stops, repeats itself under one seed, and survives a kill."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import re
from pathlib import Path

import pytest
import torch

from autoprune.deadline import NEVER, Deadline, OutOfTime
from autoprune.errors import AutopruneError, Diverged
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes import fit, pace
from autoprune.recipes.fit import CutShort
from autoprune.recipes.recipe import plan
from autoprune.recipes.schedule import one_shot
from autoprune.recipes.stages import run
from autoprune.recipes.store import Checkpoints, Store
from autoprune.recipes.train import Trainer
from autoprune.recommender.config import RecommenderConfig
from autoprune.recommender.data.interactions import Interactions
from autoprune.recommender.task import RecommenderTask
from autoprune.steps.rows import Rows
from autoprune.tasks.task import Training


@pytest.fixture(scope="module")
def task(data: Interactions) -> RecommenderTask:
    """A task whose loss is soft enough to improve on the start with so little data; 4 updates an epoch."""
    training = Training(epochs=20, evaluate_every=20, learning_rate=0.01, warmup=5)
    config = RecommenderConfig(dim=16, users_per_update=64, noise=1.0, temperature=0.5, training=training)
    return RecommenderTask("interactions", data, config)


@pytest.fixture(scope="module")
def context(task: RecommenderTask) -> Context:
    return task.context(seed=0, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def trainer(task: RecommenderTask) -> Trainer:
    return Trainer(task.training)


@pytest.fixture(scope="module")
def dense(task: RecommenderTask, context: Context, trainer: Trainer) -> Model:
    return run(plan({}, base_defaults=task.base), task, context, trainer=trainer)


def train_dense(
    task: RecommenderTask, context: Context, *, trainer: Trainer, store: Store | None = None, key: str = "k"
) -> Model:
    model = task.model({}, seed=context.seed)
    return trainer.train_dense(model, task, context, checkpoints=Checkpoints(store, [key]))


def same(left: Model, right: Model) -> bool:
    states = left.state_dict(), right.state_dict()
    return all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def started(task: RecommenderTask) -> Model:
    model = task.model({}, seed=0)
    task.initialize(model, seed=0)
    return model.eval()


def test_the_dense_model_beats_its_start(task: RecommenderTask, dense: Model) -> None:
    untrained = task.model({}, seed=0).eval()
    assert task.validate(untrained) < task.validate(started(task)) < task.validate(dense)


def test_training_stops_early_and_keeps_the_best(task: RecommenderTask, context: Context) -> None:
    told: list[str] = []
    settings = dataclasses.replace(task.training, epochs=400, patience=1)
    made = train_dense(task, context, trainer=Trainer(settings, report=told.append))
    validations = [(int(words.split()[5]), float(words.split()[-1])) for words in told]
    epochs, qualities = zip(*validations, strict=True)
    assert epochs == tuple(range(0, epochs[-1] + 1, 5))  # 20 updates between validations, 4 an epoch
    assert epochs[-1] < 400
    best = qualities[-1]
    assert qualities.index(best) <= len(validations) - 1 - settings.patience  # what is told is rounded
    assert task.validate(made) == pytest.approx(best, abs=5e-5)


def test_training_ends_with_its_budget(task: RecommenderTask, context: Context) -> None:
    told: list[str] = []
    trainer = Trainer(dataclasses.replace(task.training, epochs=10), report=told.append)
    train_dense(task, context, trainer=trainer)
    assert [words.split()[5] for words in told] == ["0", "5", "10"]


def test_one_seed_repeats_itself_and_another_differs(
    task: RecommenderTask, context: Context, trainer: Trainer, dense: Model
) -> None:
    torch.manual_seed(12345)  # whatever the caller's generator says
    again = run(plan({}, base_defaults=task.base), task, context, trainer=trainer)
    other = run(plan({}, base_defaults=task.base), task, dataclasses.replace(context, seed=1), trainer=trainer)
    assert same(again, dense)
    assert not same(other, dense)


def test_training_leaves_the_callers_generator_alone(task: RecommenderTask, context: Context) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train_dense(task, context, trainer=Trainer(dataclasses.replace(task.training, epochs=2)))
    assert torch.equal(torch.rand(3), expected)


UPDATES = 4
"""Of an epoch."""


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("at", [5, 15])
def test_a_killed_dense_training_resumes_bit_identically(
    at: int, task: RecommenderTask, context: Context, dense: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "SAVE_EVERY_S", -1.0)
    store = Store(tmp_path)
    told: list[str] = []

    def die(words: str) -> None:
        if f"epoch {at} of" in words:
            raise Killed

    with pytest.raises(Killed):
        train_dense(task, context, trainer=Trainer(task.training, report=die), store=store)
    checkpoint = store.load("k")
    assert checkpoint is not None
    assert (checkpoint["epochs"], checkpoint["finished"]) == (at, False)
    resumed = train_dense(task, context, trainer=Trainer(task.training, report=told.append), store=store)
    assert f"epoch {at} of" in told[0]
    assert same(resumed, dense)


def test_a_finished_training_is_loaded_not_repeated(
    task: RecommenderTask, context: Context, trainer: Trainer, dense: Model, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    told: list[str] = []
    train_dense(task, context, trainer=trainer, store=store)
    again = train_dense(task, context, trainer=Trainer(task.training, report=told.append), store=store)
    assert told == []
    assert same(again, dense)
    checkpoint = store.load("k")
    assert checkpoint is not None
    assert "optimizer" not in checkpoint  # nobody goes on from here


def test_a_short_run_is_the_beginning_of_a_long_one(task: RecommenderTask, context: Context, tmp_path: Path) -> None:
    """The learning rate does not know the budget, so a checkpoint of 2 epochs is that of a run of 2."""
    store, settings = Store(tmp_path), dataclasses.replace(task.training, epochs=0)

    def tune(key: str, epochs: int, context: Context) -> None:
        kept, trainer = Checkpoints(store, [key]), Trainer(settings)
        trainer.tune(
            started(task), task, context, steps=(), schedule=one_shot, epochs=epochs, of=None, checkpoints=kept
        )

    with pytest.raises(OutOfTime):
        tune("long", 4, dataclasses.replace(context, deadline=Checks(2 * UPDATES)))
    tune("short", 2, context)
    halfway, finished = store.load("long"), store.load("short")
    assert halfway is not None
    assert finished is not None
    assert (halfway["epochs"], halfway["updates"], finished["epochs"]) == (2, 0, 2)
    assert all(torch.equal(tensor, finished["model"][name]) for name, tensor in halfway["model"].items())


class Checks(Deadline):
    """Is over after it was checked so many times: once after each update."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.__dict__["count"] = count

    @property
    def left(self) -> float:
        self.__dict__["count"] -= 1
        return float(self.__dict__["count"])


@pytest.mark.parametrize("checks", [1, 3, 6])
def test_a_training_that_is_stopped_anywhere_goes_on_bit_identically(
    checks: int, task: RecommenderTask, context: Context, tmp_path: Path
) -> None:
    trainer = Trainer(dataclasses.replace(task.training, epochs=6, evaluate_every=8))
    store, reached = Store(tmp_path), [0]
    while "made" not in locals():
        try:
            stopping = dataclasses.replace(context, deadline=Checks(checks))
            made = train_dense(task, stopping, trainer=trainer, store=store)
        except OutOfTime:
            checkpoint = store.load("k") or {}
            reached.append(checkpoint["epochs"] * UPDATES + checkpoint["updates"])
            assert reached[-1] > reached[-2], "each run goes on from where the one before it was"
    assert len(reached) >= 4
    assert same(made, train_dense(task, context, trainer=trainer))


def test_a_validation_is_stopped_and_goes_on(
    task: RecommenderTask, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, store, paused = Trainer(dataclasses.replace(task.training, epochs=6)), Store(tmp_path), [0]

    def pause() -> None:
        paused[0] += 1
        if paused[0] == 2:  # in the second validation, after five epochs
            raise OutOfTime("measuring")

    with monkeypatch.context() as patch:
        patch.setattr(task, "pause", pause)
        with pytest.raises(OutOfTime, match="training the dense model: epoch 5 of at most 6"):
            train_dense(task, context, trainer=trainer, store=store)
    assert (store.load("k") or {})["epochs"] == 5
    again = train_dense(task, context, trainer=trainer, store=store)
    assert same(again, train_dense(task, context, trainer=trainer))


def test_a_message_says_how_far_a_training_is_and_how_good(
    task: RecommenderTask, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "TELL_EVERY_S", -1.0)
    monkeypatch.setattr(pace, "MEASURABLE_S", 0.0)
    told: list[str] = []
    train_dense(task, context, trainer=Trainer(task.training, report=told.append))
    within = (
        r"training the dense model: epoch \d+ of at most 20, [123] of 4 updates, about .* left, loss [\d.]+, best .*"
    )
    assert sum(re.fullmatch(within, words) is not None for words in told) == 3 * 20  # and one an epoch
    assert told[-1].startswith("training the dense model: epoch 20 of at most 20")


LATE = Deadline.after(-1)
"""It has passed."""


def test_a_training_that_took_long_and_became_slow_is_cut_short_and_made_again_bit_identically(
    task: RecommenderTask, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "LITTLE", 1.0)  # so soon as it takes less than twice the quality of the start
    settings, store = dataclasses.replace(task.training, evaluate_every=8, patience=1), Store(tmp_path)
    with pytest.raises(CutShort) as cut_short:
        train_dense(task, dataclasses.replace(context, training_until=LATE), trainer=Trainer(settings), store=store)
    checkpoint = store.load("k")
    assert checkpoint is not None
    assert cut_short.value.epochs == checkpoint["epochs"] == 2
    assert not checkpoint["finished"]
    assert 0 < cut_short.value.gain < 1
    assert cut_short.value.quality == checkpoint["best"]["quality"]

    shorter = Trainer(dataclasses.replace(settings, epochs=cut_short.value.epochs))
    store.save("shorter", checkpoint)
    made = train_dense(task, context, trainer=shorter, store=store, key="shorter")
    assert same(made, train_dense(task, context, trainer=shorter))
    longer = train_dense(task, context, trainer=Trainer(settings), store=store)
    assert same(longer, train_dense(task, context, trainer=Trainer(settings))), "others go on, and train it whole"
    assert not same(longer, made)


@pytest.mark.parametrize(("little", "until"), [(0.0, LATE), (1.0, NEVER)])
def test_a_training_is_not_cut_short_while_it_improves_or_has_time(
    little: float, until: Deadline, task: RecommenderTask, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "LITTLE", little)
    trainer = Trainer(dataclasses.replace(task.training, evaluate_every=8, patience=1))
    made = train_dense(task, dataclasses.replace(context, training_until=until), trainer=trainer)
    assert same(made, train_dense(task, context, trainer=trainer))


def test_what_one_validation_brought_counts_after_a_restart_too(
    task: RecommenderTask, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "LITTLE", 1e9)
    late = dataclasses.replace(context, training_until=LATE)
    trainer, store = Trainer(dataclasses.replace(task.training, evaluate_every=8, patience=2)), Store(tmp_path)
    with pytest.raises(CutShort) as at_once:
        train_dense(task, late, trainer=trainer)
    for checks in (2, 4, 6):
        with pytest.raises(OutOfTime):
            train_dense(task, dataclasses.replace(late, deadline=Checks(checks)), trainer=trainer, store=store)
    with pytest.raises(CutShort) as with_stops:
        train_dense(task, late, trainer=trainer, store=store)
    for value in ("epochs", "gain", "quality"):
        assert getattr(with_stops.value, value) == getattr(at_once.value, value)


@pytest.mark.parametrize("seconds", [0.01, 1e6])
def test_a_dense_model_that_takes_too_long_is_noted_early_and_once(
    seconds: float, task: RecommenderTask, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "TELL_EVERY_S", -1.0)
    monkeypatch.setattr(pace, "MEASURABLE_S", 0.0)
    monkeypatch.setattr(fit.time, "monotonic", itertools.count().__next__)  # an update takes a second, and more
    noted: list[str] = []

    class Left(Deadline):
        @property
        def left(self) -> float:
            return seconds

    context = dataclasses.replace(context, deadline=Left())
    train_dense(task, context, trainer=Trainer(dataclasses.replace(task.training, epochs=6), note=noted.append))
    assert len(noted) == (seconds < 1)
    assert all("Training the dense model takes about" in note and "study.minutes leaves" in note for note in noted)


def test_a_model_is_left_ready_to_answer(
    dense: Model, task: RecommenderTask, context: Context, trainer: Trainer
) -> None:
    assert not dense.training
    counts = torch.bincount(task.data.train.items, minlength=len(task.data.items))
    expected = {"user": torch.ones(len(task.data.users)), "item": (counts + 1.0) ** task.config.popularity}
    for name, table in dense.tables.items():  # settled: users of one length, items longer the more popular
        lengths = table.values().norm(dim=1) / expected[name]
        torch.testing.assert_close(lengths, lengths.mean().expand_as(lengths), rtol=1e-4, atol=0)
    tuned = started(task)
    nowhere = Checkpoints(None, [])
    trainer.tune(tuned, task, context, steps=(), schedule=one_shot, epochs=1, of=1, checkpoints=nowhere)
    assert not tuned.training


def test_settling_keeps_the_mean_length_of_the_rows_that_stay(task: RecommenderTask, context: Context) -> None:
    """Under cosines the length of a row sets how far an update turns it."""
    model = started(task)
    Rows(sparsity=0.5).advance(model, context, 1.0)
    lengths = {name: table.values()[table.row_mask].norm(dim=1).mean().item() for name, table in model.tables.items()}
    task.settle(model)
    for name, table in model.tables.items():
        assert table.values()[table.row_mask].norm(dim=1).mean().item() == pytest.approx(lengths[name], rel=1e-4)


def test_nan_in_a_checkpoint_is_refused_with_the_file(task: RecommenderTask, context: Context, tmp_path: Path) -> None:
    store, made = Store(tmp_path), plan({"tune": {"epochs": 1}}, base_defaults=task.base)
    trainer = Trainer(task.training)
    whole = run(made, task, context, trainer=trainer, store=store)
    for path in tmp_path.glob("*.pt"):
        checkpoint = store.load(path.stem)
        assert checkpoint is not None
        clean = {name: tensor.clone() for name, tensor in checkpoint["model"].items()}
        checkpoint["model"]["_tables.item.weight"][3, 1] = float("nan")
        store.save(path.stem, checkpoint)
        with pytest.raises(
            AutopruneError, match=rf"{path.name}: the checkpoint holds .*item\.weight.* delete the file"
        ):
            run(made, task, context, trainer=trainer, store=store)
        store.save(path.stem, {**checkpoint, "model": clean})
    again = run(made, task, context, trainer=trainer, store=store)
    assert torch.equal(again.tables["item"].weight, whole.tables["item"].weight)


def test_training_that_diverges_says_so(task: RecommenderTask, context: Context, dense: Model) -> None:
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model.tables["user"].weight.fill_(float("inf"))
    trainer, nowhere = Trainer(task.training), Checkpoints(None, [])
    with pytest.raises(AutopruneError, match=r"training diverged: the loss was nan in epoch 1 of 2 .*lower task"):
        trainer.tune(model, task, context, steps=(), schedule=one_shot, epochs=2, of=2, checkpoints=nowhere)


def test_a_dense_model_that_is_never_judged_says_so(
    task: RecommenderTask, context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(task, "validate", lambda model: float("nan"))
    trainer, store = Trainer(dataclasses.replace(task.training, epochs=5)), Store(tmp_path)
    for _ in range(2):  # and again from what is kept
        with pytest.raises(Diverged, match=rf"{task.metric} on validation was never a number in 5 epochs"):
            train_dense(task, context, trainer=trainer, store=store)


def test_a_quality_below_zero_can_be_the_best(
    task: RecommenderTask, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of a metric that is a negative error."""
    told, qualities = list[str](), iter([-9.0, -5.0, -7.0])
    monkeypatch.setattr(task, "validate", lambda model: next(qualities))
    train_dense(task, context, trainer=Trainer(dataclasses.replace(task.training, epochs=10), report=told.append))
    assert told[-1].endswith("-5.0000")


def test_fine_tuning_has_a_rate_of_its_own(task: RecommenderTask, context: Context) -> None:
    before, moved = started(task), dict[float | None, float]()
    task.settle(before)
    for rate in (None, 1e-5):  # None: that of the dense model
        model, trainer = copy.deepcopy(before), Trainer(Training(learning_rate=1e-3, tuning_rate=rate, warmup=1))
        kept = Checkpoints(None, [])
        trainer.tune(model, task, context, steps=(), schedule=one_shot, epochs=1, of=None, checkpoints=kept)
        weights = [one.tables["item"].weight.detach() for one in (model, before)]
        moved[rate] = float((weights[0] - weights[1]).abs().max())
    assert 0 < moved[1e-5] < moved[None] / 20
