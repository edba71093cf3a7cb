"""From a composed config to a search, and from a study on disk to its task. The one file that knows Hydra's config."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from autoprune.archive import Archive
from autoprune.context import Context
from autoprune.errors import AutopruneError, nearest, unknown
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

CONFIG_MODULE = "autoprune.conf"

OVERRIDE = re.compile(r"\+{0,2}[\w@/.]+=|~[\w@/.]+(=|$)")

GROUP_VALUE = re.compile(r"\+{0,2}(task|space|presets|requirements|study)=[\[{]")

FREE = re.compile(r"(requirements|presets)\.")
"""Sections that hold what people name: a key need not be there to be set."""

REQUIREMENT = re.compile(r"\+{0,2}requirements\.(\w+[@.][\w@.]+)\.(drop|min|max)=(.*)")
"""A requirement on a metric or slice whose name Hydra cannot parse."""

SECTIONS = ("task", "space", "presets", "requirements", "study")


def hydra_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """What people write, split into what Hydra can read and requirements that it cannot.

    Hydra wants a `+` before new keys, has no `@` or second dot in a key, and takes flags before overrides only.

    Returns:
        The words for Hydra, and words such as `requirements.recall@20.min=0.2` for `require`.

    Raises:
        AutopruneError: a word is neither a flag, nor belongs to one, nor key=value.
    """
    for word in words:
        if not word.startswith("-") and "=" in word and not OVERRIDE.match(word):
            raise AutopruneError(f"{word!r}: an override is written key=value. autoprune --help explains.")
        if GROUP_VALUE.match(word):
            raise AutopruneError(
                f"{word!r}: the name of a file in its folder of conf/ is chosen here; set single keys one by one."
            )
    ours = [word for word in words if REQUIREMENT.match(word)]
    theirs = [f"++{word}" if FREE.match(word) else word for word in words if word not in ours]
    return sorted(theirs, key=lambda word: OVERRIDE.match(word) is not None), ours


def require(config: DictConfig, words: Sequence[str]) -> None:
    """Puts requirements from the command line in their place in a composed config."""
    requirements = dict(_plain(config.requirements))
    for word in words:
        match = REQUIREMENT.match(word)
        assert match is not None, "only what hydra_words returned is put in place"
        requirements[match[1]] = {**(requirements.get(match[1]) or {}), match[2]: match[3]}
    with open_dict(config):
        config.requirements = OmegaConf.create(requirements)


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The config that a list of overrides gives, as on the command line.

    Raises:
        AutopruneError: an override names what is not there, or cannot be read.
    """
    words, requirements = hydra_words(overrides)
    with readable_errors():
        GlobalHydra.instance().clear()
        with initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            config = compose("config", overrides=words)
        require(config, requirements)
        return config


def search(
    config: DictConfig,
    overrides: Sequence[str],
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    working: Callable[[str], None] = lambda words: None,
    opening: Callable[[str], None] = lambda words: None,
) -> Record:
    """Runs the study that a config describes, from where it was left; returns its record.

    Everything that can be refused is refused before anything is written.

    Args:
        config: task, space, presets, requirements and study.
        overrides: what was asked for on top of the defaults; kept to reproduce single candidates.
        report: called whenever a candidate is finished.
        working: called with a few words about the work in progress.
        opening: called once, with what the data is.

    Raises:
        AutopruneError: something in the config cannot be, or the study was started with another definition.
    """
    sections = _sections(config)
    study = _structured(StudyConfig, sections["study"], "study")
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
    place = _overridden(record.overrides, "task.data.path")
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
    seconds = _overridden(record.overrides, "study.latency_seconds")
    return task, _structured(StudyConfig, told if seconds is None else {**told, "latency_seconds": seconds}, "study")


def _overridden(overrides: Sequence[str], key: str) -> Any:
    """The value that a list of overrides ends up giving a key; None where it gives none."""
    words = [word for word in overrides if re.match(rf"\+{{0,2}}{re.escape(key)}=", word)]
    return OverridesParser.create().parse_override(words[-1]).value() if words else None


def _sections(config: DictConfig) -> dict[str, dict[str, Any]]:
    for key in config:
        if key not in SECTIONS:
            raise unknown("config section", key, SECTIONS)
    for name in SECTIONS:
        if config[name] is not None and not OmegaConf.is_dict(config[name]):
            raise AutopruneError(f"{name}: a mapping must be given, but got {config[name]!r}.")
    return {name: _plain(config[name]) for name in SECTIONS}


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
    return make(_structured(config_type, section, "task"))


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


def _structured(schema: type[Any], section: Mapping[str, Any], where: str) -> Any:
    """A config dataclass filled from a mapping; wrong types and unknown keys name their path."""
    _refuse_unknown(schema, section, where)
    with readable_errors(where):
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(dict(section))))


def _refuse_unknown(schema: type[Any], section: Mapping[str, Any], where: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(schema)}
    defaults = schema()
    for key, value in section.items():
        if key not in fields:
            raise AutopruneError(f"{where}.{key}: there is no such entry. {nearest(key, fields)}")
        inner = getattr(defaults, str(key))
        if dataclasses.is_dataclass(inner) and isinstance(value, Mapping):
            _refuse_unknown(type(inner), value, f"{where}.{key}")


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


def _plain(node: Any) -> dict[str, Any]:
    with readable_errors():
        content = OmegaConf.to_container(node, resolve=True) if node is not None else {}
    assert isinstance(content, dict), "every section of the config is a mapping"
    return {str(key): value for key, value in content.items()}


def _neighbours(path: str) -> str:
    """What the default config holds beside the first unknown part of a path."""
    node: Any = OmegaConf.to_container(compose_config([]))
    for part in path.split("."):
        if not isinstance(node, dict) or part not in node:
            return nearest(part, node if isinstance(node, dict) else ())
        node = node[part]
    return f"{path} itself is there, but its value names what is not; ~{path} takes it out, ++{path}=… puts another in."


@contextmanager
def readable_errors(where: str = "") -> Iterator[None]:
    """Turns Hydra's and OmegaConf's errors into ours: one message, with the nearest names."""
    try:
        yield
    except MissingConfigException as error:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        raise AutopruneError(
            f"{group}={option}: there is no such {group}. {nearest(option, error.options or [])}"
        ) from error
    except OmegaConfBaseException as error:
        key = ".".join(part for part in (where, str(error.full_key or "")) if part)
        raise AutopruneError(f"{key or 'config'}: {str(error.msg or error).splitlines()[0]}") from error
    except ConfigCompositionException as error:
        missing = re.match(r"Could not override '([^']*)'", str(error))
        if missing is None:
            raise AutopruneError(" ".join(str(error).split())) from error
        raise AutopruneError(f"{missing[1]}: there is no such entry. {_neighbours(missing[1])}") from error
    except HydraException as error:
        raise AutopruneError(" ".join(str(error).split())) from error
