"""Running a plan: stage after stage, model → model, kept by content and resumed."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from autoprune.errors import seen_from
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.recipe import Plan, Stage, digest
from autoprune.recipes.schedule import SCHEDULES, one_shot
from autoprune.recipes.store import Store
from autoprune.recipes.train import Trainer
from autoprune.tasks.task import Learning


def run(
    plan: Plan, task: Learning, context: Context, *, trainer: Trainer, store: Store | None = None, train: bool = True
) -> Model:
    """Makes the model that a plan describes.

    Each stage starts from a copy, so that no stage can disturb what came before it. Stages that train are kept
    in `store` by content and resumed from there.

    Args:
        train: False rehearses: nothing is trained and nothing is stored, but every shape is the real one.
    """
    context = dataclasses.replace(context, rehearsal=not train)
    model: Model = task.model(plan.base, seed=context.seed).to(context.device)
    content: Any = {"task": task.fingerprint(), "base": plan.base, "seed": context.seed}
    if train and trainer.settings.epochs:
        content = {"dense": content, "training": trainer.describe()}
        model = trainer.train_dense(model, task, context, key=digest(content), store=store)
    for stage in plan.stages:
        content = {"after": digest(content), "stage": stage.describe()}
        model = run_stage(model, stage, task, context, trainer=trainer, key=digest(content), store=store, train=train)
    return model


def run_stage(
    model: Model,
    stage: Stage,
    task: Learning,
    context: Context,
    *,
    trainer: Trainer,
    key: str,
    store: Store | None = None,
    train: bool = True,
) -> Model:
    """One stage, model → model: copy, check, prepare, train, convert."""
    start, model = model, copy.deepcopy(model)
    for step, path in zip(stage.steps, stage.paths, strict=True):
        with seen_from(path):
            step.check(model)
    for step, path in zip(stage.steps, stage.paths, strict=True):
        with seen_from(path):
            step.prepare(model, context)
    tune = partial(trainer.tune, model, task, context, steps=stage.steps, store=store)
    if stage.rounds and train:
        if not _run_rounds(model, stage, task, context, tune=tune, key=key):
            return copy.deepcopy(start)
    else:
        if stage.epochs and train:
            tune(schedule=SCHEDULES.get(stage.schedule, one_shot), epochs=stage.epochs, key=key)
        _advance(model, stage, context, 1.0)
    _convert(model, stage, context)
    return model


def _run_rounds(
    model: Model, stage: Stage, task: Learning, context: Context, *, tune: Callable[..., None], key: str
) -> bool:
    """Prune, retrain, validate, until a round falls below the floor; leaves the last good round's state in `model`.

    Returns:
        Whether any round was good.
    """

    def quality() -> float:
        finished = copy.deepcopy(model)
        _convert(finished, stage, context)
        return task.validate(finished)

    good, least = copy.deepcopy(model.state_dict()), stage.floor * task.validate(model)
    for number in range(1, stage.rounds + 1):
        reached = number / stage.rounds
        epochs = stage.epochs * number // stage.rounds - stage.epochs * (number - 1) // stage.rounds
        if epochs:
            tune(schedule=lambda _, reached=reached: reached, epochs=epochs, key=f"{key}-{number}")
        _advance(model, stage, context, reached)
        if quality() < least:
            model.load_state_dict(good)
            return number > 1
        good = copy.deepcopy(model.state_dict())
    return True


def _advance(model: Model, stage: Stage, context: Context, reached: float) -> None:
    for step, path in zip(stage.steps, stage.paths, strict=True):
        with seen_from(path):
            step.advance(model, context, reached)


def _convert(model: Model, stage: Stage, context: Context) -> None:
    for step in stage.steps:
        step.convert(model, context)


def sketch(task: Learning, base: Mapping[str, Any], *, rows: int = 128) -> Model:
    """A model with the real axes and widths but few rows, untrained: enough to try a plan's shapes in a moment.

    Args:
        rows: that each table keeps, beside those that the model protects.
    """
    model: Model = task.model(base, seed=0)
    for axis in model.axes_of("rows").values():
        table = model.tables[axis.pairs[0][0]]
        stays = torch.arange(table.rows) < rows
        stays[model.protected(axis)] = True
        model.cut(axis, stays.nonzero()[:, 0])
    return model


def rehearse(plan: Plan, model: Model, task: Learning, context: Context, *, trainer: Trainer) -> None:
    """Runs a plan's stages on `model` without training, to see that every shape and value works out.

    Raises:
        RecipeError: with the path in the recipe.
    """
    context = dataclasses.replace(context, rehearsal=True)
    for stage in plan.stages:
        model = run_stage(model, stage, task, context, trainer=trainer, key="", train=False)
