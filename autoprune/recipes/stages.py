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
from autoprune.recipes.prefixes import Prefixes
from autoprune.recipes.recipe import Plan, Stage, digest
from autoprune.recipes.schedule import SCHEDULES
from autoprune.recipes.store import Checkpoints, Store
from autoprune.recipes.train import Trainer
from autoprune.tasks.task import Learning


def run(
    plan: Plan,
    task: Learning,
    context: Context,
    *,
    trainer: Trainer,
    store: Store | None = None,
    epochs: int | None = None,
    prefixes: Prefixes | None = None,
) -> Model:
    """Makes the model that a plan describes.

    Each stage starts from a copy, so that no stage can disturb what came before it. Stages that train are kept
    in `store` by content and resumed from there.

    Args:
        epochs: how many of the plan's are trained, as `Plan.beginning` counts them; None is all of them. The dense
            model is trained whatever is given. A longer run goes on from what a shorter one left in `store`, and makes
            the same model bit for bit as if nothing were there.
        prefixes: models of the first stages of plans, to start from and to add to.
    """
    held = prefixes or Prefixes(limit_bytes=0)
    dense = trainer.settings.epochs > 0
    stages = (plan if epochs is None else plan.beginning(epochs, decay=trainer.settings.decay)).stages
    keys = [dense_key(plan.base, task, context, trainer=trainer)]
    for stage in stages:
        keys.append(_key(keys[-1], stage))
    # What is trained is kept, and others go on from it: haste begins after that.
    steady = max((number for number, stage in enumerate(stages, start=1) if stage.epochs or stage.rounds), default=0)
    names = [f"{key}{' in haste' * (context.hasty and number > steady)}" for number, key in enumerate(keys)]
    done, model = held.longest(names)
    if model is None:
        model = task.model(plan.base, seed=context.seed).to(context.device)
        if dense:
            model = trainer.train_dense(model, task, context, checkpoints=Checkpoints(store, keys[:1]))
        held.put(names[0], model)
    for number, stage in enumerate(stages[done:], start=done):
        pace = dataclasses.replace(context, hasty=context.hasty and number >= steady)
        model = run_stage(model, stage, task, pace, trainer=trainer, key=keys[number], store=store)
        if number + 1 < len(stages):
            held.put(names[number + 1], model)
    return model.twin() if done == len(stages) else model


def dense_key(base: Mapping[str, Any], task: Learning, context: Context, *, trainer: Trainer) -> str:
    """Names the dense model of a base; where it is trained it is kept under this key."""
    content: Any = {"task": task.fingerprint(), "base": base, "seed": context.seed}
    if trainer.settings.epochs > 0:
        content = {"dense": content, "training": trainer.describe()}
    if context.device.type != "cpu":  # it sums in another order, so that the same training comes to another model
        content = {**content, "device": context.device.type}
    return digest(content)


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
    """One stage, model → model: copy, check, prepare, train, convert.

    Args:
        key: of `model`.
    """
    trains = train and bool(stage.epochs or stage.rounds)
    start, model = model, model.own() if trains else model.twin()
    if not all(step.plans for step in stage.steps):
        model.settle()
    for step, path in zip(stage.steps, stage.paths, strict=True):
        with seen_from(path):
            step.check(model)
    for step, path in zip(stage.steps, stage.paths, strict=True):
        with seen_from(path):
            step.prepare(model, context)
    if not (stage.epochs or stage.rounds):
        context = dataclasses.replace(context, start=start)
    tune = partial(trainer.tune, model, task, context, steps=stage.steps)
    if trains and stage.rounds:
        if not _run_rounds(model, stage, task, context, tune=tune, kept=partial(_kept_round, store, key, stage)):
            return copy.deepcopy(start)
    else:
        if trains:
            decay = trainer.settings.decay
            of = stage.whole.epochs if stage.bound(decay=decay) else None
            kept = _kept(store, key, stage, decay=decay)
            tune(schedule=SCHEDULES[stage.schedule], epochs=stage.epochs, of=of, checkpoints=kept)
        _advance(model, stage, context, 1.0)
    _convert(model, stage, context)
    return model


def _key(after: str, stage: Stage) -> str:
    """Names what a stage makes of the model that `after` names."""
    return digest({"after": after, "stage": stage.describe()})


def _kept(store: Store | None, key: str, stage: Stage, *, decay: bool) -> Checkpoints:
    """Where a stage that trains is kept: beside all that are its beginnings."""
    beginnings = [stage.whole.beginning(epochs, decay=decay) for epochs in range(1, stage.epochs + 1)]
    return Checkpoints(store, [_key(key, beginning) for beginning in beginnings])


def _kept_round(store: Store | None, key: str, stage: Stage, number: int) -> Checkpoints:
    """Where a round is kept, whatever part of its stage is run."""
    return Checkpoints(store, [f"{_key(key, stage.whole)}-{number}"])


def _run_rounds(
    model: Model,
    stage: Stage,
    task: Learning,
    context: Context,
    *,
    tune: Callable[..., None],
    kept: Callable[[int], Checkpoints],
) -> bool:
    """Prune, retrain, validate, until a round falls below the floor; leaves the last good round's state in `model`.

    Of a stage that is ended early, the rounds that end within its epochs: their share of the target is what is reached.

    Returns:
        Whether any round was good.
    """

    def quality() -> float:
        finished = copy.deepcopy(model)
        _convert(finished, stage, context)
        return task.validate(finished)

    good, least = copy.deepcopy(model.state_dict()), stage.floor * task.validate(model)
    whole = stage.whole.epochs
    for number in range(1, stage.rounds_within(stage.epochs) + 1):
        reached = number / stage.rounds
        epochs = whole * number // stage.rounds - whole * (number - 1) // stage.rounds
        if epochs:
            tune(schedule=lambda _, reached=reached: reached, epochs=epochs, of=epochs, checkpoints=kept(number))
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
    for step, path in zip(stage.steps, stage.paths, strict=True):
        with seen_from(path):
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
