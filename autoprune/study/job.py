"""From a config to a search."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from autoprune.config import structured
from autoprune.errors import AutopruneError, unknown
from autoprune.families import task_maker
from autoprune.fronts.requirements import parse_requirements
from autoprune.machine import machine
from autoprune.measure.measurement import WHOLE
from autoprune.measure.reading import reading_name
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.recipe import digest, plan
from autoprune.recipes.space import Recipe, Space
from autoprune.recipes.stages import rehearse, sketch
from autoprune.recipes.store import Store
from autoprune.recipes.train import Trainer
from autoprune.record.archive import Archive
from autoprune.record.folder import driving, note_machine, open_folder
from autoprune.record.record import Record
from autoprune.study.driver import Study, StudyConfig
from autoprune.study.evaluate import Evaluator
from autoprune.study.progress import Progress
from autoprune.tasks.task import Task


def search(
    sections: Mapping[str, dict[str, Any]],
    overrides: Sequence[str],
    *,
    config_dir: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    working: Callable[[str], None] = lambda words: None,
    opening: Callable[[str], None] = lambda words: None,
) -> Record:
    """Runs the study that a config describes, from where it was left; returns its record.

    Everything that can be refused is refused before anything is written.

    Args:
        sections: task, space, presets, requirements and study, as plain values.
        overrides: what was asked for on top of the defaults; kept to reproduce single candidates.
        config_dir: the user's folder of configs, if one was named; kept likewise.
        report: called whenever a candidate is finished.
        working: called with a few words about the work in progress.
        opening: called once, with what the data is.

    Raises:
        AutopruneError: something in the config cannot be, or the study was started with another definition.
    """
    study = structured(StudyConfig, sections["study"], "study")
    study.check()
    working("reading data")
    task = make_task(sections["task"])
    described = task.describe()
    opening(described)
    sections = {
        **sections,
        "space": task.suited(sections["space"]),
        "presets": {name: task.suited(recipe) for name, recipe in sections["presets"].items()},
    }
    space = Space(sections["space"])
    task.report = working
    context = task.context(seed=study.seed, device=find_device(study.device))
    trainer = Trainer(task.training, report=working)
    requirements = parse_requirements(sections["requirements"], _reading_names(task))
    _check_recipes(task, space, sections["presets"], context, trainer)
    definition = _definition(task, sections)
    name = _study_name(study, task, definition)
    folder = Path(study.dir) / name
    with driving(folder):
        open_folder(
            folder, definition=definition, overrides=list(overrides), described=described, config_dir=config_dir
        )
        note_machine(folder, machine())
        archive = Archive(folder / "archive.jsonl", mending=True)
        evaluator = Evaluator(
            task,
            context,
            trainer=trainer,
            store=Store(Path(study.dir) / ".store"),
            requirements=requirements,
            artifacts=folder / "artifacts",
            latency_seconds=study.latency_seconds,
            candidates=archive.candidates,
        )
        Study(
            folder,
            config=study,
            task=task,
            space=space,
            presets=sections["presets"],
            requirements=requirements,
            archive=archive,
            evaluator=evaluator,
            report=report,
        ).run()
    return Record(folder)


LOCATED = ("path", "model", "texts", "pairs", "retrieval", "classification")
"""Entries of a task that say where something lies; what lies there is hashed."""


def _definition(task: Task, sections: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What a study is, whatever its budget: under another one it must not go on."""
    told = {key: value for key, value in sections["task"].items() if key not in LOCATED}
    data = {key: value for key, value in told.get("data", {}).items() if key not in LOCATED}
    searched = ("seed", "objectives", "sampler", "device")
    return {
        "task": {**told, "metric": task.metric, "data": data},
        "data": digest(task.fingerprint()),  # wherever the data lies
        "space": sections["space"],
        "presets": sections["presets"],
        "requirements": sections["requirements"],
        "study": {key: sections["study"][key] for key in searched},
    }


def _study_name(study: StudyConfig, task: Task, definition: Mapping[str, Any]) -> str:
    name = study.name or f"{task.name}-{digest(definition)[:8]}"
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise AutopruneError(
            f"study.name: letters, digits, dots, dashes and underscores make a name, but got {name!r}."
        )
    return name


def make_task(section: dict[str, Any]) -> Task:
    """The task of a config's section.

    Raises:
        AutopruneError: it is unknown, or cannot be made.
    """
    maker = task_maker(section.get("name"))
    return maker.make(structured(maker.config, section, "task"))


def _check_recipes(task: Task, space: Space, presets: Mapping[str, Any], context: Context, trainer: Trainer) -> None:
    """Builds every corner of the space and every preset on a small model."""
    sketches: dict[str, Model] = {}
    built: set[str] = set()

    def build(recipe: Recipe) -> None:
        made = plan(recipe, base_defaults=task.base, runtimes=task.runtimes)
        shapes = dataclasses.replace(made, stages=tuple(dataclasses.replace(stage, epochs=0) for stage in made.stages))
        if shapes.key in built:
            return
        built.add(shapes.key)
        base = digest(made.base)
        if base not in sketches:
            sketches[base] = sketch(task, made.base)
        rehearse(shapes, sketches[base], task, context, trainer=trainer)

    space.check(build)
    for name, recipe in presets.items():
        preset = Space(recipe, root=f"presets.{name}")
        if preset.domains:
            raise AutopruneError(
                f"{next(iter(preset.domains))}: a preset is fully decided; put open values into the space."
            )
        preset.check(build)


def _reading_names(task: Task) -> list[str]:
    parts = [WHOLE, *(name for names in task.slices.values() for name in names), *task.perturbations]
    metrics = [reading_name(name, part) for name in task.metrics for part in parts]
    workloads = [f"latency_ms.{name}" for name in task.workload_names]
    return [*metrics, "quality", "worst_slice", "size_bytes", "memory_bytes", "latency_ms", *workloads]


def find_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        AutopruneError: there is none.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise unknown("study.device", name, ("cpu", "cuda"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise AutopruneError(f"study.device: {name} was asked for, but torch sees no CUDA device here; use cpu.")
    return device
