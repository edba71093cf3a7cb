"""The tasks of vectors: one table, judged by what is found near what."""

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
"""Rows whose similarities with one another an update learns, and updates of an epoch at most."""

ENCODED = 32
"""Sets of ids that are kept compressed: recipes of a search often share a cut of rows."""

BATCH_QUERIES = 64

BY_FREQUENCY = ("rows", "mixed", "tiers", "by_frequency")
"""Steps that ask how often rows are looked up."""

OF_CODEBOOKS = "product"
"""The step that wants a row for each entry of its codebooks: `MOST_ENTRIES`, where nothing else is said."""


class VectorsTask(VectorJudging, Task[VectorTable, VectorIndex]):
    """Finds the nearest of many vectors, and gives the vector of an id.

    Training is distillation: similarities within a batch of rows are to be those of the dense vectors.

    Args:
        config: what it is told.
        catalogue: the dense vectors.
        benchmarks: what they are judged by.
        facts: what is known of what asks, for slices.
        folder: of model2vec, that the vectors came from; its tokenizer lies beside artifacts, to be written again.
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
        self._known = Remembered()
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
        known = "how often each is looked up is not known (task.counts), so that all stay; "
        found = (
            f"{len(self.catalogue):,} vectors of {self.catalogue.width} dimensions ({self.catalogue.where}); "
            f"{known if self.catalogue.counts is None else ''}judged by {described(self.benchmarks)}"
        )
        return "; ".join([found, *self._notes])

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        settings = {name: getattr(self.config, name) for name in ("name", "similarity", "neighbours", "judged", "seed")}
        settings["training"] = dataclasses.asdict(self.config.training)
        found = hashlib.sha256(self.catalogue.ids.content)
        order = torch.arange(len(self.catalogue)) if self.catalogue.order is None else self.catalogue.order
        held: list[object] = [self.catalogue.vectors, order, self.catalogue.counts]
        held += [json.dumps(self._beside.values, sort_keys=True)] if self._beside.values else []
        for one in self.benchmarks:
            held += [one.name, *one.content()]
        for part in held:
            found.update(part.contiguous().numpy().data if isinstance(part, Tensor) else repr(part).encode())
        return f"{found.hexdigest()} {json.dumps(settings, sort_keys=True)}"

    def context(self, *, seed: int, device: torch.device) -> Context:
        counts = self.catalogue.counts
        return Context(seed=seed, device=device, frequency={} if counts is None else {f"rows.{TABLE}": counts})

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Without what asks how often rows are looked up, where nobody knows, and codebooks larger than the table.

        Of a table whose codes are not entropy-coded, since their file is to be mapped, rates are gone as well.
        The default space and presets ask for `MOST_ENTRIES`, so that of fewer rows `product` is gone from them. A space
        that offers fewer entries keeps what fits.
        """
        known = _without(recipe, () if self.catalogue.counts is not None else BY_FREQUENCY)
        found = _with_codebooks(known, rows=len(self.catalogue))
        return _without_rates(found) if self.catalogue.vectors.numel() >= LARGE else found

    def model(self, base: Mapping[str, Any], *, seed: int) -> VectorTable:
        return VectorTable(self.catalogue.vectors, similarity=self.config.similarity, known=self._known)

    def batches(self) -> Sequence[Tensor]:
        order = torch.randperm(len(self.catalogue))
        return torch.split(order[: BATCH_ROWS * BATCHES], BATCH_ROWS)

    def loss(self, model: VectorTable, batch: Tensor) -> Tensor:
        """The mean squared error of similarities within a batch; of cosine, distances too are told by products."""
        table, similarity = model.tables[TABLE], self.config.similarity
        rows = table.rows_of(batch.to(table.index.device))
        if not bool((rows >= 0).any()):  # of a small batch all may have gone
            return table.weight.sum() * 0
        found = prepared(table.values(rows[rows >= 0]), similarity)
        right = prepared(self.catalogue.vectors[batch].to(found.device)[rows >= 0], similarity)
        wanted = right @ right.T
        error: Tensor = (found @ found.T - wanted).square().mean() / wanted.square().mean().clamp_min(1e-12)
        return error

    def beside(self) -> Beside:
        return self._beside

    def parts(self, model: VectorTable, runtime: str = "") -> Parts:
        found = dataclasses.replace(super().parts(model, runtime), blocks=model.made_while_written)
        index = model.tables[TABLE].index.cpu().numpy()
        own = {"ids": self._encode_ids(None if len(index) == len(self.catalogue) else index.tobytes())}
        if model.turned:
            # Beside codes a half is precise enough, but for the small differences that distances are.
            half = model.entropy and self.config.similarity != "euclidean"
            own["projection"] = numpy_of(model.projection.half() if half else model.projection)
        if model.points and len(index) < len(self.catalogue):
            own |= self._pointers(index.tobytes())
        return dataclasses.replace(found, tensors={**found.tensors, **own})

    def _encoded_ids(self, index: bytes | None) -> np.ndarray[Any, Any]:
        """The ids of some rows (the bytes of int64 [n]), None for all of them."""
        if index is None:
            return self.catalogue.ids.encode()
        return self.catalogue.ids.take(np.frombuffer(index, dtype=np.int64)).encode()

    def _pointers_of(self, index: bytes) -> dict[str, np.ndarray[Any, Any]]:
        """The ids of all but some rows (the bytes of int64 [n]), and to which of these each points, the nearest.

        By the cosine of the dense vectors, or else by their distance: by products, long rows are near to all.
        """
        kept = torch.from_numpy(np.frombuffer(index, dtype=np.int64).copy())
        gone = torch.ones(len(self.catalogue), dtype=torch.bool).index_fill(0, kept, False).nonzero()[:, 0]
        likeness = "cosine" if self.config.similarity == "cosine" else "euclidean"
        rows = nearest_of_each(self.catalogue.vectors, gone, kept, similarity=likeness, pause=self.pause)
        return {
            "pointing": self.catalogue.ids.take(gone.numpy()).encode(),
            "pointers": narrow(rows, len(kept) - 1),
        }

    def workloads(self, served: VectorIndex) -> dict[str, Callable[[], object]]:
        """`single`: the ids of one vector's 10 neighbours; `batch`: the rows of those of 64 vectors."""
        draw = np.random.default_rng(0).integers(len(self.catalogue), size=BATCH_QUERIES)
        queries = self.catalogue.vectors.numpy()[draw]
        turn, alone = {"next": 0}, len(queries) - 1  # odd, as every second or fourth request is timed

        def single() -> object:
            turn["next"] = (turn["next"] + 1) % alone
            return served.search(queries[turn["next"]], k=10)

        return {"single": single, "batch": lambda: served.topk(queries, 10)[1]}


def _without(recipe: Mapping[str, Any], steps: Sequence[str]) -> dict[str, Any]:
    """A space or a recipe without some steps, wherever they stand, but for what ranks rows by their norm."""
    found: dict[str, Any] = {}
    for name, held in recipe.items():
        importance = held.get("importance") if isinstance(held, Mapping) else None
        offered = importance.get("any_of", ()) if isinstance(importance, Mapping) else [importance]
        if name not in steps:
            found[name] = _without(held, steps) if isinstance(held, Mapping) else held
        elif "norm" in offered:
            found[name] = {**held, "importance": "norm"}
    return found


def _with_codebooks(recipe: Mapping[str, Any], *, rows: int) -> dict[str, Any]:
    """A space or a recipe whose codebooks have no more entries than there are rows; without those that cannot."""
    found: dict[str, Any] = {}
    for name, held in recipe.items():
        if name != OF_CODEBOOKS or not isinstance(held, Mapping):
            found[name] = _with_codebooks(held, rows=rows) if isinstance(held, Mapping) else held
            continue
        entries = _at_most(held.get("entries", MOST_ENTRIES), rows)
        if entries is not None:
            found[name] = {**held, "entries": entries} if "entries" in held else dict(held)
    return found


def _without_rates(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A space or a recipe without numbers of bits that have a point, and without steps of which nothing is left."""
    found: dict[str, Any] = {}
    for name, held in recipe.items():
        if not isinstance(held, Mapping) or "bits" not in held:
            found[name] = _without_rates(held) if isinstance(held, Mapping) else held
            continue
        match held["bits"]:
            case float():
                continue
            case {"any_of": [*options]}:
                whole = [bits for bits in options if not isinstance(bits, float)]
                if whole:
                    found[name] = {**held, "bits": {"any_of": whole}}
            case _:
                found[name] = dict(held)
    return found


def _at_most(entries: Any, most: int) -> Any:
    """A number, or the part of a choice or a range, that is no more than this; None: nothing of it."""
    match entries:
        case int():
            return entries if entries <= most else None
        case {"any_of": [*options]}:
            left = [one for one in options if not isinstance(one, int) or one <= most]
            return {**entries, "any_of": left} if left else None
        case {"int": [int(low), int(high)]}:
            return {**entries, "int": [low, min(high, most)]} if low <= most else None
    return entries  # what is refused later on
