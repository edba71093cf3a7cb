"""What a study is and where its data lies: plain values, from which any process can make the task again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.config import overridden, structured
from autoprune.errors import AutopruneError
from autoprune.families import task_maker
from autoprune.recipes.recipe import digest
from autoprune.record.record import Record
from autoprune.study.settings import StudyConfig
from autoprune.tasks.task import Task, TaskMaker

LOCATED = ("path", "model", "texts", "pairs", "retrieval", "classification")
"""Entries of a task that say where something lies. What lies there is hashed, so they are no part of a definition."""

SEARCHED = ("seed", "objectives", "sampler", "device")
"""Entries of `study` that change what is found; the others are budget."""


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
        section = sections["task"]
        content = {
            "task": {**_unplaced(section), "metric": task.metric, "data": _unplaced(section.get("data", {}))},
            "data": digest(task.fingerprint()),
            **{name: sections[name] for name in ("space", "presets", "requirements")},
            "study": {key: sections["study"][key] for key in SEARCHED},
        }
        name = config.name or f"{task.name}-{digest(content)[:8]}"
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise AutopruneError(
                f"study.name: letters, digits, dots, dashes and underscores make a name, but got {name!r}."
            )
        held = {"task": section, "task.data": section.get("data", {})}
        places = {
            f"{path}.{entry}": values[entry]
            for entry in LOCATED
            for path, values in held.items()
            if values.get(entry) is not None
        }
        folder = Path(config.dir) / name
        return Definition(content=content, places=places, folder=folder, latency_seconds=config.latency_seconds)

    @staticmethod
    def of_record(record: Record) -> Definition:
        """The definition of a study that was begun before."""
        keys = [f"{path}.{entry}" for entry in LOCATED for path in ("task", "task.data")]
        found = {key: overridden(record.overrides, key) for key in keys}
        seconds = overridden(record.overrides, "study.latency_seconds")
        return Definition(
            content=record.definition,
            places={key: place for key, place in found.items() if place is not None},
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
        section = {**self.content["task"], "data": dict(self.content["task"].get("data") or {})}
        for key, place in self.places.items():
            (section["data"] if key.startswith("task.data.") else section)[key.rpartition(".")[2]] = place
        for added in ("metric", "data"):  # every definition says them, but a task may take no such entry
            if added not in _entries_of(section["name"]):
                del section[added]
        source, name = self.folder / "study.yaml", self.folder.name
        keys = ", ".join(f"{key}=…" for key in self.places or ["task.data.path"])
        try:
            task = make_task(section)
        except AutopruneError as error:
            raise AutopruneError(
                f"study {name!r} cannot read its data again: {error}\n"
                f"If it has moved, mend {keys} among the overrides in {source}."
            ) from error
        then, now = self.content["data"], digest(task.fingerprint())
        if now != then:
            where = f" in {', '.join(repr(str(place)) for place in self.places.values())}" if self.places else ""
            raise AutopruneError(
                f"study {name!r} was searched on other data than there is now{where} (digest {then} then, {now} now; "
                f"now {task.describe()}): what is measured now could not be compared. Bring the old data back, mend "
                f"{keys} among the overrides in {source}, or search anew under another study.name."
            )
        return task


def _entries_of(task: str) -> set[str]:
    """What the config of a task can say."""
    maker: TaskMaker = task_maker(task)
    return {entry.name for entry in dataclasses.fields(maker.config)}


def make_task(section: Mapping[str, Any]) -> Task:
    """The task of a config's section.

    Raises:
        AutopruneError: it is unknown, or cannot be made.
    """
    maker: TaskMaker = task_maker(section.get("name"))
    return maker.make(structured(maker.config, section, "task"))


def _unplaced(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key not in LOCATED}
