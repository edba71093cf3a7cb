"""What a study is and where its data lies, as plain values from which any process can rebuild the task."""

from __future__ import annotations

import copy
import dataclasses
import operator
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.config.arguments import overridden
from autoprune.config.sections import structured
from autoprune.config.settings import StudyConfig
from autoprune.errors import AutopruneError, doing
from autoprune.families import task_maker
from autoprune.overrides import at_home, key_of
from autoprune.recipes.recipe import digest
from autoprune.record.record import Record
from autoprune.tasks.task import Task, TaskMaker

SEARCHED = ("seed", "objectives", "sampler", "device")
"""Entries of `study` that change the result of a search; the others are its budget."""


LONGEST_NAME = 150
"""Bytes. File systems allow 255, and the folders of rebuilt candidates have longer names."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A study, as another process needs it to make and measure candidates.

    Attributes:
        content: what the study is apart from its budget, as study.yaml holds it: task, data, space, presets,
            requirements, study.
        places: where the task's data lies, by override, such as `{"task.data.path": "ratings.csv"}`.
        folder: `runs/<study>`.
        latency_seconds: how long each workload is timed.
    """

    content: Mapping[str, Any]
    places: Mapping[str, Any]
    folder: Path
    latency_seconds: float

    @staticmethod
    def of_sections(sections: Mapping[str, dict[str, Any]], config: StudyConfig, task: Task) -> Definition:
        """The definition of a study that is about to begin.

        Args:
            sections: task, space, presets, requirements and study, as plain values.
            config: `sections["study"]`, parsed.
            task: made from `sections["task"]`.

        Raises:
            AutopruneError: the study's name cannot be the name of a folder.
        """
        section, located = sections["task"], _maker(sections["task"]).located
        places = {f"task.{path}": place for path in located if (place := _entry(section, path)) is not None}
        settings = _without(section, located)
        content = {
            "task": {**settings, "metric": task.metric, "data": settings.get("data", {})},
            "data": digest(task.fingerprint()),
            **{name: sections[name] for name in ("space", "presets", "requirements")},
            "study": {key: sections["study"][key] for key in SEARCHED},
        }
        name = config.name or f"{task.name}-{digest(content)[:8]}"
        check_name(name)
        folder = at_home(config.dir) / name
        return Definition(content=content, places=places, folder=folder, latency_seconds=config.latency_seconds)

    @staticmethod
    def of_record(record: Record) -> Definition:
        """The definition of a study that already exists."""
        places, seconds = record.places, record.latency_seconds
        if places is None:  # older versions recorded only the overrides
            keys = [f"task.{path}" for path in _maker(record.definition["task"]).located]
            overridden_places = {key: record.seen_from_here(overridden(record.overrides, key)) for key in keys}
            places = {key: place for key, place in overridden_places.items() if place is not None}
        if seconds is None:
            seconds = overridden(record.overrides, "study.latency_seconds")
        return Definition(
            content=record.definition,
            places=places,
            folder=record.folder,
            latency_seconds=StudyConfig.latency_seconds if seconds is None else float(seconds),
        )

    @property
    def seed(self) -> int:
        """The seed of everything random in the study."""
        return int(self.content["study"]["seed"])

    @property
    def device(self) -> str:
        """The name of the device on which models train and answer."""
        return str(self.content["study"]["device"])

    @property
    def artifacts(self) -> Path:
        """The folder with one artifact per key."""
        return self.folder / "artifacts"

    def make_task(self) -> Task:
        """Builds the task and reads its data.

        Raises:
            AutopruneError: the data has moved or changed.
        """
        section = copy.deepcopy(dict(self.content["task"]))
        for key, place in self.places.items():
            *outer, last = key.removeprefix("task.").split(".")
            inner = section
            for name in outer:
                inner = inner.setdefault(name, {})
            inner[last] = place
        known_entries = {entry.name for entry in dataclasses.fields(_maker(section).config)}
        for entry in {"metric", "data"} - known_entries:  # every definition has them, but not every task's config does
            section.pop(entry, None)
        source, name = self.folder / "study.yaml", self.folder.name
        keys = ", ".join(f"{key}=…" for key in self.places or ["task.data.path"])
        remedy = f"give its new location once when you search ({keys}; the study remembers it), or edit {source}"
        try:
            task = make_task(section)
        except AutopruneError as error:
            raise AutopruneError(
                f"study {name!r} cannot read its data again: {error}\nIf it has moved, {remedy}."
            ) from error
        then, now = self.content["data"], digest(task.fingerprint())
        if now != then:
            where = f" in {', '.join(repr(str(place)) for place in self.places.values())}" if self.places else ""
            raise AutopruneError(
                f"the data of study {name!r}{where} has changed (digest {then} then, {now} now; now "
                f"{task.describe()}): the files differ, or this version reads or splits them differently. New "
                f"measurements would not be comparable. Restore the old data or version, {remedy}, or search anew "
                "under another study.name."
            )
        return task


def make_task(section: Mapping[str, Any]) -> Task:
    """Makes the task that the section `task` of a config describes.

    Raises:
        AutopruneError: the task is unknown or cannot be made.
    """
    maker = _maker(section)
    with doing("task: its files cannot be read"):
        return maker.make(structured(maker.config, _at_home(section, maker.located), "task"))


def check_no_idle_settings(section: Mapping[str, Any], overrides: Collection[str]) -> None:
    """Refuses settings of a task that have no effect, if they were typed or differ from the default.

    Args:
        section: the section `task` of the config.
        overrides: what was typed on the command line.

    Raises:
        AutopruneError: a setting has no effect; the message says why.
    """
    maker, typed_keys = _maker(section), {key_of(override) for override in overrides}
    config, default_config = structured(maker.config, section, "task"), maker.config()
    for path, why in maker.idle(config).items():
        given, default = (operator.attrgetter(path)(one) for one in (config, default_config))
        if f"task.{path}" in typed_keys or given != default:
            raise AutopruneError(f"task.{path}: {why}, but got {given!r}; leave it out.")


def check_name(name: str) -> None:
    """Refuses a study name that cannot be the name of a folder on every system."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise AutopruneError(
            f"study.name: a name consists of letters, digits, dots, dashes and underscores, but got {name!r}."
        )
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise AutopruneError(
            f"study.name: the name of a folder has at most {LONGEST_NAME} bytes, but got {len(os.fsencode(name))}: "
            f"{name[:20]!r}…"
        )
    if re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, flags=re.IGNORECASE):
        raise AutopruneError(f"study.name: {name!r} is a device name on Windows, not a folder name; choose another.")


def _at_home(section: Mapping[str, Any], located: Collection[str], outer: str = "") -> dict[str, Any]:
    """The section with `~` expanded to the home folder in the entries at some dotted paths."""

    def expanded(value: Any) -> Any:
        if isinstance(value, list):
            return [expanded(one) for one in value]
        return str(at_home(value)) if isinstance(value, str) and value.startswith("~") else value

    return {
        key: _at_home(value, located, f"{outer}{key}.")
        if isinstance(value, Mapping)
        else expanded(value)
        if f"{outer}{key}" in located
        else value
        for key, value in section.items()
    }


def _maker(section: Mapping[str, Any]) -> TaskMaker:
    maker: TaskMaker = task_maker(section.get("name"))
    return maker


def _entry(section: Any, path: str) -> Any:
    """The entry at a dotted path; None if there is none."""
    for name in path.split("."):
        section = section.get(name) if isinstance(section, Mapping) else None
    return section


def _without(section: Mapping[str, Any], paths: Collection[str], outer: str = "") -> dict[str, Any]:
    """The section without the entries at some dotted paths, and without mappings that this leaves empty."""
    kept = {
        key: _without(value, paths, f"{outer}{key}.") if isinstance(value, Mapping) else value
        for key, value in section.items()
        if f"{outer}{key}" not in paths
    }
    return {key: value for key, value in kept.items() if value != {} or section[key] == {}}
