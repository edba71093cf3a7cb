"""A recipe is a base and a fold of stages: parsed into a plan and named by a key.

    base:     {dim: 32}                                             settings of the dense model
    runtime:  onnx                                                  what runs the model, if a task has a choice
    prune:    {method: {dims: {sparsity: 0.5}}, schedule: cubic, epochs: 4}
    quantize: {bits: 4}

Every entry but `base` and `runtime` is a stage; stages run in the order of the mapping. A stage holds `epochs`
(training budget), `schedule` (how a pruning target is approached) and steps by name, directly or under `method`; a
stage that is named after a step holds that step's parameters directly. The empty recipe is the baseline.

With the schedule `iterative`, a stage works in `rounds`, among which its epochs are divided: prune a little more,
retrain, validate. It stops at the first round whose validation quality is below `floor` (a fraction of the quality at
the start of the stage) and returns the model of the round before.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoprune.errors import RecipeError, nearest, seen_from
from autoprune.recipes.schedule import ITERATIVE, SCHEDULES
from autoprune.steps import STEPS, make_step, refusal
from autoprune.steps.step import Step

Path = tuple[str, ...]

STAGE_ENTRIES = ("epochs", "schedule", "rounds", "floor")
"""Entries of a stage other than its steps."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Steps that act together, and how long the model trains meanwhile.

    Attributes:
        name: as in the recipe; says nothing about what the stage does.
        steps: in the order in which they act, that of their ranks.
        epochs: passes over the training data; 0 applies the steps at once.
        schedule: a name in `SCHEDULES`, or `iterative`.
        of: epochs of the whole stage, if this is its beginning and differs from a stage of `epochs`; 0 otherwise.
        rounds, floor: for the iterative schedule: the number of rounds, and the fraction of the initial quality that a
            round must keep; 0 and 0 otherwise.
        paths: the path of each step in the recipe, for errors.
    """

    name: str = field(compare=False)
    steps: tuple[Step, ...] = ()
    epochs: int = 0
    of: int = 0
    schedule: str = "one_shot"
    rounds: int = 0
    floor: float = 0.0
    paths: tuple[Path, ...] = field(default=(), compare=False)

    def describe(self) -> dict[str, Any]:
        """What the stage does, as plain values; its cache key is computed from them."""
        steps = [{"step": step.name, "version": step.revision(), **step.parameters()} for step in self.steps]
        content = {"steps": steps, "epochs": self.epochs, "schedule": self.schedule}
        if self.of:
            content["of"] = self.of
        return {**content, "rounds": self.rounds, "floor": self.floor} if self.rounds else content

    @property
    def whole(self) -> Stage:
        """The whole stage of which this one is the beginning."""
        return dataclasses.replace(self, epochs=self.of or self.epochs, of=0)

    def beginning(self, epochs: int, *, decay: bool) -> Stage:
        """The stage, ended after its first `epochs`.

        With 0 epochs, its steps act at once. If nothing depends on the stage's length, it is simply a stage of so many
        epochs. Of rounds, those that end within the epochs are run; if none does, the steps act at once.

        Args:
            epochs: after which it ends.
            decay: whether the learning rate depends on the length of a stage.
        """
        if epochs == 0 or (self.rounds and self.rounds_within(epochs) == 0):
            return dataclasses.replace(self, epochs=0, schedule="one_shot", rounds=0, floor=0.0)
        if epochs >= self.epochs:
            return self
        return dataclasses.replace(self, epochs=epochs, of=self.epochs if self.bound(decay=decay) else 0)

    def bound(self, *, decay: bool) -> bool:
        """Whether an epoch depends on the total number of epochs; if not, longer budgets begin the same way."""
        return decay or self.schedule != "one_shot"

    def rounds_within(self, epochs: int) -> int:
        """The number of rounds that end within so many epochs."""
        whole = self.whole.epochs
        return sum(whole * number // self.rounds <= epochs for number in range(1, self.rounds + 1))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A recipe in its normal form, without parts that have no effect, so that equal plans give equal artifacts.

    Attributes:
        base: settings of the dense model that differ from the task's defaults.
        stages: in the order in which they run.
        runtime: what runs the model; empty for the task's default.
    """

    base: dict[str, Any]
    stages: tuple[Stage, ...]
    runtime: str = ""

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that name the plan."""
        content = {"base": self.base, "stages": [stage.describe() for stage in self.stages]}
        return digest({**content, "runtime": self.runtime} if self.runtime else content)

    @property
    def epochs(self) -> int:
        """The epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    def beginning(self, epochs: int, *, decay: bool) -> Plan:
        """The plan, with its training ended after the first `epochs` of its stages.

        The stage in which they end stops there; later stages act without training. 0 gives the untrained recipe.

        Args:
            epochs: after which training ends.
            decay: whether the learning rate depends on the length of a stage.
        """
        stages, cut_short_after = list[Stage](), epochs
        for stage in self.stages:
            begun = stage.beginning(min(cut_short_after, stage.epochs), decay=decay)
            cut_short_after -= min(cut_short_after, stage.epochs)
            if begun.steps or begun.epochs:
                stages.append(begun)
        return dataclasses.replace(self, stages=tuple(stages))

    def summary(self) -> str:
        """The plan in a few words: `dim 32, dims pca -50%, cubic 20 epochs, 4 bits`."""
        parts = [f"{name} {value}" for name, value in self.base.items()]
        for stage in self.stages:
            parts += [step.summary() for step in stage.steps if step.rank < 2]
            if stage.rounds:
                parts.append(f"{stage.rounds} rounds to {stage.floor:.4g}x")
            if stage.epochs:
                gradual = stage.schedule in SCHEDULES and stage.schedule != "one_shot"
                epochs = f"{stage.epochs} epoch{'s' * (stage.epochs != 1)}"
                parts.append(f"{stage.schedule} {epochs}" if gradual else epochs)
            parts += [step.summary() for step in stage.steps if step.rank == 2]
        return ", ".join([*parts, *filter(None, [self.runtime])]) or "dense"


def trains_only(path: Sequence[str]) -> bool:
    """Whether the entry at a path of a recipe affects training alone, so that it does not change an untrained model."""
    if path[0] == "base" or (len(path) == 2 and path[1] in STAGE_ENTRIES):
        return True
    step = next((name for name in reversed(path[:-1]) if name in STEPS), None)  # a stage may be named after one
    return step is not None and STEPS[step].only_trains and path[-1] not in ("method", *STEPS)


def keys_of(recipe: Mapping[str, Any]) -> Iterator[str]:
    """All keys of a recipe or a space, at any depth."""
    for name, inner in recipe.items():
        yield name
        if isinstance(inner, Mapping):
            yield from keys_of(inner)


def digest(content: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of `content` as canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def plan(recipe: Mapping[str, Any], *, base_defaults: Mapping[str, Any], runtimes: Sequence[str] = ("torch",)) -> Plan:
    """Parses a recipe into its normal form.

    Args:
        recipe: nested mappings of plain values.
        base_defaults: default settings of the task's dense model.
        runtimes: the runtimes that the task has; the first is the default.

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
    runtime = recipe.get("runtime", runtimes[0])
    if runtime not in runtimes:
        raise RecipeError(("runtime",), f"the task has no runtime {runtime!r}. {nearest(runtime, runtimes)}")
    stages: list[Stage] = []
    for name, entry in recipe.items():
        if name not in ("base", "runtime"):
            stages += _stages(str(name), _mapping(entry, (str(name),)))
    _refuse_bad_order(stages)
    return Plan(base=base, stages=tuple(stages), runtime="" if runtime == runtimes[0] else str(runtime))


def _stages(name: str, entry: Mapping[str, Any]) -> list[Stage]:
    epochs, schedule = entry.get("epochs", 0), entry.get("schedule", "one_shot")
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0:
        raise RecipeError((name, "epochs"), f"a whole number >= 0 must be given, but got {epochs!r}.")
    schedules = (*SCHEDULES, ITERATIVE)
    if not isinstance(schedule, str) or schedule not in schedules:
        raise RecipeError((name, "schedule"), f"schedule {schedule!r} is unknown. {nearest(schedule, schedules)}")
    rounds, floor = entry.get("rounds", 4), entry.get("floor", 0.98)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise RecipeError((name, "rounds"), f"a whole number >= 1 must be given, but got {rounds!r}.")
    if isinstance(floor, bool) or not isinstance(floor, int | float) or not 0 <= floor <= 1:
        raise RecipeError((name, "floor"), f"a fraction from 0 to 1 must be given, but got {floor!r}.")
    located: list[tuple[Path, Step]] = []
    for step_name, parameters, path in _named_steps(name, entry):
        with seen_from(path if step_name in STEPS else path[:-1]):
            step = make_step(step_name, parameters)
        if not step.idle() and (epochs or not step.only_trains):
            located.append((path, step))
    located.sort(key=lambda pair: pair[1].rank)  # steps on axes come first; steps on single weights act on what is left
    paths, steps = tuple(path for path, _ in located), tuple(step for _, step in located)
    if steps and schedule == ITERATIVE:
        _refuse_untrained(located)
        return [
            Stage(
                name=name, steps=steps, epochs=epochs, schedule=schedule, rounds=rounds, floor=float(floor), paths=paths
            )
        ]
    # A step that acts on updates, or whose codes cannot be trained, shares the stage with its epochs.
    if steps and epochs and (schedule != "one_shot" or any(step.only_trains or not step.trainable for step in steps)):
        _refuse_untrained(located)
        return [Stage(name=name, steps=steps, epochs=epochs, schedule=schedule, paths=paths)]
    acting = [Stage(name=name, steps=steps, paths=paths)] if steps else []
    return [*acting, Stage(name=name, epochs=epochs)] if epochs else acting


def _refuse_untrained(made: Sequence[tuple[Path, Step]]) -> None:
    """Refuses parameters that need a stage without training, if the stage trains."""
    for path, step in made:
        if parameter := step.untrained():
            raise RecipeError(
                (*path, parameter),
                f"{step.name} allows this only in a stage that does not train. Set it to false, or train in a later "
                "stage, as in {cut: {ffn: …}, tune: {epochs: 2}}.",
            )


def _named_steps(name: str, entry: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], Path]]:
    """The (step, parameters, path) triples of a stage, without `none`."""
    triples: list[tuple[str, Mapping[str, Any], Path]] = []
    own: dict[str, Any] = {}
    for key, value in entry.items():
        if key in STAGE_ENTRIES:
            continue
        if key == "method":
            for step_name, parameters in _mapping(value, (name, "method")).items():
                path = (name, "method", str(step_name))
                triples.append((str(step_name), _mapping(parameters, path), path))
        elif name in STEPS:
            own[str(key)] = value
        elif key in STEPS or isinstance(value, Mapping):
            triples.append((str(key), _mapping(value, (name, str(key))), (name, str(key))))
        else:
            options = [*STAGE_ENTRIES, "method", *STEPS]
            raise RecipeError((name, str(key)), f"a stage has no such entry. {nearest(key, options)}")
    if name in STEPS:
        triples.insert(0, (name, own, (name,)))
    return [triple for triple in triples if triple[0] != "none"]


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
