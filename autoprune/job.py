"""From a config to a search, and from a study on disk to its verification: what the verbs call."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from autoprune.archive import Archive
from autoprune.config import overridden, structured
from autoprune.context import Context
from autoprune.errors import AutopruneError, unknown
from autoprune.evaluate import Evaluator
from autoprune.folder import driving, open_folder
from autoprune.measurement import WHOLE
from autoprune.models.model import Model
from autoprune.profiles import load_profile
from autoprune.progress import Progress
from autoprune.recipe import digest, plan
from autoprune.record import Front, Record
from autoprune.requirements import parse_requirements
from autoprune.space import Recipe, Space
from autoprune.stages import rehearse, sketch
from autoprune.store import Store
from autoprune.study import Study, StudyConfig
from autoprune.tasks import TASKS
from autoprune.tasks.task import Task
from autoprune.train import Trainer
from autoprune.verify import unverified
from autoprune.verify import verify as verify_points


def search(
    sections: Mapping[str, dict[str, Any]],
    overrides: Sequence[str],
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    working: Callable[[str], None] = lambda words: None,
    opening: Callable[[str], None] = lambda words: None,
) -> Record:
    """Runs the study that a config describes, from where it was left; returns its record.

    Everything that can be refused is refused before anything is written.

    Args:
        sections: task, space, presets, requirements and study, as plain values.
        overrides: what was asked for on top of the defaults; kept to reproduce single candidates.
        report: called whenever a candidate is finished.
        working: called with a few words about the work in progress.
        opening: called once, with what the data is.

    Raises:
        AutopruneError: something in the config cannot be, or the study was started with another definition.
    """
    study = structured(StudyConfig, sections["study"], "study")
    study.check()
    working("reading data")
    task = _make_task(sections["task"])
    opening(task.describe())
    space = Space(sections["space"])
    context = task.context(seed=study.seed, device=_device(study.device))
    trainer = Trainer(task.training, report=working)
    requirements = parse_requirements(sections["requirements"], _reading_names(task))
    _check_recipes(task, space, sections["presets"], context, trainer)
    definition = _definition(task, sections)
    name = _study_name(study, task, definition)
    folder = Path(study.dir) / name
    open_folder(folder, definition=definition, overrides=list(overrides))
    with driving(folder):
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


def verify(
    folder: Path,
    *,
    floors: Sequence[str] = (),
    profile: str | None = None,
    everything: bool = False,
    working: Callable[[str], None] = lambda words: None,
) -> Front:
    """Measures the finalists of a study once more, on test data; returns the front with what was found.

    Args:
        folder: of the study.
        floors: in place of the study's, as `Record.with_floors` reads them.
        profile: requirements in place of the study's.
        everything: whether every candidate that has an artifact is verified, not the finalists alone.
        working: called with a few words about the work in progress.

    Raises:
        AutopruneError: another process drives the study, its data is not what it was, or an artifact is damaged.
    """
    Record(folder)  # refuses a folder that holds no study before a lock is made in it
    with driving(folder):
        record = Record(folder, Archive(folder / "archive.jsonl", mending=True))
        requirements = record.requirements(load_profile(profile) if profile else None)
        front = record.front(record.with_floors(requirements, floors))
        whole = [point for point in record.points if not point.candidate.rejected]
        points = unverified(whole if everything else front.finalists)
        if points:
            working("reading data")
            task, study = _task_again(record)
            device = _device(study.device)
            seconds = study.latency_seconds
            verify_points(record, task, points, device=device, latency_seconds=seconds, working=working)
    return Record(folder).front(front.requirements)


def _task_again(record: Record) -> tuple[Task, StudyConfig]:
    """The task of a study, on the same data, and what the study was told."""
    source = record.folder / "study.yaml"
    section = dict(record.definition["task"])
    place = overridden(record.overrides, "task.data.path")
    if place is not None:
        section["data"] = {**section["data"], "path": place}
    try:
        task = _make_task(section)
    except AutopruneError as error:
        raise AutopruneError(
            f"study {record.name!r} cannot read its data again: {error}\n"
            f"If it has moved, mend task.data.path=… among the overrides in {source}."
        ) from error
    now = digest(task.fingerprint())
    if now != record.definition["data"]:
        where = f" in {str(place)!r}" if place is not None else ""
        raise AutopruneError(
            f"study {record.name!r} was searched on other data than there is now{where} (digest "
            f"{record.definition['data']} then, {now} now; now {task.describe()}): what is measured now could not be "
            f"compared. Bring the old data back, mend task.data.path=… among the overrides in {source}, or search anew "
            "under another study.name."
        )
    told = dict(record.definition["study"])
    seconds = overridden(record.overrides, "study.latency_seconds")
    return task, structured(StudyConfig, told if seconds is None else {**told, "latency_seconds": seconds}, "study")


def _definition(task: Task, sections: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What a study is, whatever its budget: under another one it must not go on."""
    data = {key: value for key, value in sections["task"].get("data", {}).items() if key != "path"}
    searched = ("seed", "objectives", "sampler", "device")
    return {
        "task": {**sections["task"], "metric": task.metric, "data": data},
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


def _make_task(section: dict[str, Any]) -> Task:
    name = section.get("name")
    if name not in TASKS:
        raise unknown("task.name", name, TASKS)
    config_type, make = TASKS[name]
    return make(structured(config_type, section, "task"))


def _check_recipes(task: Task, space: Space, presets: Mapping[str, Any], context: Context, trainer: Trainer) -> None:
    """Builds every corner of the space and every preset on a small model."""
    sketches: dict[str, Model] = {}
    built: set[str] = set()

    def build(recipe: Recipe) -> None:
        made = plan(recipe, base_defaults=task.base)
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
    slices = [WHOLE, *(name for names in task.slices.values() for name in names)]
    metrics = [name if part == WHOLE else f"{name}.{part}" for name in task.metrics for part in slices]
    workloads = [f"latency_ms.{name}" for name in task.workload_names]
    return [*metrics, "quality", "worst_slice", "size_bytes", "memory_bytes", "latency_ms", *workloads]


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise unknown("study.device", name, ("cpu", "cuda"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise AutopruneError(f"study.device: {name} was asked for, but torch sees no CUDA device here; use cpu.")
    return device
