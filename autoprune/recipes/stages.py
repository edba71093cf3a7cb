"""Runs plans stage by stage, model → model; trained stages are stored by content and resumed."""

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

    Each stage works on a copy, so it cannot change the model before it. Stages that train are kept in `store` by
    content and resumed from there.

    Args:
        epochs: how many epochs of the plan are trained, as `Plan.beginning` counts them; None: all of them. The dense
            model is always trained. A longer run continues from what a shorter one left in `store`, and makes the same
            model, bit for bit, as without it.
        prefixes: models after the first stages of plans, to start from and to add to.
    """
    cache = prefixes or Prefixes(limit_bytes=0)
    dense = trainer.settings.epochs > 0
    stages = (plan if epochs is None else plan.beginning(epochs, decay=trainer.settings.decay)).stages
    keys = [dense_key(plan.base, task, context, trainer=trainer)]
    for stage in stages:
        keys.append(_key(keys[-1], stage))
    # Haste begins only after the last training: trained models are kept, and others continue from them.
    trained = max((number for number, stage in enumerate(stages, start=1) if stage.epochs or stage.rounds), default=0)
    names = [f"{key}{' in haste' * (context.hasty and number > trained)}" for number, key in enumerate(keys)]
    first, model = cache.longest(names)
    if model is None:
        model = task.model(plan.base, seed=context.seed).to(context.device)
        if dense:
            model = trainer.train_dense(model, task, context, checkpoints=Checkpoints(store, keys[:1]))
        cache.put(names[0], model)
    for number, stage in enumerate(stages[first:], start=first):
        stage_context = dataclasses.replace(context, hasty=context.hasty and number >= trained)
        model = run_stage(model, stage, task, stage_context, trainer=trainer, key=keys[number], store=store)
        if number + 1 < len(stages):
            cache.put(names[number + 1], model)
    return model.twin() if first == len(stages) else model


def dense_key(base: Mapping[str, Any], task: Learning, context: Context, *, trainer: Trainer) -> str:
    """The key of a base's dense model; if it is trained, it is kept under this key."""
    content: Any = {"task": task.fingerprint(), "base": base, "seed": context.seed}
    if trainer.settings.epochs > 0:
        content = {"dense": content, "training": trainer.describe()}
    if context.device.type != "cpu":  # sums are in another order, so the same training gives another model
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
    """Runs one stage, model → model: copy, check, prepare, train, convert.

    Args:
        key: of `model`.
        train: whether the stage may train; otherwise its steps only act.
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
            whole_epochs = stage.whole.epochs if stage.bound(decay=decay) else None
            checkpoints = _kept(store, key, stage, decay=decay)
            tune(schedule=SCHEDULES[stage.schedule], epochs=stage.epochs, of=whole_epochs, checkpoints=checkpoints)
        _advance(model, stage, context, 1.0)
    _convert(model, stage, context)
    return model


def _key(after: str, stage: Stage) -> str:
    """The key of the model that a stage makes from the model with the key `after`."""
    return digest({"after": after, "stage": stage.describe()})


def _kept(store: Store | None, key: str, stage: Stage, *, decay: bool) -> Checkpoints:
    """The checkpoints of a stage that trains, together with those of its beginnings."""
    beginnings = [stage.whole.beginning(epochs, decay=decay) for epochs in range(1, stage.epochs + 1)]
    return Checkpoints(store, [_key(key, beginning) for beginning in beginnings])


def _kept_round(store: Store | None, key: str, stage: Stage, number: int) -> Checkpoints:
    """The checkpoints of a round; they are the same whatever part of its stage is run."""
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
    """Prunes, retrains and validates until a round misses the floor; leaves the last good round's state in `model`.

    A stage that is ended early runs only the rounds that end within its epochs, and reaches their share of the target.

    Returns:
        Whether at least one round met the floor.
    """

    def quality() -> float:
        finished = copy.deepcopy(model)
        _convert(finished, stage, context)
        return task.validate(finished)

    good_state, floor = copy.deepcopy(model.state_dict()), stage.floor * task.validate(model)
    whole = stage.whole.epochs
    for number in range(1, stage.rounds_within(stage.epochs) + 1):
        reached = number / stage.rounds
        epochs = whole * number // stage.rounds - whole * (number - 1) // stage.rounds
        if epochs:
            tune(schedule=lambda _, reached=reached: reached, epochs=epochs, of=epochs, checkpoints=kept(number))
        _advance(model, stage, context, reached)
        if quality() < floor:
            model.load_state_dict(good_state)
            return number > 1
        good_state = copy.deepcopy(model.state_dict())
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
    """An untrained model with the real axes and widths but few rows, on which a plan's shapes can be tried in a moment.

    Args:
        rows: that each table keeps, besides those that the model protects.
    """
    model: Model = task.model(base, seed=0)
    for axis in model.axes_of("rows").values():
        table = model.tables[axis.pairs[0][0]]
        keep = torch.arange(table.rows) < rows
        keep[model.protected(axis)] = True
        model.cut(axis, keep.nonzero()[:, 0])
    return model


def rehearse(plan: Plan, model: Model, task: Learning, context: Context, *, trainer: Trainer) -> None:
    """Runs a plan's stages on `model` without training, to check that all shapes and values work.

    Raises:
        RecipeError: with the path in the recipe.
    """
    context = dataclasses.replace(context, rehearsal=True)
    for stage in plan.stages:
        model = run_stage(model, stage, task, context, trainer=trainer, key="", train=False)
