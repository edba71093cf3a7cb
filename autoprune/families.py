"""The families of models: a row each. What a row names is imported when it is first used.

To add one: a folder with its model, task and what serves it, and a row here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoprune.errors import unknown


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models of one kind. Names are `module:attribute`.

    Attributes:
        kind: as the manifest of an artifact says it.
        tasks: by name, what makes the task from its section of a config: `autoprune.tasks.task.TaskMaker`.
        serves: what answers for an artifact's parts, called with `parts` and `device`.
        formats: by name, in what other formats an artifact can be written: `autoprune.artifacts.formats.Format`.
    """

    kind: str
    tasks: Mapping[str, str]
    serves: str
    formats: Mapping[str, str] = field(default_factory=dict)

    def serve(self) -> Callable[..., Any]:
        """What answers for an artifact's parts."""
        found: Callable[..., Any] = named(self.serves)
        return found


FAMILIES = {
    row.kind: row
    for row in (
        Family(
            kind="recommender",
            tasks={
                "movielens": "autoprune.recommender.make:MOVIELENS",
                "interactions": "autoprune.recommender.make:INTERACTIONS",
            },
            serves="autoprune.recommender.served:Recommender",
        ),
        Family(
            kind="encoder",
            tasks={"encoder": "autoprune.encoder.make:ENCODER", "stsb": "autoprune.encoder.make:ENCODER"},
            serves="autoprune.encoder.served:serve_encoder",
            formats={"sentence-transformers": "autoprune.encoder.obstacles:STOCK"},
        ),
    )
}


def family(kind: object) -> Family:
    """The family of a kind.

    Raises:
        AutopruneError: this version knows none.
    """
    if kind not in FAMILIES:
        raise unknown("artifact kind", kind, FAMILIES)
    return FAMILIES[str(kind)]


def task_maker(name: object) -> Any:
    """What makes the task of a name.

    Raises:
        AutopruneError: there is no such task.
    """
    tasks = {task: maker for row in FAMILIES.values() for task, maker in row.tasks.items()}
    if name not in tasks:
        raise unknown("task.name", name, tasks)
    return named(tasks[str(name)])


def named(place: str) -> Any:
    """What `module:attribute` names."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
