"""The vector tasks: one table, judged by its neighbours."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.artifacts.served import Beside, Parts
from autoprune.artifacts.tensor_file import LARGE
from autoprune.models.context import Context
from autoprune.models.remembered import Remembered
from autoprune.packing.arrays import numpy_of
from autoprune.packing.bits import narrow
from autoprune.readers.model2vec import StaticFolder
from autoprune.steps.product import MOST_ENTRIES
from autoprune.tasks.task import Task
from autoprune.vectors.benchmarks import Benchmark
from autoprune.vectors.catalogue import Catalogue
from autoprune.vectors.config import VectorsConfig
from autoprune.vectors.judging import VectorJudging, described
from autoprune.vectors.model import VectorTable
from autoprune.vectors.neighbours import nearest_of_each
from autoprune.vectors.served import TABLE, VectorIndex
from autoprune.vectors.similarity import prepared
from autoprune.vectors.slices import Facts

BATCH_ROWS, BATCHES = 512, 64
"""Rows in a batch, whose similarities with one another are learned, and most batches in an epoch."""

ENCODED = 32
"""Encoded sets of ids that are cached: the recipes of a search often share a cut of rows."""

BATCH_QUERIES = 64

BY_FREQUENCY = ("rows", "mixed", "tiers", "by_frequency")
"""Steps that need to know how often rows are looked up."""

OF_CODEBOOKS = "product"
"""The step that needs at least as many rows as its codebooks have entries (by default `MOST_ENTRIES`)."""


class VectorsTask(VectorJudging, Task[VectorTable, VectorIndex]):
    """Searches for the nearest of many vectors, and looks up the vector of an id.

    Training is distillation: it keeps the similarities within a batch of rows near those of the dense vectors.

    Args:
        config: the settings.
        catalogue: the dense vectors.
        benchmarks: the benchmarks that judge them.
        facts: properties of askers, from which slices are made.
        folder: the folder of model2vec that the vectors came from; artifacts keep its tokenizer for exports.
        notes: what was left out of the files, for people.
    """

    workload_names: tuple[str, ...] = ("single", "batch")
    unit = "unit"

    def __init__(
        self,
        config: VectorsConfig,
        catalogue: Catalogue,
        benchmarks: Sequence[Benchmark],
        facts: Facts,
        *,
        folder: StaticFolder | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.name = config.name
        self.config, self.catalogue, self._notes = config, catalogue, (*catalogue.notes, *notes)
        self.training = config.training
        self.base: dict[str, Any] = {}
        self._remembered = Remembered()
        self._encode_ids = lru_cache(ENCODED)(self._encoded_ids)
        self._pointers = lru_cache(ENCODED)(self._pointers_of)
        order = {} if catalogue.order is None else {"order": catalogue.order.to(torch.int32).numpy()}
        self._beside = Beside(
            values={} if folder is None else {"model2vec": {"tokenizer": folder.tokenizer, "config": folder.config}},
            tensors={"ids": self._encode_ids(None), **order},
        )
        dense = VectorIndex(self.parts(self.model({}, seed=0)))
        super().__init__(benchmarks, facts=facts, dense=dense, metric=config.metric)

    def describe(self) -> str:
        no_counts = "how often each is looked up is not known (task.counts), so that all stay; "
        summary = (
            f"{len(self.catalogue):,} vectors of {self.catalogue.width} dimensions ({self.catalogue.where}); "
            f"{no_counts if self.catalogue.counts is None else ''}judged by {described(self.benchmarks)}"
        )
        return "; ".join([summary, *self._notes])

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        settings = {name: getattr(self.config, name) for name in ("name", "similarity", "neighbours", "judged", "seed")}
        settings["training"] = dataclasses.asdict(self.config.training)
        digest = hashlib.sha256(self.catalogue.ids.content)
        order = torch.arange(len(self.catalogue)) if self.catalogue.order is None else self.catalogue.order
        content: list[object] = [self.catalogue.vectors, order, self.catalogue.counts]
        content += [json.dumps(self._beside.values, sort_keys=True)] if self._beside.values else []
        for benchmark in self.benchmarks:
            content += [benchmark.name, *benchmark.content()]
        for part in content:
            digest.update(part.contiguous().numpy().data if isinstance(part, Tensor) else repr(part).encode())
        return f"{digest.hexdigest()} {json.dumps(settings, sort_keys=True)}"

    def context(self, *, seed: int, device: torch.device) -> Context:
        counts = self.catalogue.counts
        return Context(seed=seed, device=device, frequency={} if counts is None else {f"rows.{TABLE}": counts})

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """A space or recipe without the steps that these vectors do not allow.

        Without counts, steps by frequency are removed, and so are codebooks with more entries than rows. The default
        space and presets use `MOST_ENTRIES`, so with fewer rows they lose `product`; a space that offers fewer entries
        keeps those that fit. The codes of a large table are not entropy-coded, since their file is to be mapped, so
        rates are removed too.
        """
        allowed = _without(recipe, () if self.catalogue.counts is not None else BY_FREQUENCY)
        fitting = _with_codebooks(allowed, rows=len(self.catalogue))
        return _without_rates(fitting) if self.catalogue.vectors.numel() >= LARGE else fitting

    def model(self, base: Mapping[str, Any], *, seed: int) -> VectorTable:
        return VectorTable(self.catalogue.vectors, similarity=self.config.similarity, known=self._remembered)

    def batches(self) -> Sequence[Tensor]:
        order = torch.randperm(len(self.catalogue))
        return torch.split(order[: BATCH_ROWS * BATCHES], BATCH_ROWS)

    def loss(self, model: VectorTable, batch: Tensor) -> Tensor:
        """The relative squared error of the products of rows within a batch; the products determine distances too."""
        table, similarity = model.tables[TABLE], self.config.similarity
        rows = table.rows_of(batch.to(table.index.device))
        if not bool((rows >= 0).any()):  # all rows of a small batch may have been removed
            return table.weight.sum() * 0
        vectors = prepared(table.values(rows[rows >= 0]), similarity)
        dense = prepared(self.catalogue.vectors[batch].to(vectors.device)[rows >= 0], similarity)
        target = dense @ dense.T
        error: Tensor = (vectors @ vectors.T - target).square().mean() / target.square().mean().clamp_min(1e-12)
        return error

    def beside(self) -> Beside:
        return self._beside

    def parts(self, model: VectorTable, runtime: str = "") -> Parts:
        parts = dataclasses.replace(super().parts(model, runtime), blocks=model.made_while_written)
        index = model.tables[TABLE].index.cpu().numpy()
        tensors = {"ids": self._encode_ids(None if len(index) == len(self.catalogue) else index.tobytes())}
        if model.turned:
            # With codes, float16 is precise enough, except for distances, which are small differences.
            half = model.entropy and self.config.similarity != "euclidean"
            tensors["projection"] = numpy_of(model.projection.half() if half else model.projection)
        if model.points and len(index) < len(self.catalogue):
            tensors |= self._pointers(index.tobytes())
        return dataclasses.replace(parts, tensors={**parts.tensors, **tensors})

    def _encoded_ids(self, index: bytes | None) -> np.ndarray[Any, Any]:
        """The encoded ids of some rows (the bytes of int64 [n]; None: of all rows)."""
        if index is None:
            return self.catalogue.ids.encode()
        return self.catalogue.ids.take(np.frombuffer(index, dtype=np.int64)).encode()

    def _pointers_of(self, index: bytes) -> dict[str, np.ndarray[Any, Any]]:
        """The ids of removed rows, and the nearest remaining row of each.

        Nearest by the cosine of the dense vectors, or else by distance: by `dot`, long rows would be near to all.

        Args:
            index: the remaining rows, the bytes of int64 [n].
        """
        kept = torch.from_numpy(np.frombuffer(index, dtype=np.int64).copy())
        removed = torch.ones(len(self.catalogue), dtype=torch.bool).index_fill(0, kept, False).nonzero()[:, 0]
        likeness = "cosine" if self.config.similarity == "cosine" else "euclidean"
        rows = nearest_of_each(self.catalogue.vectors, removed, kept, similarity=likeness, pause=self.pause)
        return {
            "pointing": self.catalogue.ids.take(removed.numpy()).encode(),
            "pointers": narrow(rows, len(kept) - 1),
        }

    def workloads(self, served: VectorIndex) -> dict[str, Callable[[], object]]:
        """`single`: the ids of one vector's 10 neighbours; `batch`: the rows of those of 64 vectors."""
        draw = np.random.default_rng(0).integers(len(self.catalogue), size=BATCH_QUERIES)
        queries = self.catalogue.vectors.numpy()[draw]
        turn, alone = {"next": 0}, len(queries) - 1  # odd, since only every second or fourth request is timed

        def single() -> object:
            turn["next"] = (turn["next"] + 1) % alone
            return served.search(queries[turn["next"]], k=10)

        return {"single": single, "batch": lambda: served.topk(queries, 10)[1]}


def _without(recipe: Mapping[str, Any], steps: Sequence[str]) -> dict[str, Any]:
    """A space or a recipe without some steps at any depth; a step that may rank rows by norm keeps only that."""
    kept: dict[str, Any] = {}
    for name, value in recipe.items():
        importance = value.get("importance") if isinstance(value, Mapping) else None
        offered = importance.get("any_of", ()) if isinstance(importance, Mapping) else [importance]
        if name not in steps:
            kept[name] = _without(value, steps) if isinstance(value, Mapping) else value
        elif "norm" in offered:
            kept[name] = {**value, "importance": "norm"}
    return kept


def _with_codebooks(recipe: Mapping[str, Any], *, rows: int) -> dict[str, Any]:
    """A space or a recipe whose codebooks have at most as many entries as there are rows; others are removed."""
    kept: dict[str, Any] = {}
    for name, value in recipe.items():
        if name != OF_CODEBOOKS or not isinstance(value, Mapping):
            kept[name] = _with_codebooks(value, rows=rows) if isinstance(value, Mapping) else value
            continue
        entries = _at_most(value.get("entries", MOST_ENTRIES), rows)
        if entries is not None:
            kept[name] = {**value, "entries": entries} if "entries" in value else dict(value)
    return kept


def _without_rates(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A space or a recipe without rates (`bits` that are floats), and without steps that have nothing else."""
    kept: dict[str, Any] = {}
    for name, value in recipe.items():
        if not isinstance(value, Mapping) or "bits" not in value:
            kept[name] = _without_rates(value) if isinstance(value, Mapping) else value
            continue
        match value["bits"]:
            case float():
                continue
            case {"any_of": [*options]}:
                whole = [bits for bits in options if not isinstance(bits, float)]
                if whole:
                    kept[name] = {**value, "bits": {"any_of": whole}}
            case _:
                kept[name] = dict(value)
    return kept


def _at_most(entries: Any, most: int) -> Any:
    """A number, choice or range limited to at most `most`; None if nothing is left."""
    match entries:
        case int():
            return entries if entries <= most else None
        case {"any_of": [*options]}:
            fitting = [option for option in options if not isinstance(option, int) or option <= most]
            return {**entries, "any_of": fitting} if fitting else None
        case {"int": [int(low), int(high)]}:
            return {**entries, "int": [low, min(high, most)]} if low <= most else None
    return entries  # anything else is refused later
