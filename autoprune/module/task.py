"""The task around a user's module: what they wrote, spoken in the three protocols of the house."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from autoprune.artifacts.served import Parts
from autoprune.errors import AutopruneError, Diverged, RecipeError, nearest, unknown
from autoprune.metrics import UNIT
from autoprune.models.context import Context
from autoprune.module.config import ModuleConfig
from autoprune.module.declared import check_rows, declared
from autoprune.module.epoch import Epoch, digest_of, seeded
from autoprune.module.model import Adopted
from autoprune.module.own import ModuleTask, Rows
from autoprune.module.served import ServedModule
from autoprune.module.source import Source
from autoprune.module.tables import let_go, refuse_views
from autoprune.module.together import together
from autoprune.steps import STEPS
from autoprune.tasks.task import Task

FOR_TABLES = ("mixed", "product", "tiers")
"""Steps that code row by row."""

MADE = 4
"""Modules that are kept as they were loaded."""

PER_TABLE = "per_table"
"""In a space: what is open for each table by itself, `{per_table: {any_of: [8, 4]}}`."""


class AdoptedTask(Task[Adopted, ServedModule]):
    """A user's module, as every other model is searched.

    Args:
        config: what the task was told.
        source: the user's file.
        own: what they wrote, made from it.
        data: digest of what lies at `task.data.path`; empty where nothing is named.

    Attributes:
        own: as it was given.

    Raises:
        AutopruneError: the module or what is said of it cannot be used; the message names the line of their file.
    """

    unit = UNIT

    def __init__(self, config: ModuleConfig, source: Source, own: ModuleTask, *, data: str) -> None:
        config.check()
        self.name, self.config, self.training = config.name, config, config.training
        self.own, self._source, self._data = own, source, data
        self.base = {**source.defaults(), **{name: held for name, held in config.options.items() if _is_plain(held)}}
        self.metrics, self.slices, self.workload_names = declared(own, source.path.name)
        if config.metric is not None:
            if config.metric not in self.metrics:
                raise unknown("task.metric", config.metric, self.metrics)
            self.metric = config.metric
        self.perturbations = tuple(own.perturbations)
        self._made: dict[tuple[int, str], Adopted] = {}
        self._skeletons: dict[str, nn.Module] = {}
        self._untried = list(self.metrics)  # the dense model's rows are the first
        self._kind = ""

    def describe(self) -> str:
        made = self._dense(0)
        tables = ", ".join(f"{place.name} {place.rows:,} x {place.dim}" for place in made.places)
        whole = [name for name in made.tables if name not in made.axes_of("rows")]
        return (
            f"{self._kind}: {tables}; {self._epoch.count:,} training batches"
            + (f"; only bits and single weights go from {', '.join(whole)}" if whole else "")
            + (f"; linear maps take no {' or '.join(FOR_TABLES)}, which are left out" if made.maps else "")
            + f"; code sha256 {self._source.digest[:12]}"
        )

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        with self._source.running("fingerprint()"):
            told = self.own.fingerprint()
        said: list[object] = [dict(self.config.options), vars(self.config.training)]
        said += [self.metric] if self.config.training.epochs else []  # by which training ends
        frozen = [name for name, table in self._dense(0).tables.items() if not table.weight.requires_grad]
        said += [{"frozen": frozen}] if frozen else []
        settings = json.dumps(said, sort_keys=True, default=str)
        held = [self._dense(0).content().hex(), self._epoch.digest, self._source.digest, self._data, str(told)]
        return f"{hashlib.sha256(' '.join(held).encode()).hexdigest()} {settings}"

    @cached_property
    def _epoch(self) -> Epoch:
        """The batches of an epoch as they are drawn under seed 0.

        Raises:
            AutopruneError: there are none, or they are drawn from another generator.
        """
        with seeded(0):
            batches = self.batches()
        if not len(batches):
            raise AutopruneError(f"{self._source.path.name}: batches() is empty; an epoch has at least one batch.")
        found = Epoch(first=batches[0], count=len(batches), digest=self._told(batches))
        with seeded(0):
            again = self.batches()
        if len(again) != found.count or self._told(again[0]) != self._told(found.first):
            raise AutopruneError(
                f"{self._source.path.name}: batches() gives other batches under the same seed, so that no training "
                "could be repeated; draw from torch's generator, such as by torch.randperm, and from no other."
            )
        return found

    def _told(self, batches: Any) -> str:
        """SHA-256 of batches; of what cannot be told the user's `fingerprint()` speaks."""
        try:
            return digest_of(batches, skip=type(self.own).fingerprint is not ModuleTask.fingerprint)
        except AutopruneError as error:
            raise AutopruneError(f"{self._source.path.name}: batches(): {error}") from error

    def context(self, *, seed: int, device: torch.device) -> Context:
        return Context(seed=seed, device=device, frequency=self._frequency)

    @cached_property
    def _frequency(self) -> Mapping[str, Tensor]:
        """How often each row is looked up in an epoch of training, by axis.

        Where a table never is, but multiplied by as a whole, each row counts once.
        """
        model = self.model({}, seed=0).eval()
        with torch.no_grad(), seeded(0), model.counting() as counts:
            for batch in self.batches():
                self.pause()
                self._lost(model, batch)
        return {f"rows.{name}": held if held.any() else torch.ones_like(held) for name, held in counts.items()}

    def model(self, base: Mapping[str, Any], *, seed: int) -> Adopted:
        for name in base:
            if name not in self.base:
                raise RecipeError(
                    ("base", str(name)), f"{type(self.own).__name__} takes no such argument. {nearest(name, self.base)}"
                )
        return copy.deepcopy(self._dense(seed, {name: held for name, held in base.items() if held != self.base[name]}))

    def _dense(self, seed: int, base: Mapping[str, Any] | None = None) -> Adopted:
        """The module as it is loaded under a seed; whoever changes it works on a copy.

        Args:
            base: arguments of the user's class in place of the usual ones; all but `load` is asked of the usual one.
        """
        key = seed, json.dumps(base or {}, sort_keys=True, default=str)
        if key not in self._made:
            if len(self._made) >= MADE:
                self._made.pop(next(iter(self._made)))
            self._made[key] = self._adopted(seed, base or {})
        return self._made[key]

    def _adopted(self, seed: int, base: Mapping[str, Any]) -> Adopted:
        own = self._source.make({**self.config.arguments(), **base}) if base else self.own
        with seeded(seed), self._source.running("load()"):
            module = own.load()
            if not isinstance(module, nn.Module):
                raise AutopruneError(
                    f"{self._source.path.name}: load() must return an nn.Module, but got {type(module).__name__}."
                )
            refuse_views(module)
            let_go(module)
            module = copy.deepcopy(module)  # it may well be one that they keep
        self._kind = type(module).__name__
        with self._source.running(f"taking {self._kind} over"):
            return Adopted(module, named=own.tables, cut=own.cut, linears=own.linears, base=base)

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """What is open per table is opened for each table that can have it.

        Without the steps that no table can have: `rows` and `dims` where none may lose any, and those that code row by
        row, which are for tables alone, where linear maps lose bits too.
        """
        made = self._dense(0)
        names = {"rows": tuple(made.axes_of("rows")), "dims": tuple(made.axes_of("dim"))}
        never = {*(step for step, having in names.items() if not having), *(FOR_TABLES if made.maps else ())}

        def opened(name: str, value: Any, having: Sequence[str], gone: Collection[str]) -> Any:
            if not isinstance(value, Mapping):
                return value
            having = names.get(name, having)
            if list(value) == [PER_TABLE]:
                return dict.fromkeys(having, value[PER_TABLE])
            if name in STEPS and "method" not in value:  # in it are names of its parameters, and of tables
                gone = ()
            found = {key: opened(key, held, having, gone) for key, held in value.items() if key not in gone}
            return {key: held for key, held in found.items() if held != {"choose": {}}}

        base = {name: held for name, held in recipe.items() if name == "base"}  # arguments of the user's own
        stages: dict[str, Any] = {name: held for name, held in recipe.items() if name != "base"}
        return {**base, **opened("", stages, tuple(made.tables), never)}

    def batches(self) -> Sequence[Any]:
        with self._source.running("batches()"):
            found = self.own.batches()
            return found if isinstance(found, Sequence) else list(found)

    def loss(self, model: Adopted, batch: Any) -> Tensor:
        found = self._lost(model, batch)
        if not any(one.requires_grad for one in model.parameters()):
            raise AutopruneError(
                f"{self._source.path.name}: load(): every parameter of {self._kind} is frozen, so that nothing can be "
                "trained; leave some with a gradient, as module.requires_grad_() does with all of them."
            )
        if not found.requires_grad:
            raise AutopruneError(
                f"{self._source.path.name}: loss() has no gradient: nothing that it returns was computed from a "
                "parameter that trains. Is it detached, computed in numpy, or from frozen parameters alone?"
            )
        return found

    def _lost(self, model: Adopted, batch: Any) -> Tensor:
        with self._source.running("loss()"), together(model.device):
            found = self.own.loss(model.module, batch)
        let_go(model.module)
        if not isinstance(found, Tensor) or found.numel() != 1:
            given = f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise AutopruneError(f"{self._source.path.name}: loss() must return a scalar tensor, but got {given}.")
        return found.reshape(())

    def parts(self, model: Adopted, runtime: str = "") -> Parts:
        found = super().parts(model, runtime)
        return dataclasses.replace(found, tensors={**found.tensors, **model.around()})

    def score(self, served: ServedModule, split: str, perturbation: str | None = None) -> pd.DataFrame:
        if perturbation is None:
            return self._asked(served, f"score(…, {split!r})", lambda module: self.own.score(module, split))
        what = f"perturb(…, {split!r}, {perturbation!r})"
        return self._asked(served, what, lambda module: self.own.perturb(module, split, perturbation))

    def look(self, served: ServedModule, *, closer: bool = False) -> pd.DataFrame:
        del closer  # of a module of one's own it is not known what more would cost
        return self._asked(served, "look()", self.own.look)

    def _asked(self, served: ServedModule, what: str, ask: Callable[[nn.Module], Rows]) -> pd.DataFrame:
        module = self._module(served)
        with torch.no_grad(), seeded(0), self._source.running(what), together(served.device):
            given = ask(module)
            rows = pd.DataFrame(given) if isinstance(given, Mapping) else given
        if not isinstance(rows, pd.DataFrame) or not len(rows):
            kind = "an empty one" if isinstance(rows, pd.DataFrame) else type(rows).__name__
            raise AutopruneError(
                f"{self._source.path.name}: {what} must return columns of rows, a mapping or a pandas.DataFrame, but "
                f"got {kind}."
            )
        rows = rows.reset_index(drop=True)
        rows = rows if UNIT in rows.columns else rows.assign(**{UNIT: np.arange(len(rows))})
        check_rows(rows, self.slices, f"{self._source.path.name}: {what}")
        for name in self._untried:
            with self._source.running(f"metric {name} of {what}"):
                value = self.metrics[name](rows)
            if not np.isfinite(value):
                raise Diverged(f"{self._source.path.name}: metric {name} of {what} is {value}")
        self._untried.clear()
        return rows

    def workloads(self, served: ServedModule) -> dict[str, Callable[[], object]]:
        module = self._module(served)
        with self._source.running("workloads()"), torch.no_grad():
            with together(served.device):
                found = self.own.workloads(module)
            if not isinstance(found, Mapping) or tuple(found) != self.workload_names:
                given = ", ".join(found) if isinstance(found, Mapping) else type(found).__name__
                raise AutopruneError(
                    f"{self._source.path.name}: workloads() must return {', '.join(self.workload_names)}, as "
                    f"workload_names says, but got {given}."
                )
            return {name: _runs(request, served.device) for name, request in found.items()}

    def _module(self, served: ServedModule) -> nn.Module:
        """The user's module as an artifact fills it."""
        if served.module is None:
            served.fill(copy.deepcopy(self.skeleton(served.base)))
        assert served.module is not None, "it was filled"
        return served.module

    def skeleton(self, base: Mapping[str, Any]) -> nn.Module:
        """The user's module, to be filled by an artifact; whoever fills it works on a copy.

        Args:
            base: as the artifact was made with.
        """
        key = json.dumps(base, sort_keys=True, default=str)
        if key not in self._skeletons:
            self._skeletons[key] = self._dense(0, base).skeleton()
        return self._skeletons[key]

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
        with seeded(0), self._source.running("training on a batch"):
            self.loss(model.train(), self._epoch.first).backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        if not any(one.grad is not None for one in model.parameters()):
            raise AutopruneError(f"{self._source.path.name}: loss() has a gradient, but none by a parameter.")
        self.workloads(ServedModule(self.parts(model.eval())))


def _runs(request: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The request, once it has run; where it mixes devices, as one that may."""
    try:
        request()
    except RuntimeError as error:
        if device.type == "cpu" or "device" not in str(error):
            raise
    else:
        return request

    def asked() -> object:
        with together(device):
            return request()

    asked()
    return asked


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float | str)
