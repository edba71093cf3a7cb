"""The task around a user's module: adapts their `ModuleTask` to our `Task`, `Model` and `Served`."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import islice
from operator import length_hint
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from autoprune.artifacts.served import Parts
from autoprune.errors import AutopruneError, Diverged, Failed, RecipeError, nearest, unknown
from autoprune.metrics import UNIT
from autoprune.models.context import Context
from autoprune.module.config import ModuleConfig
from autoprune.module.declared import check_rows, declared
from autoprune.module.epoch import Epoch, read_epoch, seeded
from autoprune.module.model import Adopted
from autoprune.module.own import ModuleTask, Rows
from autoprune.module.served import ServedModule
from autoprune.module.source import Source
from autoprune.module.tables import let_go, refuse_views
from autoprune.module.together import together
from autoprune.steps import STEPS
from autoprune.tasks.content import CannotTell
from autoprune.tasks.task import Task

FOR_TABLES = ("mixed", "product", "tiers")
"""Steps that code row by row."""

COUNTED = 10_000
"""At most this many batches are used to count lookups: they are drawn at random, so more would change little."""

MADE = 4
"""At most this many loaded modules are cached."""

PER_TABLE = "per_table"
"""In a space, opens a value for each table separately: `{per_table: {any_of: [8, 4]}}`."""


class AdoptedTask(Task[Adopted, ServedModule]):
    """The task that searches a user's module.

    Args:
        config: the task's settings.
        source: the user's file.
        own: the user's task, made from it.
        data: digest of the data at `task.data.path`; empty if no path is given.

    Attributes:
        own: the user's task.

    Raises:
        AutopruneError: the module or its declarations cannot be used; the message names the line in the user's file.
    """

    unit = UNIT

    def __init__(self, config: ModuleConfig, source: Source, own: ModuleTask, *, data: str) -> None:
        config.check()
        self.name, self.config, self.training = config.name, config, config.training
        self.own, self._source, self._data = own, source, data
        self.base = {**source.defaults(), **{name: value for name, value in config.options.items() if _is_plain(value)}}
        self.metrics, self.slices, self.workload_names = declared(own, source.path.name)
        if config.metric is not None:
            if config.metric not in self.metrics:
                raise unknown("task.metric", config.metric, self.metrics)
            self.metric = config.metric
        self.perturbations = tuple(own.perturbations)
        self._loaded: dict[tuple[int, str], Adopted] = {}
        self._skeletons: dict[str, nn.Module] = {}
        self._untried = list(self.metrics)  # the dense model's rows come first
        self._kind = ""

    def describe(self) -> str:
        dense = self._dense(0)
        tables = ", ".join(f"{place.name} {place.rows:,} x {place.dim}" for place in dense.places)
        uncut = [name for name in dense.tables if name not in dense.axes_of("rows")]
        return (
            f"{self._kind}: {tables}; {self._epoch.count:,} training batches"
            + (f"; only bits and single weights go from {', '.join(uncut)}" if uncut else "")
            + (f"; linear maps take no {' or '.join(FOR_TABLES)}, which are left out" if dense.maps else "")
            + f"; code sha256 {self._source.digest[:12]}"
        )

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        with self._source.running("fingerprint()"):
            own_fingerprint = self.own.fingerprint()
        settings: list[object] = [dict(self.config.options), vars(self.config.training)]
        settings += [self.metric] if self.config.training.epochs else []  # training stops by it
        frozen = [name for name, table in self._dense(0).tables.items() if not table.weight.requires_grad]
        settings += [{"frozen": frozen}] if frozen else []
        written = json.dumps(settings, sort_keys=True, default=str)
        digests = [self._dense(0).content().hex(), self._epoch.digest, self._source.digest, self._data]
        parts = [*digests, str(own_fingerprint)]
        return f"{hashlib.sha256(' '.join(parts).encode()).hexdigest()} {written}"

    @cached_property
    def _epoch(self) -> Epoch:
        """The batches of an epoch drawn under seed 0.

        Raises:
            AutopruneError: there are none, or they do not come from torch's generator alone.
        """
        with seeded(0):
            epoch = self._read(self.own.batches)
        if not epoch.count:
            raise AutopruneError(f"{self._source.path.name}: batches() is empty; an epoch needs at least one batch.")
        with seeded(0), self._source.running("batches()"):
            again = self.own.batches()
            same_length = length_hint(again, epoch.count) == epoch.count
            first = next(iter(again), None)
        if not same_length or self._read(lambda: [first]).digest != self._read(lambda: [epoch.first]).digest:
            raise AutopruneError(
                f"{self._source.path.name}: batches() gives other batches under the same seed, so training could not "
                "be repeated; draw only from torch's generator, for example with torch.randperm."
            )
        return epoch

    def _drawn_batches(self) -> Iterator[Any]:
        """The batches of an epoch, one by one."""
        with self._source.running("batches()"):
            yield from self.own.batches()

    def _read(self, draw: Callable[[], Iterable[Any]]) -> Epoch:
        """Reads batches. Content that has no digest is skipped if the user's `fingerprint()` accounts for it."""
        try:
            with self._source.running("batches()"):
                return read_epoch(draw(), skip=type(self.own).fingerprint is not ModuleTask.fingerprint)
        except CannotTell as error:
            raise AutopruneError(f"{self._source.path.name}: batches(): {error}") from error

    def context(self, *, seed: int, device: torch.device) -> Context:
        return Context(seed=seed, device=device, frequency=self._frequency)

    @cached_property
    def _frequency(self) -> Mapping[str, Tensor]:
        """How often each row is looked up in a training epoch, or in its first `COUNTED` batches, by axis.

        In a table without lookups, each row counts once.

        Raises:
            OutOfTime: `report` says that the time is over.
        """
        model, limit = self.model({}, seed=0).eval(), min(self._epoch.count, COUNTED)
        with torch.no_grad(), seeded(0), model.counting() as counts:
            for number, batch in enumerate(islice(self._drawn_batches(), limit)):
                self.report(f"counting lookups: {number:,} of {limit:,} batches")
                self._loss_of(model, batch)
        return {f"rows.{name}": count if count.any() else torch.ones_like(count) for name, count in counts.items()}

    def model(self, base: Mapping[str, Any], *, seed: int) -> Adopted:
        for name in base:
            if name not in self.base:
                raise RecipeError(
                    ("base", str(name)), f"{type(self.own).__name__} takes no such argument. {nearest(name, self.base)}"
                )
        changed = {name: value for name, value in base.items() if value != self.base[name]}
        return copy.deepcopy(self._dense(seed, changed))

    def _dense(self, seed: int, base: Mapping[str, Any] | None = None) -> Adopted:
        """The dense model loaded under a seed. It is cached: callers must change only a copy.

        Args:
            base: arguments that replace those of the user's task; the task made with them is used only for `load`.
        """
        key = seed, json.dumps(base or {}, sort_keys=True, default=str)
        if key not in self._loaded:
            if len(self._loaded) >= MADE:
                self._loaded.pop(next(iter(self._loaded)))
            self._loaded[key] = self._load_dense(seed, base or {})
        return self._loaded[key]

    def _load_dense(self, seed: int, base: Mapping[str, Any]) -> Adopted:
        own = self._source.make({**self.config.arguments(), **base}) if base else self.own
        with seeded(seed), self._source.running("load()"):
            module = own.load()
            if not isinstance(module, nn.Module):
                raise AutopruneError(
                    f"{self._source.path.name}: load() must return an nn.Module, but got {type(module).__name__}."
                )
            refuse_views(module)
            let_go(module)
            module = copy.deepcopy(module)  # the user's code may keep a reference to it
        self._kind = type(module).__name__
        with self._source.running(f"taking {self._kind} over"):
            return Adopted(module, named=own.tables, cut=own.cut, linears=own.linears, base=base)

    def suited(self, recipe: Mapping[str, Any]) -> dict[str, Any]:
        """Opens `per_table` values for each table that the step can change.

        Leaves out steps that cannot be applied: `rows` and `dims` if no table may lose any, and the steps that code
        row by row, which work only on tables, if linear layers are quantised too.
        """
        dense = self._dense(0)
        axis_names = {"rows": tuple(dense.axes_of("rows")), "dims": tuple(dense.axes_of("dim"))}
        impossible = {*(step for step, tables in axis_names.items() if not tables), *(FOR_TABLES if dense.maps else ())}

        def opened(name: str, value: Any, tables: Sequence[str], left_out: Collection[str]) -> Any:
            if not isinstance(value, Mapping):
                return value
            tables = axis_names.get(name, tables)
            if list(value) == [PER_TABLE]:
                return dict.fromkeys(tables, value[PER_TABLE])
            if name in STEPS and "method" not in value:  # its keys are parameters or tables, not steps
                left_out = ()
            entries = {key: opened(key, entry, tables, left_out) for key, entry in value.items() if key not in left_out}
            return {key: entry for key, entry in entries.items() if entry != {"choose": {}}}

        base = {name: entry for name, entry in recipe.items() if name == "base"}  # arguments of the user's class
        stages: dict[str, Any] = {name: entry for name, entry in recipe.items() if name != "base"}
        return {**base, **opened("", stages, tuple(dense.tables), impossible)}

    def batches(self) -> Sequence[Any]:
        with self._source.running("batches()"):
            batches = self.own.batches()
            return batches if isinstance(batches, Sequence) else list(batches)

    def loss(self, model: Adopted, batch: Any) -> Tensor:
        loss = self._loss_of(model, batch)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise AutopruneError(
                f"{self._source.path.name}: load(): every parameter of {self._kind} is frozen, so nothing can be "
                "trained; unfreeze some, or all with module.requires_grad_()."
            )
        if not loss.requires_grad:
            raise AutopruneError(
                f"{self._source.path.name}: loss() has no gradient: it was not computed from any trainable "
                "parameter. Is it detached, computed in numpy, or computed only from frozen parameters?"
            )
        return loss

    def _loss_of(self, model: Adopted, batch: Any) -> Tensor:
        with self._source.running("loss()", of_recipe=True), together(model.device):
            loss = self.own.loss(model.module, batch)
        let_go(model.module)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            returned = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise Failed(f"{self._source.path.name}: loss() must return a scalar tensor, but got {returned}.")
        return loss.reshape(())

    def parts(self, model: Adopted, runtime: str = "") -> Parts:
        parts = super().parts(model, runtime)
        return dataclasses.replace(parts, tensors={**parts.tensors, **model.around()})

    def score(self, served: ServedModule, split: str, perturbation: str | None = None) -> pd.DataFrame:
        if perturbation is None:
            return self._rows_from(served, f"score(…, {split!r})", lambda module: self.own.score(module, split))
        what = f"perturb(…, {split!r}, {perturbation!r})"
        return self._rows_from(served, what, lambda module: self.own.perturb(module, split, perturbation))

    def look(self, served: ServedModule, *, closer: bool = False) -> pd.DataFrame:
        del closer  # nobody knows what scoring more rows of a user's module would cost
        if type(self.own).look is ModuleTask.look:
            return self.score(served, "validation")
        return self._rows_from(served, "look()", self.own.look)

    def _rows_from(self, served: ServedModule, what: str, call: Callable[[nn.Module], Rows]) -> pd.DataFrame:
        module = self._module(served)
        with torch.no_grad(), seeded(0), self._source.running(what, of_recipe=True), together(served.device):
            returned = call(module)
            rows = pd.DataFrame(returned) if isinstance(returned, Mapping) else returned
        if not isinstance(rows, pd.DataFrame) or not len(rows):
            kind = "an empty one" if isinstance(rows, pd.DataFrame) else type(rows).__name__
            raise Failed(
                f"{self._source.path.name}: {what} must return rows as a mapping of columns or a pandas.DataFrame, but "
                f"got {kind}."
            )
        rows = rows.reset_index(drop=True)
        rows = rows if UNIT in rows.columns else rows.assign(**{UNIT: np.arange(len(rows))})
        check_rows(rows, self.slices, f"{self._source.path.name}: {what}")
        for name in self._untried:
            with self._source.running(f"metric {name} of {what}", of_recipe=True):
                value = self.metrics[name](rows)
            if not np.isfinite(value):
                raise Diverged(f"{self._source.path.name}: metric {name} of {what} is {value}")
        self._untried.clear()
        return rows

    def workloads(self, served: ServedModule) -> dict[str, Callable[[], object]]:
        module = self._module(served)
        with torch.no_grad(), seeded(0), self._source.running("workloads()", of_recipe=True):
            with together(served.device):
                requests = self.own.workloads(module)
            if not isinstance(requests, Mapping) or tuple(requests) != self.workload_names:
                returned = ", ".join(requests) if isinstance(requests, Mapping) else type(requests).__name__
                raise Failed(
                    f"{self._source.path.name}: workloads() must return {', '.join(self.workload_names)}, as "
                    f"workload_names says, but got {returned}."
                )
            return {name: self._timed(_runnable(request, served.device)) for name, request in requests.items()}

    def _timed(self, request: Callable[[], object]) -> Callable[[], object]:
        """The request, with an error that names the line if it fails later, while it is timed."""

        def run() -> object:
            try:
                return request()
            except Exception:  # only now, since entering `running` takes time too
                with self._source.running("workloads()", of_recipe=True):
                    raise

        return run

    def _module(self, served: ServedModule) -> nn.Module:
        """The user's module, filled by an artifact."""
        if served.module is None:
            served.fill(copy.deepcopy(self.skeleton(served.base)))
        assert served.module is not None, "fill sets it"
        return served.module

    def skeleton(self, base: Mapping[str, Any]) -> nn.Module:
        """The user's module with empty lookups. It is cached: callers must fill only a copy.

        Args:
            base: the arguments that the artifact's module was made with.
        """
        key = json.dumps(base, sort_keys=True, default=str)
        if key not in self._skeletons:
            self._skeletons[key] = self._dense(0, base).skeleton()
        return self._skeletons[key]

    def rehearse(self) -> None:
        """Trains on one batch and runs every workload, with the dense module and with half of its rows and dimensions.

        With half of them it also takes a look, since most of a search consists of looks. The look's values may be NaN
        here: each recipe reports that separately.

        Raises:
            AutopruneError: one of these fails.
        """
        self._try_training(self.model({}, seed=0))
        model = self.model({}, seed=0)
        for axis in [*model.axes_of("rows").values(), *model.axes_of("dim").values()]:
            keep = torch.arange(model.size(axis)) % 2 == 0
            keep[model.protected(axis)] = True
            model.cut(axis, keep.nonzero()[:, 0])
        try:
            self._try_training(model)
            self._try_look(model)
        except AutopruneError as error:
            self._try_look(self.model({}, seed=0))  # if this fails too, the cuts are not the cause
            raise AutopruneError(
                f"{error} This happened with half of the rows and dimensions removed from the tables; with all of them "
                "it works. Embeddings still return vectors of the same width, but zeros for removed rows."
            ) from error

    def _try_training(self, model: Adopted) -> None:
        with seeded(0), self._source.running("training on a batch"):
            loss = self.loss(model.train(), self._epoch.first)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if not any(parameter.grad is not None for parameter in model.parameters()):
            raise AutopruneError(f"{self._source.path.name}: loss() has a gradient, but none of a parameter.")
        self.workloads(ServedModule(self.parts(model.eval())))

    def _try_look(self, model: Adopted) -> None:
        with suppress(Diverged):
            self.look(ServedModule(self.parts(model.eval())))
        self._untried = list(self.metrics)  # the dense model's rows are still to come


def _runnable(request: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The request, after a trial run; if it mixes devices, wrapped so that it works."""
    try:
        request()
    except RuntimeError as error:
        if device.type == "cpu" or "device" not in str(error):
            raise
    else:
        return request

    def run_together() -> object:
        with together(device):
            return request()

    run_together()
    return run_together


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float | str)
