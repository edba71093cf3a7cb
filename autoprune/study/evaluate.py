"""One recipe in, one candidate out: reject cheaply, make, save, load, measure."""

from __future__ import annotations

import dataclasses
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served
from autoprune.errors import AutopruneError
from autoprune.fronts.requirements import Requirements, parse_requirements
from autoprune.machine import THREADS, give_back_memory, machine
from autoprune.measure.judge import Judge, Judged
from autoprune.measure.measurement import SEARCH, WHOLE, Latency, Measurement
from autoprune.measure.reading import Reading, reading_names, readings
from autoprune.measure.timing import on_threads, own_latency, paired_latency
from autoprune.models.model import Model
from autoprune.recipes.recipe import Plan, plan
from autoprune.recipes.stages import run
from autoprune.recipes.store import Store
from autoprune.recipes.train import Trainer
from autoprune.record.archive import TRIAL, Candidate
from autoprune.study.definition import Definition
from autoprune.study.executor import Worker
from autoprune.study.provenance import structure_of, versions
from autoprune.study.request import Request, Retiming
from autoprune.study.settings import find_device
from autoprune.tasks.task import Task

HOPELESS = 0.1
"""A candidate that misses a floor by a larger share is given up at a first look: floors can still be loosened by as
much without training anything."""

LONGER = 4
"""How many times as long as all others the baseline is timed: all milliseconds rest on it."""


class Evaluator(Worker):
    """Makes and measures candidates of a study.

    Args:
        definition: of the study.
        task: the study's, if it is at hand; read again otherwise.
        working: called with a few words about the work in progress.

    Raises:
        AutopruneError: a requirement cannot be read, there is no such device, or the data is not what it was.
    """

    def __init__(
        self, definition: Definition, task: Task | None = None, *, working: Callable[[str], None] = lambda message: None
    ) -> None:
        super().__init__(definition)
        self.task = task = task or definition.make_task()
        task.report = working
        self.context = task.context(seed=definition.seed, device=find_device(definition.device))
        self.trainer = Trainer(task.training, report=working)
        slices = [*(name for names in task.slices.values() for name in names), *task.perturbations]
        names = reading_names(task.metric, task.metrics, slices, task.workload_names)
        self.requirements = parse_requirements(definition.content["requirements"], names)
        self._store = Store(definition.folder.parent / ".store")
        self._machine = str(machine(definition.device)["id"])
        self._ceilings = Requirements(items=tuple(item for item in self.requirements.items if item.ceiling))
        self._floors = tuple(item for item in self.requirements.items if not item.ceiling)
        self._judge: Judge | None = None
        self._reference: Served | None = None

    def plan(self, recipe: Mapping[str, Any]) -> Plan:
        """The normal form of a recipe for the study's task."""
        return plan(recipe, base_defaults=self.task.base, runtimes=self.task.runtimes)

    def evaluate(self, request: Request) -> Candidate:
        """Makes the artifact of a recipe and measures it.

        A trial whose size or latency breaks a ceiling is rejected before anything trains: where both follow from its
        shapes, they are measured on an artifact that was not trained. One that misses a floor by more than `HOPELESS`
        is rejected at a first look, where the task has one, before all else is measured. The baseline and the presets
        are references, and whole.
        """
        start, made = time.monotonic(), self.plan(request.recipe)
        rejected = ""
        if request.name == TRIAL and self._ceilings.items and made.trains and made.sized:
            measured = self._rehearsed(request, made)
            rejected = self._broken_ceilings(measured, request)
            # Equal structures share one timing, also that of a candidate with its own rehearsal.
            request = dataclasses.replace(request, timed={**request.timed, measured.structure: measured.latency})
        if not rejected:
            measured, rejected = self._made(request, made)
        if request.baseline is None:
            self._check_worth(measured)
        give_back_memory()
        return Candidate(
            number=request.number,
            name=request.name,
            key=made.key,
            recipe=dict(request.recipe),
            summary=made.summary(),
            rejected=rejected,
            measurements=(measured,),
            seconds=round(time.monotonic() - start, 3),
        )

    def restore(self, request: Request) -> None:
        """Sees that the artifact of an archived candidate is whole, and makes it again if it is not."""
        made = self.plan(request.recipe)
        try:
            artifact.read(self.definition.artifacts / made.key)
        except AutopruneError:
            self._save(request, made, self._run(request, made))

    def time(self, asked: Retiming) -> Candidate:
        """An archived candidate with what its artifact takes on this machine.

        Raises:
            AutopruneError: the artifact is missing or damaged.
        """
        served, known = self._load(asked.candidate.key), asked.candidate.latest()
        latency = self._latency(served, known.structure, baseline=asked.baseline, timed=asked.timed)
        return asked.candidate.with_measurement(
            dataclasses.replace(known, machine=self._machine, latency=latency, memory_bytes=served.memory_bytes)
        )

    def _run(self, request: Request, made: Plan, *, train: bool = True) -> Model:
        context = dataclasses.replace(self.context, seed=request.seed)
        return run(made, self.task, context, trainer=self.trainer, store=self._store if train else None, train=train)

    def _rehearsed(self, request: Request, made: Plan) -> Measurement:
        """Size and latency of the artifact that a plan would give, without training anything."""
        model = self._run(request, made, train=False)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "artifact"
            artifact.save(self.task.parts(model, made.runtime), folder, provenance={})
            return self._measured(request, folder, self._loaded(folder), judged=None)

    def _broken_ceilings(self, measured: Measurement, request: Request) -> str:
        broken = self._ceilings.violations(self._readings(measured, request))
        return ", ".join(text for text, violation in broken.items() if violation > 0)

    def _made(self, request: Request, made: Plan) -> tuple[Measurement, str]:
        """The artifact's measurement, and the floors for which it was rejected at a first look."""
        folder = self.definition.artifacts / made.key
        self._save(request, made, self._run(request, made))
        served = self._loaded(folder)
        self.trainer.report("measuring")
        if request.name == TRIAL:
            glanced = self._glanced(request, folder, served)
            missed = "" if glanced is None else self._missed_by_far(glanced, request)
            if glanced is not None and missed:
                shutil.rmtree(folder)
                return glanced, missed
        return self._measured(request, folder, served, judged=self._judged(request, served)), ""

    def _glanced(self, request: Request, folder: Path, served: Served) -> Measurement | None:
        """A first look at what has floors, without slices, errors and latency; None where the task has none."""
        metrics = {self.task.metric if item.reading == "quality" else item.reading for item in self._floors}
        values = self.task.glance(served, metrics)
        if not values:
            return None
        return Measurement(
            split="validation",
            purpose=SEARCH,
            machine=self._machine,
            quality={name: {WHOLE: value} for name, value in values.items()},
            units={},
            size_bytes=artifact.size_bytes(folder),
            memory_bytes=served.memory_bytes,
            structure="",  # not timed
            latency={},
        )

    def _missed_by_far(self, measured: Measurement, request: Request) -> str:
        found, missed = self._readings(measured, request), []
        for item in self._floors:
            reading = found.get(item.reading)
            # Of a bound nothing is known yet: it is the value that must come near.
            value = None if reading is None else reading.ratio if item.relative else reading.value
            if value is not None and not value >= (1 - HOPELESS) * item.limit:
                missed.append(item.text)
        return ", ".join(missed)

    def _measured(self, request: Request, folder: Path, served: Served, *, judged: Judged | None) -> Measurement:
        structure = structure_of(folder)
        return Measurement(
            split="validation" if judged else None,
            purpose=SEARCH,
            machine=self._machine,
            quality=judged.quality if judged else {},
            units=judged.units if judged else {},
            errors=judged.errors if judged else {},
            size_bytes=artifact.size_bytes(folder),
            memory_bytes=served.memory_bytes,
            structure=structure,
            latency=self._latency(served, structure, baseline=request.baseline, timed=request.timed),
        )

    def _judged(self, request: Request, served: Served) -> Judged:
        if request.baseline is None:
            self._judge = Judge(self.task, "validation", served)
            return self._judge.baseline
        if self._judge is None:
            self._judge = Judge(self.task, "validation", self._baseline(request.baseline))
        return self._judge.judge(served)

    def _latency(
        self,
        served: Served,
        structure: str,
        *,
        baseline: Candidate | None,
        timed: Mapping[str, dict[str, Latency]],
    ) -> dict[str, Latency]:
        if structure in timed:
            return timed[structure]
        workloads, seconds = self.task.workloads(served), self.definition.latency_seconds
        if baseline is None:
            return own_latency(workloads, seconds=LONGER * seconds)
        return paired_latency(workloads, self.task.workloads(self._baseline(baseline)), seconds=seconds)

    def _readings(self, measured: Measurement, request: Request) -> dict[str, Reading]:
        assert request.baseline is not None, "what can be rejected is read against a baseline"
        return readings(measured, request.baseline.latest(), metric=self.task.metric)

    def _check_worth(self, baseline: Measurement) -> None:
        """Refuses a baseline of which nothing can be a share: ratios would say the opposite of what they seem to."""
        found = readings(baseline, baseline, metric=self.task.metric)
        for name in ("quality", *(item.reading for item in self._floors if item.relative)):
            reading = found.get(name)
            if reading is not None and reading.binds and math.isnan(reading.ratio):
                metric = self.task.metric if name == "quality" else name
                raise AutopruneError(
                    f"{metric}: the dense model has {reading.value:.4f} on validation data, and of what is not above 0 "
                    "no share can be kept. Do larger scores mean less alike there? Turn them round; otherwise judge by "
                    "another task.metric, or leave the requirement out."
                )

    def _baseline(self, baseline: Candidate) -> Served:
        """The baseline's artifact, loaded once."""
        if self._reference is None:
            self._reference = self._load(baseline.key)
        return self._reference

    def _load(self, key: str) -> Served:
        return self._loaded(self.definition.artifacts / key)

    def _loaded(self, folder: Path) -> Served:
        with on_threads(THREADS):
            return artifact.load(folder, device=self.context.device)

    def _save(self, request: Request, made: Plan, model: Model) -> None:
        artifacts = self.definition.artifacts
        artifact.save(
            self.task.parts(model, made.runtime),
            artifacts / made.key,
            provenance={
                "task": self.task.name,
                "recipe": request.recipe,
                "key": made.key,
                "parent": request.baseline.key if request.baseline else None,
                "seed": request.seed,
                "data": self.task.fingerprint(),
                "machine": machine(self.definition.device),
                "versions": versions(),
            },
            beside_from=artifacts / request.baseline.key if request.baseline else None,
        )
