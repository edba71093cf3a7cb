"""The families of models: a row each. What a row names is imported when it is first used.

To add one: a folder with its model, its task and what serves it, and a row here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autoprune.errors import unknown

if TYPE_CHECKING:
    from autoprune.artifacts.formats import Format
    from autoprune.artifacts.served import Served
    from autoprune.tasks.task import TaskMaker


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models of one kind. Names are `module:attribute`.

    Attributes:
        kind: as the manifest of an artifact says it.
        serves: what answers for an artifact's parts, called with these and with `device`.
        tasks: by name, what makes the task from its section of a config: `autoprune.tasks.task.TaskMaker`.
        formats: by name, in what other formats an artifact can be written: `autoprune.artifacts.formats.Format`.
    """

    kind: str
    serves: str
    tasks: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)


FAMILIES = {
    row.kind: row
    for row in (
        Family(
            kind="recommender",
            serves="autoprune.recommender.served:Recommender",
            tasks={
                "movielens": "autoprune.recommender.make:MOVIELENS",
                "interactions": "autoprune.recommender.make:INTERACTIONS",
            },
        ),
        Family(
            kind="encoder",
            serves="autoprune.encoder.served:serve_encoder",
            tasks={"encoder": "autoprune.encoder.make:ENCODER", "stsb": "autoprune.encoder.make:STSB"},
            formats={"sentence-transformers": "autoprune.encoder.stock_format:STOCK"},
        ),
    )
}


def what_serves(kind: object) -> Callable[..., Served]:
    """What answers for the parts of artifacts of a kind.

    Raises:
        AutopruneError: this version knows none.
    """
    found: Callable[..., Served] = _named("artifact kind", kind, {row.kind: row.serves for row in FAMILIES.values()})
    return found


def task_maker(name: object) -> TaskMaker:
    """What makes the task of a name.

    Raises:
        AutopruneError: there is no such task.
    """
    tasks = {task: place for row in FAMILIES.values() for task, place in row.tasks.items()}
    found: TaskMaker = _named("task.name", name, tasks)
    return found


def family_format(name: str) -> Format:
    """The format of a name that a family brings.

    Raises:
        AutopruneError: no family brings it.
    """
    formats = {format: place for row in FAMILIES.values() for format, place in row.formats.items()}
    found: Format = _named("--format", name, formats)
    return found


def _named(what: str, name: object, places: Mapping[str, str]) -> Any:
    """The object at the place (`module:attribute`) that a name has."""
    if name not in places:
        raise unknown(what, name, places)
    module, _, attribute = places[str(name)].partition(":")
    return getattr(importlib.import_module(module), attribute)
