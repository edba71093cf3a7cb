"""A recipe is a base and a fold of stages: parsed into a plan, named by a key, run from left to right.

    base:     {dim: 32}                                             what the dense model is made with
    prune:    {method: {dims: {sparsity: 0.5}}, schedule: cubic, epochs: 4}
    quantize: {bits: 4}

Apart from `base` every entry is a stage, in the order of the mapping. A stage holds `epochs` (training budget),
`schedule` (how a pruning target is approached) and steps by name, directly or under `method`; a stage that is
named after a step holds that step's parameters itself. The empty recipe is the baseline.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from autoprune.context import Context
from autoprune.errors import RecipeError, nearest
from autoprune.models.model import Model
from autoprune.schedule import SCHEDULES
from autoprune.steps import STEPS, make_step, refusal
from autoprune.steps.step import Step
from autoprune.store import Store
from autoprune.tasks.task import Task
from autoprune.train import Trainer

Path = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Some steps acting together, and how long the model trains meanwhile.

    Attributes:
        name: as in the recipe; says nothing about what the stage does.
        steps: in the order they act, which is that of their rank.
        epochs: passes over the training data; 0 applies the steps at once.
        schedule: a name in `SCHEDULES`.
        paths: where in the recipe each step stands, for errors.
    """

    name: str = field(compare=False)
    steps: tuple[Step, ...] = ()
    epochs: int = 0
    schedule: str = "one_shot"
    paths: tuple[Path, ...] = field(default=(), compare=False)

    def describe(self) -> dict[str, Any]:
        """What the stage does, as plain values; the ground of its cache key."""
        steps = [{"step": step.name, "version": step.version, **step.parameters()} for step in self.steps]
        return {"steps": steps, "epochs": self.epochs, "schedule": self.schedule}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A recipe in its normal form: what does nothing is left out, so that equal plans give equal artifacts."""

    base: dict[str, Any]
    stages: tuple[Stage, ...]

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that name the plan."""
        return digest({"base": self.base, "stages": [stage.describe() for stage in self.stages]})

    def words(self) -> str:
        """The plan in a few words: `dim 32, dims pca -50%, cubic 20 epochs, 4 bits`."""
        found = [f"{name} {value}" for name, value in self.base.items()]
        for stage in self.stages:
            found += [step.words() for step in stage.steps if step.rank < 2]
            if stage.epochs:
                found.append(f"{stage.schedule} {stage.epochs} epochs" if stage.steps else f"{stage.epochs} epochs")
            found += [step.words() for step in stage.steps if step.rank == 2]
        return ", ".join(found) or "dense"

    @property
    def trains(self) -> bool:
        """Whether the plan trains anything but the task's own dense model."""
        return bool(self.base) or any(stage.epochs for stage in self.stages)

    @property
    def sized(self) -> bool:
        """Whether size and latency follow from shapes alone."""
        return all(step.sized() for stage in self.stages for step in stage.steps)


def digest(content: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of `content` as canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def plan(recipe: Mapping[str, Any], *, base_defaults: Mapping[str, Any]) -> Plan:
    """Parses a recipe into its normal form.

    Args:
        recipe: nested mappings of plain values.
        base_defaults: what the task's dense model is made with when a recipe says nothing.

    Raises:
        RecipeError: an unknown name or parameter, a bad value, or steps that cannot follow one another.
    """
    base: dict[str, Any] = {}
    for key, value in _mapping(recipe.get("base"), ("base",)).items():
        if key not in base_defaults:
            raise RecipeError(
                ("base", str(key)), f"the task's model has no such setting. {nearest(key, base_defaults)}"
            )
        if value != base_defaults[key]:
            base[str(key)] = value
    stages: list[Stage] = []
    for name, entry in recipe.items():
        if name != "base":
            stages += _stages(str(name), _mapping(entry, (str(name),)))
    _refuse_bad_order(stages)
    return Plan(base=base, stages=tuple(stages))


def run(
    plan: Plan, task: Task, context: Context, *, trainer: Trainer, store: Store | None = None, train: bool = True
) -> Model:
    """Makes the model that a plan describes.

    Each stage starts from a copy, so that no stage can disturb what came before it. Stages that train are kept
    in `store` by content and resumed from there.

    Args:
        train: False rehearses: nothing is trained and nothing is stored, but every shape is the real one.
    """
    model = task.model(plan.base, seed=context.seed).to(context.device)
    content: Any = {"task": task.fingerprint(), "base": plan.base, "seed": context.seed}
    if train:
        content = {"dense": content, "training": trainer.describe()}
        model = trainer.train_dense(model, task, context, key=digest(content), store=store)
    for stage in plan.stages:
        content = {"after": digest(content), "stage": stage.describe()}
        model = run_stage(model, stage, task, context, trainer=trainer, key=digest(content), store=store, train=train)
    return model


def run_stage(
    model: Model,
    stage: Stage,
    task: Task,
    context: Context,
    *,
    trainer: Trainer,
    key: str,
    store: Store | None = None,
    train: bool = True,
) -> Model:
    """One stage, model → model: copy, check, prepare, train, convert."""
    model = copy.deepcopy(model)
    for step, path in zip(stage.steps, stage.paths, strict=True):
        with _seen_from(path):
            step.check(model)
    for step in stage.steps:
        step.prepare(model, context)
    if stage.epochs and train:
        trainer.tune(
            model,
            task,
            context,
            steps=stage.steps,
            schedule=SCHEDULES[stage.schedule],
            epochs=stage.epochs,
            key=key,
            store=store,
        )
    for step, path in zip(stage.steps, stage.paths, strict=True):
        with _seen_from(path):
            step.advance(model, context, 1.0)
    for step in stage.steps:
        step.convert(model, context)
    return model


def sketch(task: Task, base: Mapping[str, Any], *, rows: int = 512) -> Model:
    """An untrained model with the real axes and widths but few rows: enough to try a plan's shapes in a moment."""
    model = task.model(base, seed=0)
    for axis in model.axes_of("rows").values():
        table = model.tables[axis.parts[0][0]]
        model.cut(axis, table.index[:rows])
    return model


def rehearse(plan: Plan, model: Model, task: Task, context: Context, *, trainer: Trainer) -> None:
    """Runs a plan's stages on `model` without training, to see that every shape and value works out.

    Raises:
        RecipeError: with the path in the recipe.
    """
    for stage in plan.stages:
        model = run_stage(model, stage, task, context, trainer=trainer, key="", train=False)


@contextmanager
def _seen_from(path: Path) -> Iterator[None]:
    try:
        yield
    except RecipeError as error:
        raise error.within(*path) from None


def _stages(name: str, entry: Mapping[str, Any]) -> list[Stage]:
    epochs, schedule = entry.get("epochs", 0), entry.get("schedule", "one_shot")
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0:
        raise RecipeError((name, "epochs"), f"a whole number >= 0 must be given, but got {epochs!r}.")
    if not isinstance(schedule, str) or schedule not in SCHEDULES:
        raise RecipeError((name, "schedule"), f"schedule {schedule!r} is unknown. {nearest(schedule, SCHEDULES)}")
    made: list[tuple[Path, Step]] = []
    for step_name, parameters, path in _named_steps(name, entry):
        with _seen_from(path if step_name in STEPS else path[:-1]):
            step = make_step(step_name, parameters)
        if not step.idle():
            made.append((path, step))
    made.sort(key=lambda pair: pair[1].rank)  # of several at once the axes move first, single weights see what is left
    paths, steps = tuple(path for path, _ in made), tuple(step for _, step in made)
    if steps and schedule != "one_shot" and epochs:
        return [Stage(name=name, steps=steps, epochs=epochs, schedule=schedule, paths=paths)]
    parts = [Stage(name=name, steps=steps, paths=paths)] if steps else []
    return [*parts, Stage(name=name, epochs=epochs)] if epochs else parts


def _named_steps(name: str, entry: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], Path]]:
    """The (step, parameters, path) triples of a stage, `none` left out."""
    found: list[tuple[str, Mapping[str, Any], Path]] = []
    own: dict[str, Any] = {}
    for key, value in entry.items():
        if key in ("epochs", "schedule"):
            continue
        if key == "method":
            for step_name, parameters in _mapping(value, (name, "method")).items():
                path = (name, "method", str(step_name))
                found.append((str(step_name), _mapping(parameters, path), path))
        elif name in STEPS:
            own[str(key)] = value
        elif key in STEPS or isinstance(value, Mapping):
            found.append((str(key), _mapping(value, (name, str(key))), (name, str(key))))
        else:
            options = ["epochs", "schedule", "method", *STEPS]
            raise RecipeError((name, str(key)), f"a stage has no such entry. {nearest(key, options)}")
    if name in STEPS:
        found.insert(0, (name, own, (name,)))
    return [triple for triple in found if triple[0] != "none"]


def _mapping(value: Any, path: Path) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise RecipeError(path, f"a mapping must be given, but got {value!r}.")
    return value


def _refuse_bad_order(stages: list[Stage]) -> None:
    earlier: list[Step] = []
    for stage in stages:
        frozen = next((step for step in earlier if not step.trainable), None)
        if stage.epochs and frozen:
            raise RecipeError(
                (stage.name, "epochs"), f"nothing can be trained after {frozen.name}; put the stage before it."
            )
        for step, path in zip(stage.steps, stage.paths, strict=True):
            for before in earlier:
                reason = refusal(before, step)
                if reason:
                    raise RecipeError(path, f"{step.name} cannot follow {before.name}: {reason}.")
            earlier.append(step)
