"""A recipe is a base and a fold of stages: parsed into a plan and named by a key.

    base:     {dim: 32}                                             what the dense model is made with
    runtime:  onnx                                                  what answers, where a task has a choice
    prune:    {method: {dims: {sparsity: 0.5}}, schedule: cubic, epochs: 4}
    quantize: {bits: 4}

Apart from `base` and `runtime` every entry is a stage, in the order of the mapping. A stage holds `epochs` (training
budget), `schedule` (how a pruning target is approached) and steps by name, directly or under `method`; a stage that is
named after a step holds that step's parameters itself. The empty recipe is the baseline.

Under the schedule `iterative` a stage works in `rounds`, among which its epochs are divided: prune a little more,
retrain, validate. It stops at the first round whose validation quality is below `floor` (a fraction of what the
stage began with) and returns the model of the round before.
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
"""What a stage says beside its steps."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Some steps acting together, and how long the model trains meanwhile.

    Attributes:
        name: as in the recipe; says nothing about what the stage does.
        steps: in the order they act, which is that of their rank.
        epochs: passes over the training data; 0 applies the steps at once.
        schedule: a name in `SCHEDULES`, or `iterative`.
        of: epochs of the whole stage, where this is its beginning and no stage of `epochs` is the same; 0 otherwise.
        rounds, floor: of the iterative schedule: into how many rounds the stage is divided, and the fraction of the
            quality at its beginning that a round must keep; 0 and 0 otherwise.
        paths: where in the recipe each step stands, for errors.
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
        """What the stage does, as plain values; the ground of its cache key."""
        steps = [{"step": step.name, "version": step.revision(), **step.parameters()} for step in self.steps]
        content = {"steps": steps, "epochs": self.epochs, "schedule": self.schedule}
        if self.of:
            content["of"] = self.of
        return {**content, "rounds": self.rounds, "floor": self.floor} if self.rounds else content

    @property
    def whole(self) -> Stage:
        """The stage that this one begins."""
        return dataclasses.replace(self, epochs=self.of or self.epochs, of=0)

    def beginning(self, epochs: int, *, decay: bool) -> Stage:
        """The stage as it is when it ends after its first `epochs`.

        Without any epoch it is what its steps do at once. Where nothing depends on its length it is the stage of so
        many epochs. Of rounds those are run that end within the epochs; if none does, the steps act at once.

        Args:
            decay: whether the learning rate runs along the length of a stage.
        """
        if epochs == 0 or (self.rounds and self.rounds_within(epochs) == 0):
            return dataclasses.replace(self, epochs=0, schedule="one_shot", rounds=0, floor=0.0)
        if epochs >= self.epochs:
            return self
        return dataclasses.replace(self, epochs=epochs, of=self.epochs if self.bound(decay=decay) else 0)

    def bound(self, *, decay: bool) -> bool:
        """Whether what happens in an epoch depends on how many there are; otherwise budgets begin alike."""
        return decay or self.schedule != "one_shot"

    def rounds_within(self, epochs: int) -> int:
        """How many rounds end within so many epochs."""
        whole = self.whole.epochs
        return sum(whole * number // self.rounds <= epochs for number in range(1, self.rounds + 1))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A recipe in its normal form: what does nothing is left out, so that equal plans give equal artifacts.

    Attributes:
        base: what the dense model is made with, where it is not the task's default.
        stages: in the order they run.
        runtime: what answers; empty for the task's default.
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
        """Of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    def beginning(self, epochs: int, *, decay: bool) -> Plan:
        """The plan whose training ends after the first `epochs` of its stages in their order.

        The stage in which they end is ended there; later ones act without training. 0 is the untrained recipe.

        Args:
            decay: whether the learning rate runs along the length of a stage.
        """
        stages, left = list[Stage](), epochs
        for stage in self.stages:
            begun = stage.beginning(min(left, stage.epochs), decay=decay)
            left -= min(left, stage.epochs)
            if begun.steps or begun.epochs:
                stages.append(begun)
        return dataclasses.replace(self, stages=tuple(stages))

    def summary(self) -> str:
        """The plan in a few words: `dim 32, dims pca -50%, cubic 20 epochs, 4 bits`."""
        found = [f"{name} {value}" for name, value in self.base.items()]
        for stage in self.stages:
            found += [step.summary() for step in stage.steps if step.rank < 2]
            if stage.rounds:
                found.append(f"{stage.rounds} rounds to {stage.floor:.4g}x")
            if stage.epochs:
                gradual = stage.schedule in SCHEDULES and stage.schedule != "one_shot"
                epochs = f"{stage.epochs} epoch{'s' * (stage.epochs != 1)}"
                found.append(f"{stage.schedule} {epochs}" if gradual else epochs)
            found += [step.summary() for step in stage.steps if step.rank == 2]
        return ", ".join([*found, *filter(None, [self.runtime])]) or "dense"


def trains_only(path: Sequence[str]) -> bool:
    """Whether what stands at a path of a recipe acts on training alone, so that an untrained model is the same."""
    if path[0] == "base" or (len(path) == 2 and path[1] in STAGE_ENTRIES):
        return True
    step = next((name for name in reversed(path[:-1]) if name in STEPS), None)  # a stage may be named after one
    return step is not None and STEPS[step].only_trains and path[-1] not in ("method", *STEPS)


def keys_of(recipe: Mapping[str, Any]) -> Iterator[str]:
    """The keys of a recipe or a space, however deep."""
    for name, held in recipe.items():
        yield name
        if isinstance(held, Mapping):
            yield from keys_of(held)


def digest(content: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of `content` as canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def plan(recipe: Mapping[str, Any], *, base_defaults: Mapping[str, Any], runtimes: Sequence[str] = ("torch",)) -> Plan:
    """Parses a recipe into its normal form.

    Args:
        recipe: nested mappings of plain values.
        base_defaults: what the task's dense model is made with when a recipe says nothing.
        runtimes: what can answer; the first does when a recipe says nothing.

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
    made: list[tuple[Path, Step]] = []
    for step_name, parameters, path in _named_steps(name, entry):
        with seen_from(path if step_name in STEPS else path[:-1]):
            step = make_step(step_name, parameters)
        if not step.idle() and (epochs or not step.only_trains):
            made.append((path, step))
    made.sort(key=lambda pair: pair[1].rank)  # of several at once the axes move first, single weights see what is left
    paths, steps = tuple(path for path, _ in made), tuple(step for _, step in made)
    if steps and schedule == ITERATIVE:
        _refuse_untrained(made)
        return [
            Stage(
                name=name, steps=steps, epochs=epochs, schedule=schedule, rounds=rounds, floor=float(floor), paths=paths
            )
        ]
    # What acts on updates, or leaves codes that nothing can train, shares the stage with its epochs.
    if steps and epochs and (schedule != "one_shot" or any(step.only_trains or not step.trainable for step in steps)):
        _refuse_untrained(made)
        return [Stage(name=name, steps=steps, epochs=epochs, schedule=schedule, paths=paths)]
    acting = [Stage(name=name, steps=steps, paths=paths)] if steps else []
    return [*acting, Stage(name=name, epochs=epochs)] if epochs else acting


def _refuse_untrained(made: Sequence[tuple[Path, Step]]) -> None:
    """Refuses, in a stage that trains, what asks for one that does not."""
    for path, step in made:
        if parameter := step.untrained():
            raise RecipeError(
                (*path, parameter),
                f"{step.name} can have it only where nothing is trained in its stage. Set it to false, or train in a "
                "later stage, as {cut: {ffn: …}, tune: {epochs: 2}} does.",
            )


def _named_steps(name: str, entry: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], Path]]:
    """The (step, parameters, path) triples of a stage, `none` left out."""
    found: list[tuple[str, Mapping[str, Any], Path]] = []
    own: dict[str, Any] = {}
    for key, value in entry.items():
        if key in STAGE_ENTRIES:
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
            options = [*STAGE_ENTRIES, "method", *STEPS]
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
