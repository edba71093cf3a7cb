"""One plan in, one candidate out: reject cheaply, make, save, load, measure."""

from __future__ import annotations

import dataclasses
import math
import platform
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served
from autoprune.errors import AutopruneError
from autoprune.fronts.requirements import Requirements
from autoprune.machine import THREADS, give_back_memory, machine
from autoprune.measure.judge import Judge, Judged
from autoprune.measure.measurement import SEARCH, WHOLE, Latency, Measurement
from autoprune.measure.reading import readings
from autoprune.measure.timing import on_threads, own_latency, paired_latency
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.recipe import Plan, digest
from autoprune.recipes.stages import run
from autoprune.recipes.store import Store
from autoprune.recipes.train import Trainer
from autoprune.record.archive import TRIAL, Candidate
from autoprune.tasks.task import Task
from autoprune.version import VERSION

HOPELESS = 0.1
"""A candidate that misses a floor by a larger share is given up at a first look: floors can still be loosened by as
much without training anything."""


class Evaluator:
    """Makes and measures candidates, each against the same baseline.

    Args:
        task: what is compressed, and how it is judged.
        context: seed and device; the same for every candidate.
        trainer: trains.
        store: keeps what was trained.
        requirements: ceilings among them can reject a candidate before it is trained, floors before it is measured
            whole.
        artifacts: the folder that artifacts are saved in, one by key.
        latency_seconds: for how long each workload is timed.
        candidates: what was measured so far, by key (an archive's, read only).
    """

    def __init__(
        self,
        task: Task,
        context: Context,
        *,
        trainer: Trainer,
        store: Store,
        requirements: Requirements,
        artifacts: Path,
        latency_seconds: float,
        candidates: Mapping[str, Candidate],
    ) -> None:
        self.task = task
        self.context = context
        self.trainer = trainer
        self.store = store
        self.artifacts = artifacts
        self.latency_seconds = latency_seconds
        self.candidates = candidates
        self._ceilings = Requirements(items=tuple(item for item in requirements.items if item.ceiling))
        self._floors = tuple(item for item in requirements.items if not item.ceiling)
        self._baseline_served: Served | None = None
        self._judges: Judge | None = None
        self._timed: dict[str, dict[str, Latency]] = {}

    @property
    def baseline(self) -> Candidate | None:
        """The candidate that all others are measured against; None until it is made."""
        return next(iter(self.candidates.values()), None)

    def evaluate(self, plan: Plan, recipe: Mapping[str, Any], *, name: str, number: int) -> Candidate:
        """Makes the artifact of a plan and measures it; the first candidate is the baseline.

        A candidate whose size or latency breaks a ceiling is rejected before anything trains: where both follow from
        its shapes, they are measured on an artifact that was not trained. One that misses a floor by more than
        `HOPELESS` is rejected at a first look, where the task has one, before all else is measured. Only the sampler's
        candidates are: the baseline and the presets are references, and whole.
        """
        start = time.monotonic()
        rejected, folder = "", self.artifacts / plan.key
        measured = None
        if name == TRIAL and self._ceilings.items and plan.trains and plan.sized:
            measured = self._rehearse(plan)
            broken = self._ceilings.violations(
                readings(measured, self._known_baseline().latest(), metric=self.task.metric)
            )
            rejected = ", ".join(text for text, violation in broken.items() if violation > 0)
        if not rejected:
            model = run(plan, self.task, self.context, trainer=self.trainer, store=self.store)
            self._save(model, plan, recipe, folder)
            served = self._load(folder)
            self.trainer.report("measuring")
            if name == TRIAL:
                measured, rejected = self._glance(served, folder)
            if rejected:
                shutil.rmtree(folder)
            else:
                measured = self._measure(served, folder, self._judge(served))
        assert measured is not None, "whatever is rejected was measured for it"
        if self.baseline is None:
            self._check_worth(measured)
        give_back_memory()
        return Candidate(
            number=number,
            name=name,
            key=plan.key,
            recipe=dict(recipe),
            words=plan.summary(),
            rejected=rejected,
            measurements=(measured,),
            seconds=round(time.monotonic() - start, 3),
        )

    def keep(self, plan: Plan, recipe: Mapping[str, Any]) -> None:
        """Sees that the artifact of an archived candidate is whole, and makes it again if it is not."""
        folder = self.artifacts / plan.key
        try:
            artifact.read(folder)
        except AutopruneError:
            model = run(plan, self.task, self.context, trainer=self.trainer, store=self.store)
            artifact.save(self.task.parts(model, plan.runtime), folder, provenance=self._provenance(plan, recipe))

    def timed_again(self, candidate: Candidate) -> Candidate:
        """The same candidate, its artifact timed on this machine; the baseline must be the first.

        Raises:
            AutopruneError: the artifact is missing or damaged.
        """
        served, known = self._load(self.artifacts / candidate.key), candidate.latest()
        latency = self._latency(served, known.structure)
        return candidate.with_measurement(
            dataclasses.replace(known, machine=str(machine()["id"]), latency=latency, memory_bytes=served.memory_bytes)
        )

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

    def _rehearse(self, plan: Plan) -> Measurement:
        """Size and latency of the artifact that a plan would give, without training anything."""
        model = run(plan, self.task, self.context, trainer=self.trainer, train=False)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "artifact"
            artifact.save(self.task.parts(model, plan.runtime), folder, provenance={})
            return self._measure(self._load(folder), folder)

    def _glance(self, served: Served, folder: Path) -> tuple[Measurement | None, str]:
        """A first look at what has floors, without slices, errors and latency, and the floors that it misses by far."""
        metrics = {self.task.metric if item.reading == "quality" else item.reading for item in self._floors}
        values = self.task.glance(served, metrics)
        if not values:
            return None, ""
        measured = Measurement(
            split="validation",
            purpose=SEARCH,
            machine=str(machine()["id"]),
            quality={name: {WHOLE: value} for name, value in values.items()},
            units={},
            size_bytes=artifact.size_bytes(folder),
            memory_bytes=served.memory_bytes,
            structure="",  # not timed
            latency={},
        )
        found = readings(measured, self._known_baseline().latest(), metric=self.task.metric)
        missed = []
        for item in self._floors:
            reading = found.get(item.reading)
            # Of a bound nothing is known yet: it is the value that must come near.
            value = None if reading is None else reading.ratio if item.relative else reading.value
            if value is not None and not value >= (1 - HOPELESS) * item.limit:
                missed.append(item.text)
        return measured, ", ".join(missed)

    def _judge(self, served: Served) -> Judged:
        if self.baseline is None:
            self._judges = Judge(self.task, "validation", served)
            return self._judges.baseline
        if self._judges is None:
            self._judges = Judge(self.task, "validation", self._reference())
        return self._judges.judge(served)

    def _measure(self, served: Served, folder: Path, judged: Judged | None = None) -> Measurement:
        structure = self._structure(folder)
        return Measurement(
            split="validation" if judged else None,
            purpose=SEARCH,
            machine=str(machine()["id"]),
            quality=judged.quality if judged else {},
            units=judged.units if judged else {},
            errors=judged.errors if judged else {},
            size_bytes=artifact.size_bytes(folder),
            memory_bytes=served.memory_bytes,
            structure=structure,
            latency=self._latency(served, structure),
        )

    def _latency(self, served: Served, structure: str) -> dict[str, Latency]:
        if structure not in self._timed:
            self._timed[structure] = self._known_latency(structure) or self._time(served)
        return self._timed[structure]

    def _known_latency(self, structure: str) -> dict[str, Latency] | None:
        for candidate in self.candidates.values():
            known = candidate.measured(machine=str(machine()["id"]))
            if known is not None and known.structure == structure:
                return known.latency
        return None

    def _time(self, served: Served) -> dict[str, Latency]:
        workloads = self.task.workloads(served)
        if self.baseline is None or self.baseline.measured(machine=str(machine()["id"])) is None:
            # All milliseconds rest on these: they are taken for longer.
            return own_latency(workloads, seconds=4 * self.latency_seconds)
        return paired_latency(workloads, self.task.workloads(self._reference()), seconds=self.latency_seconds)

    def _reference(self) -> Served:
        if self._baseline_served is None:
            self._baseline_served = self._load(self.artifacts / self._known_baseline().key)
        return self._baseline_served

    def _load(self, folder: Path) -> Served:
        with on_threads(THREADS):
            return artifact.load(folder, device=self.context.device)

    def _structure(self, folder: Path) -> str:
        """Names what latency depends on: encodings and the shape of every stored tensor."""
        parts = artifact.read(folder)
        shapes = {
            name: [str(tensor.dtype), *tensor.shape]
            for name, tensor in parts.tensors.items()
            if not name.startswith("ids.")  # compressed: their length says nothing of the work
        }
        return digest({"tables": parts.manifest, "shapes": shapes})

    def _known_baseline(self) -> Candidate:
        assert self.baseline is not None, "the baseline comes first"
        return self.baseline

    def _save(self, model: Model, plan: Plan, recipe: Mapping[str, Any], folder: Path) -> None:
        beside_from = self.artifacts / self.baseline.key if self.baseline else None
        provenance = self._provenance(plan, recipe)
        artifact.save(self.task.parts(model, plan.runtime), folder, provenance=provenance, beside_from=beside_from)

    def _provenance(self, plan: Plan, recipe: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "task": self.task.name,
            "recipe": recipe,
            "key": plan.key,
            "parent": self.baseline.key if self.baseline and self.baseline.key != plan.key else None,
            "seed": self.context.seed,
            "data": self.task.fingerprint(),
            "machine": machine(),
            "versions": {
                "autoprune": VERSION,
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "numpy": np.__version__,
                "safetensors": safetensors.__version__,
            },
        }
