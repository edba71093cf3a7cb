"""The families of models: a row each. A row holds names alone; what they name is imported when it is first used.

To add one: a folder with its model, its task and what serves it, and a row here. What people can set stands in
`conf/task/`, and pyproject.toml lists the folder for the wheel.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoprune.errors import unknown
from autoprune.extras import need


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models of one kind. Names are `module:attribute`.

    Attributes:
        kind: as the manifest of an artifact says it.
        serves: what answers for an artifact's parts, called with these and with `device`.
        tasks: by name, what makes the task from its section of a config: `autoprune.tasks.task.TaskMaker`.
        needs: a package without which its artifacts cannot answer, and the extra that brings it.
        formats: by name, in what formats of its own an artifact can be written: `autoprune.artifacts.formats.Format`.
        hands_over: whether it hands its tables over (`Served.exported`), so that `TABLE_FORMATS` can write them.
    """

    kind: str
    serves: str
    tasks: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, str] | None = None
    formats: Mapping[str, str] = field(default_factory=dict)
    hands_over: bool = False


TABLE_FORMATS = {
    "numpy": "autoprune.exports.arrays:NUMPY",
    "safetensors": "autoprune.exports.arrays:SAFETENSORS",
    "parquet": "autoprune.exports.arrays:PARQUET",
    "faiss": "autoprune.exports.faiss_index:FAISS",
}
"""The formats of tables, whichever family they come from."""

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
            hands_over=True,
        ),
        Family(
            kind="encoder",
            serves="autoprune.encoder.serve:serve_encoder",
            tasks={
                "encoder": "autoprune.encoder.make:ENCODER",
                "stsb": "autoprune.encoder.make:STSB",
                "reranker": "autoprune.encoder.reranker.make:RERANKER",
            },
            formats={
                "sentence-transformers": "autoprune.encoder.stock_format:STOCK",
                "onnx": "autoprune.encoder.onnx.format:ONNX",
                "cross-encoder": "autoprune.encoder.reranker.stock_format:CROSS_ENCODER",
            },
        ),
        Family(
            kind="vectors",
            serves="autoprune.vectors.served:VectorIndex",
            tasks={"vectors": "autoprune.vectors.make:VECTORS", "words": "autoprune.vectors.make:WORDS"},
            formats={
                "word2vec": "autoprune.vectors.formats:WORD2VEC",
                "model2vec": "autoprune.vectors.static_format:MODEL2VEC",
            },
            hands_over=True,
        ),
        Family(
            kind="module",
            serves="autoprune.module.served:ServedModule",
            needs=("torch", "search"),
            tasks={"module": "autoprune.module.make:MODULE"},
        ),
    )
}


def what_serves(kind: object) -> Any:
    """What answers for the parts of artifacts of a kind: called with these and a device, it gives a `Served`.

    Raises:
        AutopruneError: this version knows none, or a package that it needs is not installed.
    """
    known = FAMILIES.get(str(kind))
    if known and known.needs:
        need(*known.needs, f"an artifact of the kind {kind!r}")
    return _named("artifact kind", kind, {row.kind: row.serves for row in FAMILIES.values()})


def task_maker(name: object) -> Any:
    """What makes the task of a name, a `TaskMaker`.

    Raises:
        AutopruneError: there is no such task.
    """
    return _named("task.name", name, {task: place for row in FAMILIES.values() for task, place in row.tasks.items()})


def formats_of(family: Family) -> dict[str, str]:
    """By name, in what formats the artifacts of a family can be written, beside autoprune's own."""
    return {**family.formats, **(TABLE_FORMATS if family.hands_over else {})}


def kinds_of(format: str) -> list[str]:
    """The kinds of artifacts that can be written in a format."""
    return [kind for kind, row in FAMILIES.items() if format in formats_of(row)]


def family_format(name: str) -> Any:
    """The `Format` of a name that a family brings.

    Raises:
        AutopruneError: no family brings it.
    """
    places = {form: place for row in FAMILIES.values() for form, place in formats_of(row).items()}
    return _named("--format", name, places)


def _named(what: str, name: object, places: Mapping[str, str]) -> Any:
    """The object at the place (`module:attribute`) that a name has."""
    if name not in places:
        raise unknown(what, name, places)
    module, _, attribute = places[str(name)].partition(":")
    return getattr(importlib.import_module(module), attribute)
