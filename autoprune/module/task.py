"""The task around a user's module: what they wrote, spoken in the three protocols of the house."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from autoprune.artifacts.served import Parts
from autoprune.errors import AutopruneError, Diverged, RecipeError, unknown
from autoprune.models.context import Context
from autoprune.module.config import ModuleConfig
from autoprune.module.metrics import UNIT
from autoprune.module.model import Adopted
from autoprune.module.own import ModuleTask
from autoprune.module.served import ServedModule
from autoprune.module.source import Source
from autoprune.tasks.task import Task

PER_TABLE = "per_table"
"""In a space: what is open for each table by itself, `{per_table: {any_of: [8, 4]}}`."""


class AdoptedTask(Task[Adopted, ServedModule]):
    """A user's module, as every other model is searched.

    Args:
        config: what the task was told.
        source: the user's file.
        own: what they wrote, made from it.
        data: digest of what lies at `task.data.path`; empty where nothing is named.

    Raises:
        AutopruneError: the module or what is said of it cannot be used; the message names the line of their file.
    """

    unit = UNIT

    def __init__(self, config: ModuleConfig, source: Source, own: ModuleTask, *, data: str) -> None:
        config.check()
        self.name, self.config, self.training = config.name, config, config.training
        self._source, self._own, self._data = source, own, data
        self.metrics, self.slices, self.workload_names = own.metrics, own.slices, tuple(own.workload_names)
        if not self.metrics:
            raise AutopruneError(f"{source.path.name}: metrics: at least one must be given, by name.")
        if config.metric is not None:
            if config.metric not in self.metrics:
                raise unknown("task.metric", config.metric, self.metrics)
            self.metric = config.metric
        self._made: tuple[int, Adopted] | None = None
        self._untried = list(self.metrics)  # the dense model's rows are the first
        self._kind = ""

    def describe(self) -> str:
        made = self._dense(0)
        tables = ", ".join(f"{place.name} {place.rows:,} x {place.dim}" for place in made.places)
        batches = len(self._epoch)
        whole = [name for name in made.tables if name not in made.axes_of("rows")]
        return (
            f"{self._kind}: {tables}; {batches:,} training batches"
            + (f"; only bits and single weights go from {', '.join(whole)}" if whole else "")
            + f"; code sha256 {self._source.digest[:12]}"
        )

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        with self._source.running("fingerprint()"):
            told = self._own.fingerprint()
        found = hashlib.sha256(self._dense(0).content())
        for batch in self._epoch:
            _digest_into(found, batch)
        settings = json.dumps([dict(self.config.options), vars(self.config.training)], sort_keys=True, default=str)
        return f"{found.hexdigest()} {self._source.digest} {self._data} {told} {settings}"

    @cached_property
    def _epoch(self) -> Sequence[Any]:
        """The batches of an epoch, drawn under seed 0.

        Raises:
            AutopruneError: there are none, or they are drawn from another generator.
        """
        drawn = []
        for _ in range(2):
            with _seeded(0):
                drawn.append(self.batches())
        if not len(drawn[0]):
            raise AutopruneError(f"{self._source.path.name}: batches() is empty; an epoch has at least one batch.")
        firsts = [hashlib.sha256(), hashlib.sha256()]
        for found, batches in zip(firsts, drawn, strict=True):
            _digest_into(found, batches[0])
        if len({found.digest() for found in firsts}) > 1 or len(drawn[0]) != len(drawn[1]):
            raise AutopruneError(
                f"{self._source.path.name}: batches() gives other batches under the same seed, so that no training "
                "could be repeated; draw from torch's generator, such as by torch.randperm, and from no other."
            )
        return drawn[0]

    def context(self, *, seed: int, device: torch.device) -> Context:
        return Context(seed=seed, device=device, frequency=self._frequency)

    @cached_property
    def _frequency(self) -> Mapping[str, Tensor]:
        """How often each row is looked up in an epoch of training, by axis; of tables that are looked up at all."""
        model = self.model({}, seed=0).eval()
        with torch.no_grad(), _seeded(0), model.counting() as counts:
            for batch in self._epoch:
                self.pause()
                self._lost(model, batch)
        return {f"rows.{name}": held for name, held in counts.items() if held.any()}

    def model(self, base: Mapping[str, Any], *, seed: int) -> Adopted:
        for name in base:
            raise RecipeError(
                ("base", str(name)),
                f"a module of one's own has none; take it out (~space.base.{name}), or choose "
                "space=module presets=module.",
            )
        return copy.deepcopy(self._dense(seed))

    def _dense(self, seed: int) -> Adopted:
        """The module as it is loaded under a seed; whoever changes it works on a copy."""
        if self._made is None or self._made[0] != seed:
            with _seeded(seed), self._source.running("load()"):
                module = self._own.load()
            if not isinstance(module, nn.Module):
                raise AutopruneError(
                    f"{self._source.path.name}: load() must return an nn.Module, but got {type(module).__name__}."
                )
            self._kind = type(module).__name__
            with self._source.running(f"taking {self._kind} over"):
                self._made = seed, Adopted(module, named=self._own.tables, cut=self._own.cut)
        return self._made[1]

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """What is open per table is opened for each table that can have it."""
        made = self._dense(0)
        names = {"rows": tuple(made.axes_of("rows")), "dims": tuple(made.axes_of("dim"))}

        def opened(value: Any, having: Sequence[str]) -> Any:
            if not isinstance(value, Mapping):
                return value
            if list(value) == [PER_TABLE]:
                return dict.fromkeys(having, value[PER_TABLE])
            return {key: opened(held, names.get(key, having)) for key, held in value.items()}

        found: dict[str, Any] = opened(recipe, tuple(made.tables))
        return found

    def batches(self) -> Sequence[Any]:
        with self._source.running("batches()"):
            found = self._own.batches()
            return found if isinstance(found, Sequence) else list(found)

    def loss(self, model: Adopted, batch: Any) -> Tensor:
        found = self._lost(model, batch)
        if not found.requires_grad:
            raise AutopruneError(
                f"{self._source.path.name}: loss() has no gradient: nothing that it returns was computed from a "
                "parameter of the module. Is it detached, or computed in numpy?"
            )
        return found

    def _lost(self, model: Adopted, batch: Any) -> Tensor:
        with self._source.running("loss()"):
            found = self._own.loss(model.module, batch)
        if not isinstance(found, Tensor) or found.numel() != 1:
            given = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise AutopruneError(f"{self._source.path.name}: loss() must return a scalar tensor, but got {given}.")
        return found.reshape(())

    def parts(self, model: Adopted, runtime: str = "") -> Parts:
        found = super().parts(model, runtime)
        return Parts(manifest=found.manifest, tensors={**found.tensors, **model.around()}, beside=found.beside)

    def score(self, served: ServedModule, split: str, perturbation: str | None = None) -> pd.DataFrame:
        return self._asked(served, f"score(…, {split!r})", lambda module: self._own.score(module, split))

    def look(self, served: ServedModule) -> pd.DataFrame:
        return self._asked(served, "look()", self._own.look)

    def _asked(self, served: ServedModule, what: str, ask: Callable[[nn.Module], pd.DataFrame]) -> pd.DataFrame:
        module = self._module(served)
        with torch.no_grad(), _seeded(0), self._source.running(what):
            rows = ask(module)
        if not isinstance(rows, pd.DataFrame) or not len(rows):
            given = "an empty one" if isinstance(rows, pd.DataFrame) else type(rows).__name__
            raise AutopruneError(
                f"{self._source.path.name}: {what} must return a pandas.DataFrame with rows, but got {given}."
            )
        rows = rows.reset_index(drop=True)
        rows = rows if UNIT in rows.columns else rows.assign(**{UNIT: np.arange(len(rows))})
        self._check(rows, what)
        return rows

    def _check(self, rows: pd.DataFrame, what: str) -> None:
        file = self._source.path.name
        for column, names in self.slices.items():
            if column not in rows.columns:
                raise AutopruneError(
                    f"{file}: {what} has no column {column!r}, which slices names. It has: {', '.join(rows.columns)}."
                )
            strange = set(rows[column].unique()) - set(names)
            if strange:
                raise AutopruneError(
                    f"{file}: {what}: slices[{column!r}] does not name {sorted(map(str, strange))[0]!r}."
                )
        for column in rows.columns:
            missing = int(rows[column].isna().sum())
            if missing:
                raise Diverged(f"{file}: {what}: {missing:,} of {len(rows):,} rows have NaN in column {column!r}")
        for name in self._untried:
            with self._source.running(f"metric {name} of {what}"):
                value = self.metrics[name](rows)
            if not np.isfinite(value):
                raise Diverged(f"{file}: metric {name} of {what} is {value}")
        self._untried.clear()

    def workloads(self, served: ServedModule) -> dict[str, Callable[[], object]]:
        module = self._module(served)
        with self._source.running("workloads()"), torch.no_grad():
            found = self._own.workloads(module)
            if not isinstance(found, Mapping) or tuple(found) != self.workload_names:
                given = ", ".join(found) if isinstance(found, Mapping) else type(found).__name__
                raise AutopruneError(
                    f"{self._source.path.name}: workloads() must return {', '.join(self.workload_names)}, as "
                    f"workload_names says, but got {given}."
                )
            for request in found.values():
                request()
        return dict(found)

    def _module(self, served: ServedModule) -> nn.Module:
        """The user's module as an artifact fills it."""
        if served.module is None:
            served.fill(copy.deepcopy(self._skeleton))
        assert served.module is not None, "it was filled"
        return served.module

    @cached_property
    def _skeleton(self) -> nn.Module:
        return self._dense(0).skeleton()

    def rehearse(self) -> None:
        """Learns from a batch, and answers a request, as the module came and with half of its tables gone.

        Raises:
            AutopruneError: one of them fails.
        """
        self._try(self.model({}, seed=0))
        model = self.model({}, seed=0)
        for axis in [*model.axes_of("rows").values(), *model.axes_of("dim").values()]:
            keep = torch.arange(model.size(axis)) % 2 == 0
            keep[model.protected(axis)] = True
            model.cut(axis, keep.nonzero()[:, 0])
        try:
            self._try(model)
        except AutopruneError as error:
            raise AutopruneError(
                f"{error} Half of the rows and dimensions of its tables were gone then, and with all of them it works: "
                "embeddings still give vectors of the same width, but zeros for rows that are gone."
            ) from error

    def _try(self, model: Adopted) -> None:
        with _seeded(0), self._source.running("training on a batch"):
            self.loss(model.train(), self._epoch[0]).backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        if not any(one.grad is not None for one in model.parameters()):
            raise AutopruneError(f"{self._source.path.name}: loss() has a gradient, but none by a parameter.")
        self.workloads(ServedModule(self.parts(model.eval())))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's generator under a seed; as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _digest_into(found: Any, value: Any) -> None:
    """Adds a batch to a hash: tensors and arrays by their content, within lists and mappings."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        found.update(f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for name, held in value.items():
            found.update(f"{name} ".encode())
            _digest_into(found, held)
    elif isinstance(value, list | tuple):
        found.update(f"{len(value)} ".encode())
        for held in value:
            _digest_into(found, held)
    elif isinstance(value, str | bytes | int | float | bool | None):
        found.update(f"{value!r} ".encode())
