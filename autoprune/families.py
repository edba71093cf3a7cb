"""The families of models, one row each. A row holds only names; the objects they name are imported on first use.

To add a family, add a folder with its model, its task and the class that serves it, and a row here. Its settings go
into `conf/task/`, and pyproject.toml must list the folder so that the wheel contains it.
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
    """Models of one kind. Objects are named as `module:attribute`.

    Attributes:
        kind: the `kind` in an artifact's manifest.
        serves: the class or function that turns an artifact's parts and a `device` into a served model.
        tasks: the `autoprune.tasks.task.TaskMaker` of each task, by task name.
        needs: a package that its artifacts need to answer, and the extra that installs it.
        formats: the family's own formats for artifacts, by name: `autoprune.artifacts.formats.Format`.
        hands_over: whether its models export their tables (`Served.exported`), so that `TABLE_FORMATS` can write them.
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
"""Formats that can write the tables of any family that exports them."""

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
    """The class or function that serves artifacts of a kind: given their parts and a device, it returns a `Served`.

    Raises:
        AutopruneError: this version does not know the kind, or a package that it needs is not installed.
    """
    family = FAMILIES.get(str(kind))
    if family and family.needs:
        need(*family.needs, f"an artifact of the kind {kind!r}")
    return _named("artifact kind", kind, {row.kind: row.serves for row in FAMILIES.values()})


def task_maker(name: object) -> Any:
    """The `TaskMaker` of a task, by the task's name.

    Raises:
        AutopruneError: there is no such task.
    """
    return _named("task.name", name, {task: place for row in FAMILIES.values() for task, place in row.tasks.items()})


def formats_of(family: Family) -> dict[str, str]:
    """The formats that a family's artifacts can be written in besides autoprune's own, by name."""
    return {**family.formats, **(TABLE_FORMATS if family.hands_over else {})}


def kinds_of(format: str) -> list[str]:
    """The kinds of artifacts that can be written in a format."""
    return [kind for kind, row in FAMILIES.items() if format in formats_of(row)]


def family_format(name: str) -> Any:
    """The `Format` of that name, defined by a family.

    Raises:
        AutopruneError: no family defines it.
    """
    places = {format: place for row in FAMILIES.values() for format, place in formats_of(row).items()}
    return _named("--format", name, places)


def _named(what: str, name: object, places: Mapping[str, str]) -> Any:
    """The object that a name stands for; `places` maps names to `module:attribute`."""
    if name not in places:
        raise unknown(what, name, places)
    module, _, attribute = places[str(name)].partition(":")
    return getattr(importlib.import_module(module), attribute)
