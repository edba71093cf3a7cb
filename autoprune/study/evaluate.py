"""One recipe in, one candidate out: reject cheaply, make, save, load, measure."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served, serve
from autoprune.deadline import NEVER, Deadline
from autoprune.errors import AutopruneError
from autoprune.fronts.requirements import Requirements, parse_requirements
from autoprune.machine import THREADS, give_back_memory, machine
from autoprune.measure.judge import Judge, Judged
from autoprune.measure.measurement import RULES, SEARCH, WHOLE, Latency, Measurement
from autoprune.measure.reading import reading_names
from autoprune.measure.timing import on_threads, own_latency, paired_latency
from autoprune.models.context import Context
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
from autoprune.study.verdict import Verdict
from autoprune.tasks.task import Task

LONGER = 4
"""How many times as long as all others the baseline is timed: all milliseconds rest on it."""


@dataclass(frozen=True)
class Loaded:
    """An artifact, ready to answer."""

    folder: Path
    served: Served
    structure: str


class Evaluator(Worker):
    """Makes and measures candidates of a study. What it needs is made when it is first used.

    Args:
        definition: of the study.
        task: the study's, if it is at hand; read again otherwise.
        working: called with a few words about the work in progress.
        note: called with what should be known early.
    """

    def __init__(
        self,
        definition: Definition,
        task: Task | None = None,
        *,
        working: Callable[[str], None] = lambda message: None,
        note: Callable[[str], None] = lambda message: None,
    ) -> None:
        super().__init__(definition)
        self._given = task
        self._working, self._note = working, note
        self._deadline = NEVER
        self._judge: Judge | None = None
        self._reference: Served | None = None
        self._timed: dict[str, dict[str, Latency]] = {}

    @cached_property
    def task(self) -> Task:
        """The study's task.

        Raises:
            AutopruneError: its data is not where it was, or not what it was.
        """
        task = self._given or self.definition.make_task()
        task.report, task.pause = self._work, self._pause
        return task

    @cached_property
    def context(self) -> Context:
        """What steps may know beside the weights.

        Raises:
            AutopruneError: there is no such device.
        """
        return self.task.context(seed=self.definition.seed, device=find_device(self.definition.device))

    @cached_property
    def trainer(self) -> Trainer:
        """Trains models as the task says."""
        return Trainer(self.task.training, report=self._working, note=self._note)

    @cached_property
    def requirements(self) -> Requirements:
        """The study's.

        Raises:
            AutopruneError: one cannot be read, or names what is not measured.
        """
        task = self.task
        slices = [*(name for names in task.slices.values() for name in names), *task.perturbations]
        names = reading_names(task.metric, task.metrics, slices, task.workload_names)
        return parse_requirements(self.definition.content["requirements"], names).of_metrics(task.main_metrics)

    def check(self) -> None:
        """Refuses a device and requirements that cannot be.

        Raises:
            AutopruneError: with the path of the entry.
        """
        _ = self.context, self.requirements

    @cached_property
    def _verdict(self) -> Verdict:
        return Verdict(self.requirements, metrics=self.task.main_metrics)

    @cached_property
    def _machine(self) -> str:
        return str(machine(self.definition.device)["id"])

    def plan(self, recipe: Mapping[str, Any]) -> Plan:
        """The normal form of a recipe for the study's task."""
        return plan(recipe, base_defaults=self.task.base, runtimes=self.task.runtimes)

    def evaluate(self, request: Request) -> Candidate:
        """Makes the artifact of a recipe and measures it.

        A trial whose size or latency breaks a ceiling is rejected before anything trains: where both follow from its
        shapes, they are measured on an artifact that was not trained. One that misses a floor by far is rejected at a
        first look, where the task has one, before all else is measured. The baseline and the presets are references,
        and whole.

        Raises:
            OutOfTime: the request's seconds are over; training goes on from where it was when it is asked for again.
            AutopruneError: nothing can be a share of the baseline, or training diverged.
        """
        self._deadline = Deadline.after(request.seconds)
        start, made = time.monotonic(), self.plan(request.recipe)
        measured, rejected = self._rehearsed(request, made)
        if measured is None or not rejected:
            measured, rejected = self._made(request, made)
        if request.baseline is None:
            self._verdict.check_worth(measured)
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
        """Sees that the artifact of an archived candidate is whole, and makes it again if it is not.

        Raises:
            OutOfTime: as `evaluate`.
        """
        self._deadline = Deadline.after(request.seconds)
        made = self.plan(request.recipe)
        try:
            artifact.read(self.definition.artifacts / made.key)
        except AutopruneError:
            self._save(request, made)

    def time(self, asked: Retiming) -> Candidate:
        """An archived candidate with what its artifact takes on this machine.

        Raises:
            OutOfTime: the seconds are over.
            AutopruneError: the artifact is missing or damaged.
        """
        self._deadline = Deadline.after(asked.seconds)
        loaded, known = self._load(self.definition.artifacts / asked.candidate.key), asked.candidate.latest()
        latency, held = self._latency(loaded, asked), loaded.served.memory_bytes
        return asked.candidate.with_measurement(
            dataclasses.replace(known, machine=self._machine, latency=latency, memory_bytes=held)
        )

    def _work(self, message: str) -> None:
        """Says what is being done, and stops if the time is over: whatever takes long says so now and then."""
        self._working(message)
        self._deadline.check(message)

    def _pause(self) -> None:
        self._deadline.check("measuring")

    def _rehearsed(self, request: Request, made: Plan) -> tuple[Measurement | None, str]:
        """Size and latency of what a plan would give, without training anything, and the ceilings that they break.

        None where no ceiling asks for it, or where they do not follow from shapes.
        """
        if request.name != TRIAL or not self._verdict.has_ceilings or not (made.trains and made.sized):
            return None, ""
        model = self._run(request, made, train=False)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "artifact"
            artifact.save(self.task.parts(model, made.runtime), folder, provenance={})
            measured = self._measured(request, self._load(folder), judged=None)
        return measured, self._verdict.broken_ceilings(measured, _before(request))

    def _made(self, request: Request, made: Plan) -> tuple[Measurement, str]:
        """The artifact's measurement, and the floors for which it was rejected at a first look."""
        loaded = self._load(self._save(request, made))
        self._work("measuring")
        if request.name == TRIAL:
            glanced = self._glanced(loaded)
            missed = self._verdict.missed_by_far(glanced, _before(request)) if glanced else ""
            if glanced and missed:
                shutil.rmtree(loaded.folder)
                return glanced, missed
        return self._measured(request, loaded, judged=self._judged(request, loaded.served)), ""

    def _glanced(self, loaded: Loaded) -> Measurement | None:
        """A first look at what has floors, without slices, errors and latency; None where the task has none."""
        values = self.task.glance(loaded.served, self._verdict.floored)
        if not values:
            return None
        return Measurement(
            split="validation",
            purpose=SEARCH,
            machine=self._machine,
            quality={name: {WHOLE: value} for name, value in values.items()},
            units={},
            rules=RULES,
            size_bytes=artifact.size_bytes(loaded.folder),
            folder_bytes=artifact.folder_bytes(loaded.folder),
            history_bytes=loaded.served.history_bytes,
            memory_bytes=loaded.served.memory_bytes,
            structure="",  # not timed
            latency={},
        )

    def _measured(self, request: Request, loaded: Loaded, *, judged: Judged | None) -> Measurement:
        return Measurement(
            split="validation" if judged else None,
            purpose=SEARCH,
            machine=self._machine,
            quality=judged.quality if judged else {},
            units=judged.units if judged else {},
            errors=judged.errors if judged else {},
            rules=RULES,
            size_bytes=artifact.size_bytes(loaded.folder),
            folder_bytes=artifact.folder_bytes(loaded.folder),
            history_bytes=loaded.served.history_bytes,
            memory_bytes=loaded.served.memory_bytes,
            structure=loaded.structure,
            latency=self._latency(loaded, request),
        )

    def _judged(self, request: Request, served: Served) -> Judged:
        if request.baseline is None:
            self._judge = Judge(self.task, "validation", served, working=self._work)
            return self._judge.baseline
        if self._judge is None:
            self._judge = Judge(self.task, "validation", self._baseline(request.baseline), working=self._work)
        return self._judge.judge(served)

    def _latency(self, loaded: Loaded, asked: Request | Retiming) -> dict[str, Latency]:
        known = {**self._timed, **asked.timed.get(self._machine, {})}
        if loaded.structure not in known:
            self._work("timing")
            known[loaded.structure] = self._time(loaded.served, asked.baseline)
        self._timed[loaded.structure] = known[loaded.structure]  # also where a candidate is rejected later on
        return known[loaded.structure]

    def _time(self, served: Served, baseline: Candidate | None) -> dict[str, Latency]:
        workloads, seconds = self.task.workloads(served), self.definition.latency_seconds
        if baseline is None:
            return own_latency(workloads, seconds=LONGER * seconds, deadline=self._deadline)
        before = self.task.workloads(self._baseline(baseline))
        return paired_latency(workloads, before, seconds=seconds, deadline=self._deadline)

    def _baseline(self, baseline: Candidate) -> Served:
        """The baseline's artifact, loaded once."""
        if self._reference is None:
            self._reference = self._load(self.definition.artifacts / baseline.key).served
        return self._reference

    def _load(self, folder: Path) -> Loaded:
        parts = artifact.read(folder)
        with on_threads(THREADS):
            served = serve(parts, device=self.context.device)
        served.pause = self._pause
        return Loaded(folder, served, structure_of(parts))

    def _run(self, request: Request, made: Plan, *, train: bool = True) -> Model:
        context = dataclasses.replace(self.context, seed=request.seed, deadline=self._deadline)
        store = Store(self.definition.folder.parent / ".store") if train else None
        return run(made, self.task, context, trainer=self.trainer, store=store, train=train)

    def _save(self, request: Request, made: Plan) -> Path:
        """Makes the model of a plan, and its artifact; returns the artifact's folder."""
        artifacts, parent = self.definition.artifacts, request.baseline
        parts = self.task.parts(self._run(request, made), made.runtime)
        provenance = {
            "task": self.task.name,
            "recipe": request.recipe,
            "key": made.key,
            "parent": parent.key if parent else None,
            "seed": request.seed,
            "data": self.task.fingerprint(),
            "machine": machine(self.definition.device),
            "versions": versions(),
        }
        beside_from = artifacts / parent.key if parent else None
        artifact.save(parts, artifacts / made.key, provenance=provenance, beside_from=beside_from)
        return artifacts / made.key


def _before(request: Request) -> Measurement:
    assert request.baseline is not None, "what can be rejected is read against a baseline"
    return request.baseline.latest()
