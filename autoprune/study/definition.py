"""What a study is and where its data lies: plain values, from which any process can make the task again."""

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
from autoprune.errors import AutopruneError, doing
from autoprune.families import task_maker
from autoprune.overrides import at_home, key_of
from autoprune.recipes.recipe import digest
from autoprune.record.record import Record
from autoprune.study.settings import StudyConfig
from autoprune.tasks.task import Task, TaskMaker

SEARCHED = ("seed", "objectives", "sampler", "device")
"""Entries of `study` that change what is found; the others are budget."""


LONGEST_NAME = 150
"""Bytes. File systems take 255; folders beside it have longer names."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A study, as another process needs it to make and measure candidates.

    Attributes:
        content: what the study is, whatever its budget, as study.yaml holds it: task, data, space, presets,
            requirements, study.
        places: where the task's data lies, by override: `{"task.data.path": "ratings.csv"}`.
        folder: `runs/<study>`.
        latency_seconds: for how long each workload is timed.
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
            config: what `sections["study"]` says.
            task: what `sections["task"]` says.

        Raises:
            AutopruneError: the study has a name that cannot be one of a folder.
        """
        section, located = sections["task"], _maker(sections["task"]).located
        places = {f"task.{path}": place for path in located if (place := _entry(section, path)) is not None}
        told = _without(section, located)
        content = {
            "task": {**told, "metric": task.metric, "data": told.get("data", {})},
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
        """The definition of a study that was begun before."""
        places, seconds = record.places, record.latency_seconds
        if places is None:  # older versions wrote down no more than the overrides
            keys = [f"task.{path}" for path in _maker(record.definition["task"]).located]
            found = {key: record.seen_from_here(overridden(record.overrides, key)) for key in keys}
            places = {key: place for key, place in found.items() if place is not None}
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
        """Of everything random in the study."""
        return int(self.content["study"]["seed"])

    @property
    def device(self) -> str:
        """The name of the device that models train and answer on."""
        return str(self.content["study"]["device"])

    @property
    def artifacts(self) -> Path:
        """The folder of the artifacts, one by key."""
        return self.folder / "artifacts"

    def make_task(self) -> Task:
        """The task, its data read again.

        Raises:
            AutopruneError: the data is not where it was, or is not what it was.
        """
        section = copy.deepcopy(dict(self.content["task"]))
        for key, place in self.places.items():
            *outer, last = key.removeprefix("task.").split(".")
            held = section
            for name in outer:
                held = held.setdefault(name, {})
            held[last] = place
        entries = {entry.name for entry in dataclasses.fields(_maker(section).config)}
        for added in {"metric", "data"} - entries:  # every definition says them, but a task may take no such entry
            section.pop(added, None)
        source, name = self.folder / "study.yaml", self.folder.name
        keys = ", ".join(f"{key}=…" for key in self.places or ["task.data.path"])
        mend = f"give its search the new place once ({keys}), which is then remembered, or mend it in {source}"
        try:
            task = make_task(section)
        except AutopruneError as error:
            raise AutopruneError(
                f"study {name!r} cannot read its data again: {error}\nIf it has moved, {mend}."
            ) from error
        then, now = self.content["data"], digest(task.fingerprint())
        if now != then:
            where = f" in {', '.join(repr(str(place)) for place in self.places.values())}" if self.places else ""
            raise AutopruneError(
                f"study {name!r} was searched on other data than there is now{where} (digest {then} then, {now} now; "
                f"now {task.describe()}): the files differ, or this version reads or splits them otherwise. "
                f"What is measured now could not be compared. Bring the old data or version back, {mend}, or search "
                "anew under another study.name."
            )
        return task


def make_task(section: Mapping[str, Any]) -> Task:
    """The task of a config's section.

    Raises:
        AutopruneError: it is unknown, or cannot be made.
    """
    maker = _maker(section)
    with doing("task: what it is made of cannot be read"):
        return maker.make(structured(maker.config, _at_home(section, maker.located), "task"))


def check_told(section: Mapping[str, Any], overrides: Collection[str]) -> None:
    """Refuses what people tell a task without effect: what they typed, or what is not the default.

    Args:
        section: the config's.
        overrides: what was typed.

    Raises:
        AutopruneError: there is such an entry; the message says why it has no effect.
    """
    maker, typed = _maker(section), {key_of(override) for override in overrides}
    config, usual = structured(maker.config, section, "task"), maker.config()
    for path, why in maker.idle(config).items():
        given, default = (operator.attrgetter(path)(one) for one in (config, usual))
        if f"task.{path}" in typed or given != default:
            raise AutopruneError(f"task.{path}: {why}, but got {given!r}; leave it out.")


def check_name(name: str) -> None:
    """Refuses what is no name of a folder on every system."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise AutopruneError(
            f"study.name: letters, digits, dots, dashes and underscores make a name, but got {name!r}."
        )
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise AutopruneError(
            f"study.name: at most {LONGEST_NAME} bytes make a name of a folder, but got {len(os.fsencode(name))}: "
            f"{name[:20]!r}…"
        )
    if re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, flags=re.IGNORECASE):
        raise AutopruneError(f"study.name: {name!r} names a device on Windows, and no folder; take another.")


def _at_home(section: Mapping[str, Any], located: Collection[str], outer: str = "") -> dict[str, Any]:
    """The same section with the home folder in place of `~` in what stands at dotted paths."""

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
    found: TaskMaker = task_maker(section.get("name"))
    return found


def _entry(section: Any, path: str) -> Any:
    """What stands at a dotted path; None where nothing does."""
    for name in path.split("."):
        section = section.get(name) if isinstance(section, Mapping) else None
    return section


def _without(section: Mapping[str, Any], paths: Collection[str], outer: str = "") -> dict[str, Any]:
    """The same section without what stands at dotted paths, and without mappings of which nothing is left."""
    kept = {
        key: _without(value, paths, f"{outer}{key}.") if isinstance(value, Mapping) else value
        for key, value in section.items()
        if f"{outer}{key}" not in paths
    }
    return {key: value for key, value in kept.items() if value != {} or section[key] == {}}
