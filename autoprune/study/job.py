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
from autoprune.config.settings import ExecutorConfig, StudyConfig
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
from autoprune.study.definition import Definition, check_no_idle_settings, make_task
from autoprune.study.driver import Driver
from autoprune.study.evaluation.evaluate import Evaluator
from autoprune.study.executors.executor import Executor
from autoprune.study.making import Recipes
from autoprune.study.progress.progress import Watching
from autoprune.study.sampling.choices import Choices
from autoprune.study.session import begin
from autoprune.study.suited import Sections, suited
from autoprune.study.teams.storage import team_of
from autoprune.tasks.task import Task

SMALL = 2**20
"""A model of at most so many values is faster on one thread: several threads wait for each other in each of many small
operations, and most of the time if other work occupies the processors."""


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A study whose data is read and whose recipes were tried.

    Attributes:
        presets: adapted to the task's model.
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
    """Runs the study that a config describes, from where it stopped, and returns its record.

    All checks are made before anything is written.

    Args:
        sections: of the config.
        overrides: settings on top of the defaults; recorded to reproduce single candidates.
        config_dir: the user's folder of configs, if one was named; recorded for the same purpose.
        executor: runs the evaluations; the caller closes it. None: chosen by `study.workers`.
        watch: receives reports on the search.
        deadline: when the run is to end; None: `study.minutes` from now.
        between: called with the study and its task once the scan's finds are measured, before training begins.

    Raises:
        AutopruneError: the config is invalid, the study was started with another definition, or the time was over
            before the dense model was finished.
    """
    config, watch = study_config(sections), watch or Watching()
    place = executor_config(sections)
    if not (config.name and (at_home(config.dir) / config.name / "study.yaml").exists()):  # an existing study continues
        check_no_idle_settings(sections["task"], overrides)
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
            watch.note("other drivers work on this study too and share its work, see docs/processes.md")
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
                asked={name: sections[name] for name in ("space", "presets")},
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
    """Processes of this machine that may judge; None: not set. On a cluster, `study.workers` means calls in flight."""
    return 1 if place.name == "serial" else None if place.name == "ray" else config.workers


def _begin(
    sections: Sections,
    config: StudyConfig,
    *,
    working: Callable[[str], None],
    note: Callable[[str], None],
    deadline: Deadline,
) -> _Begun:
    """Reads the data and tries the recipes: everything before the first measurement, at every start.

    Raises:
        AutopruneError: the config is invalid, or the time was over; the message says what the time was spent on.
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
            "increase study.minutes."
        ) from None
    return _Begun(definition=definition, evaluator=evaluator, space=space, presets=sections["presets"], reading=reading)


def cluster_of(evaluator: Evaluator, place: ExecutorConfig, *, slots: int | None) -> Executor:
    """The executor that uses Ray.

    Raises:
        AutopruneError: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        from autoprune.study.executors.cluster import Cluster  # imported here because Ray is optional
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise AutopruneError("executor=ray: Ray is not installed: pip install 'autoprune[ray]'.") from error
    return Cluster(evaluator, place, slots=slots)


def executor_config(sections: Sections) -> ExecutorConfig:
    """Parses the section `executor`.

    Raises:
        AutopruneError: an entry is invalid; the message gives its path.
    """
    config: ExecutorConfig = structured(ExecutorConfig, sections.get("executor", {}), "executor")
    config.check()
    return config


def study_config(sections: Sections) -> StudyConfig:
    """Parses the section `study`.

    Raises:
        AutopruneError: an entry is invalid; the message gives its path.
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
        OutOfTime: the time was over before all were built.
    """
    task, sketches, built_keys = evaluator.task, dict[str, Model](), set[str]()

    def build(recipe: Recipe) -> None:
        deadline.check("trying the recipes")
        planned = evaluator.plan(recipe)
        untrained = dataclasses.replace(
            planned, stages=tuple(dataclasses.replace(stage, epochs=0) for stage in planned.stages)
        )
        if untrained.key in built_keys:
            return
        built_keys.add(untrained.key)
        base_key = digest(planned.base)
        if base_key not in sketches:
            sketches[base_key] = sketch(task, planned.base)
        small = sum(one.numel() for one in sketches[base_key].parameters()) <= SMALL
        with on_threads(1 if small else torch.get_num_threads()):
            rehearse(untrained, sketches[base_key], task, evaluator.context, trainer=evaluator.trainer)

    space.check(build)
    for name, recipe in presets.items():
        preset = Space(recipe, root=f"presets.{name}")
        if preset.domains:
            raise AutopruneError(
                f"{next(iter(preset.domains))}: a preset must not have open values; put them into the space."
            )
        preset.check(build)
    deadline.check("trying the recipes")
