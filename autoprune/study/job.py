"""From a config to a search."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from autoprune.config.sections import structured
from autoprune.deadline import Deadline, OutOfTime, clock
from autoprune.errors import AutopruneError, doing
from autoprune.measure.timing import on_threads
from autoprune.models.model import Model
from autoprune.overrides import at_home
from autoprune.recipes.nodes import Recipe
from autoprune.recipes.recipe import digest
from autoprune.recipes.space import Space
from autoprune.recipes.stages import rehearse, sketch
from autoprune.record.archive import Archive
from autoprune.record.folder import GO_ON, driving, open_folder
from autoprune.record.looks import LOOKS, Looks
from autoprune.record.record import Record
from autoprune.record.storage import kept
from autoprune.study.definition import Definition, check_told, make_task
from autoprune.study.driver import Driver
from autoprune.study.evaluation.evaluate import Evaluator
from autoprune.study.executors.executor import Executor
from autoprune.study.making import Recipes
from autoprune.study.progress.progress import Watching
from autoprune.study.sampling.choices import Choices
from autoprune.study.session import begin
from autoprune.study.settings import ExecutorConfig, StudyConfig
from autoprune.study.suited import Sections, suited
from autoprune.study.teams.storage import team_of
from autoprune.tasks.task import Task

SMALL = 2**20
"""Values of a model up to which one thread is quicker: several wait for each other at each of many small operations,
and where other work has the processors, for most of the time."""


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A study whose data is read and whose recipes were tried.

    Attributes:
        presets: as the task's model can have them.
        reading: seconds that reading the data took.
    """

    definition: Definition
    evaluator: Evaluator
    space: Space
    presets: Recipes
    reading: float


def run_study(
    sections: Sections,
    overrides: Sequence[str],
    *,
    config_dir: str | None = None,
    executor: Executor | None = None,
    watch: Watching | None = None,
    deadline: Deadline | None = None,
    between: Callable[[Record, Task], None] = lambda record, task: None,
) -> Record:
    """Runs the study that a config describes, from where it was left; returns its record.

    Everything that can be refused is refused before anything is written.

    Args:
        sections: of the config.
        overrides: what was asked for on top of the defaults; kept to reproduce single candidates.
        config_dir: the user's folder of configs, if one was named; kept likewise.
        executor: runs the evaluations, and is closed by whoever made it; None: as `study.workers` says.
        watch: is told how the search goes.
        deadline: when the run is to end; None: `study.minutes` from now.
        between: called with the study and its task once the scan's finds are measured, before training begins.

    Raises:
        AutopruneError: something in the config cannot be, the study was started with another definition, or the time
            was over before the dense model was finished.
    """
    config, watch = study_config(sections), watch or Watching()
    place = executor_config(sections)
    if not (config.name and (at_home(config.dir) / config.name / "study.yaml").exists()):  # what was begun goes on
        check_told(sections["task"], overrides)
    deadline = deadline or time_of(config)
    begun = _begin(sections, config, working=watch.working, note=watch.note, deadline=deadline)
    definition, evaluator, task = begun.definition, begun.evaluator, begun.evaluator.task
    folder = definition.folder
    with (
        driving(folder, together=config.storage is not None),
        ExitStack() as stack,
        doing(f"study {folder.name!r} in {str(folder.parent)!r} was stopped", GO_ON),
    ):
        team = stack.enter_context(team_of(config.storage, folder))
        if not team.sole:
            watch.note("others drive this study too: its work is shared, see docs/processes.md")
        with team.turn():
            open_folder(
                folder,
                definition=definition.content,
                told={
                    "overrides": kept(overrides, config.storage),
                    "described": task.describe(),
                    "metrics": list(task.main_metrics),
                    "places": dict(definition.places),
                    "latency_seconds": definition.latency_seconds,
                    **({} if (judging := _judging(config, place)) is None else {"workers": judging}),
                    **({"config_dir": config_dir} if config_dir else {}),
                },
                joining=not team.sole,
            )
        archive = Archive(folder / "archive.jsonl", turn=team.turn)
        if place.name == "ray" and executor is None:
            executor = stack.enter_context(cluster_of(evaluator, place, slots=config.workers))
        session = begin(
            dataclasses.replace(config, workers=1) if place.name == "serial" else config,
            evaluator=evaluator,
            archive=archive,
            looks=Looks(folder / LOOKS, turn=team.turn),
            team=team,
            executor=executor,
            watch=watch,
            deadline=deadline,
            reading=begun.reading,
        )
        choices = Choices(begun.space, base=task.base)
        Driver(session).run(begun.presets, choices, between=lambda record: between(record, task))
    return Record(folder, archive)


def _judging(config: StudyConfig, place: ExecutorConfig) -> int | None:
    """Processes of this machine that may judge; None: nobody says. `study.workers` of a cluster are calls in flight."""
    return 1 if place.name == "serial" else None if place.name == "ray" else config.workers


def _begin(
    sections: Sections,
    config: StudyConfig,
    *,
    working: Callable[[str], None],
    note: Callable[[str], None],
    deadline: Deadline,
) -> _Begun:
    """Reads the data and tries the recipes: all that precedes the first measurement, at every start.

    Raises:
        AutopruneError: something cannot be, or the time was over; what that took is said.
    """
    working("reading data")
    start = time.monotonic()
    task = make_task(sections["task"])
    reading = time.monotonic() - start
    sections, left_out = suited(sections, task)
    note("; ".join([task.describe(), *left_out]))
    space = Space(sections["space"])
    definition = Definition.of_sections(sections, config, task)
    evaluator = Evaluator(definition, task, working=working, note=note)
    try:
        evaluator.check(deadline)
        working("trying every recipe on a small model")
        _check_recipes(evaluator, space, sections["presets"], deadline=deadline)
    except OutOfTime:
        trying = time.monotonic() - start - reading
        raise AutopruneError(
            f"study.minutes was over before anything could be measured: reading the data took {clock(reading)}, and "
            f"trying the recipes on a small model was not finished {clock(trying)} later. Every start takes that long; "
            "give more minutes."
        ) from None
    return _Begun(definition=definition, evaluator=evaluator, space=space, presets=sections["presets"], reading=reading)


def cluster_of(evaluator: Evaluator, place: ExecutorConfig, *, slots: int | None) -> Executor:
    """The executor that uses Ray.

    Raises:
        AutopruneError: Ray is not installed, or there is no such cluster.
    """
    try:
        from autoprune.study.executors.cluster import Cluster  # here, because who does not use it need not have it
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise AutopruneError("executor=ray: Ray is not installed: pip install 'autoprune[ray]'.") from error
    return Cluster(evaluator, place, slots=slots)


def executor_config(sections: Sections) -> ExecutorConfig:
    """What the section `executor` says.

    Raises:
        AutopruneError: with the path of an entry that cannot be.
    """
    config: ExecutorConfig = structured(ExecutorConfig, sections.get("executor", {}), "executor")
    config.check()
    return config


def study_config(sections: Sections) -> StudyConfig:
    """What the section `study` says.

    Raises:
        AutopruneError: with the path of an entry that cannot be.
    """
    config: StudyConfig = structured(StudyConfig, sections["study"], "study")
    config.check()
    return config


def time_of(config: StudyConfig) -> Deadline:
    """When a run that begins now is to end."""
    return Deadline.after(math.inf if config.minutes is None else 60 * config.minutes)


def _check_recipes(evaluator: Evaluator, space: Space, presets: Recipes, *, deadline: Deadline) -> None:
    """Builds every corner of the space and every preset on a small model.

    Raises:
        AutopruneError: one of them cannot be built; the message names its entry.
        OutOfTime: the time was over before all were.
    """
    task, sketches, built = evaluator.task, dict[str, Model](), set[str]()

    def build(recipe: Recipe) -> None:
        deadline.check("trying the recipes")
        made = evaluator.plan(recipe)
        shapes = dataclasses.replace(made, stages=tuple(dataclasses.replace(stage, epochs=0) for stage in made.stages))
        if shapes.key in built:
            return
        built.add(shapes.key)
        base = digest(made.base)
        if base not in sketches:
            sketches[base] = sketch(task, made.base)
        small = sum(one.numel() for one in sketches[base].parameters()) <= SMALL
        with on_threads(1 if small else torch.get_num_threads()):
            rehearse(shapes, sketches[base], task, evaluator.context, trainer=evaluator.trainer)

    space.check(build)
    for name, recipe in presets.items():
        preset = Space(recipe, root=f"presets.{name}")
        if preset.domains:
            raise AutopruneError(
                f"{next(iter(preset.domains))}: a preset is fully decided; put open values into the space."
            )
        preset.check(build)
    deadline.check("trying the recipes")
