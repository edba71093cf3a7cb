"""Turns a recipe into a candidate: make, save, load, measure and, on request, time."""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path

import pandas as pd

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served
from autoprune.deadline import NEVER, Deadline
from autoprune.errors import AutopruneError, Diverged, Failed, of_recipe
from autoprune.machine import THREADS, give_back_memory, machine
from autoprune.measure.judge import Judge, Judged
from autoprune.measure.measurement import SEARCH, WHOLE, Latency, Measurement
from autoprune.measure.timing import on_threads
from autoprune.models.context import Context
from autoprune.models.model import Model
from autoprune.recipes.fit import CutShort
from autoprune.recipes.recipe import Plan
from autoprune.recipes.stages import run
from autoprune.record.archive import TRIAL, Candidate
from autoprune.record.cut_short import cut_short_after, keep_epochs
from autoprune.study.evaluation.loaded import Loaded, load, timed
from autoprune.study.evaluation.looker import Looker
from autoprune.study.evaluation.provenance import versions
from autoprune.study.evaluation.verdict import Verdict
from autoprune.study.request import Request, Retiming


class Evaluator(Looker):
    """Makes and measures candidates of a study, and looks at recipes.

    Arguments as for `autoprune.study.evaluation.maker.Maker`.
    """

    _judge: Judge | None = None
    _reference: Served | None = None  # the baseline's artifact, loaded once

    @cached_property
    def _verdict(self) -> Verdict:
        return Verdict(self.requirements, metrics=self.task.main_metrics)

    def evaluate(self, request: Request) -> Candidate:
        """Makes the artifact of a recipe and judges it.

        The baseline is timed as well. Other candidates take over the known latency of their structure, if there is one;
        `time` measures it. A trial that misses a floor by far, or is surely beaten by a rival, is rejected after its
        first answers, before perturbations are scored. The baseline and the presets are references and always measured
        in full.

        Raises:
            OutOfTime: the request's seconds are over; a repeated request continues the training.
            Failed: the recipe failed: its training diverged, a step or a workload broke, or memory ran out.
            AutopruneError: the baseline's score is not above 0, or one of its files is damaged.
        """
        self._deadline = Deadline.after(request.seconds)
        start, plan, training = time.monotonic(), self.plan(request.recipe), 0.0
        trained_before = self.training_seconds if request.baseline is None else 0.0  # in earlier runs or other studies
        try:
            with _blaming(request.baseline):
                loaded = self._load(self._save(request, plan))
                self._work("measuring")
                judged, rejected = self._judged(request, loaded)
                if not rejected:
                    self.task.workloads(loaded.served)  # a broken one fails here, before the candidate is archived
        except Failed:
            shutil.rmtree(self.definition.artifacts / plan.key, ignore_errors=True)
            raise
        measurement = self._measured(request, loaded, judged)
        if rejected:
            shutil.rmtree(loaded.folder)
        if request.baseline is None:
            self._verdict.check_worth(measurement)
            training = self.training_seconds
        give_back_memory()
        return Candidate(
            number=request.number,
            name=request.name,
            key=plan.key,
            recipe=dict(request.recipe),
            summary=plan.summary(),
            rejected=rejected,
            measurements=(measurement,),
            seconds=round(trained_before + time.monotonic() - start, 3),
            training=round(training, 3),
        )

    def restore(self, request: Request) -> None:
        """Rebuilds the artifact of an archived candidate if it is damaged or missing.

        Raises:
            OutOfTime: as `evaluate`.
        """
        self._deadline = Deadline.after(request.seconds)
        plan = self.plan(request.recipe)
        try:
            artifact.read(self.definition.artifacts / plan.key, whole=True)
        except AutopruneError:
            self._save(request, plan)

    def time(self, request: Retiming) -> Candidate:
        """Times the artifact of an archived candidate on this machine; returns the candidate with its latency.

        Raises:
            OutOfTime: the seconds are over.
            Failed: a workload broke, or memory ran out.
            AutopruneError: the artifact is missing or damaged.
        """
        self._deadline = Deadline.after(request.seconds)
        before = request.candidate.latest()
        with _blaming(request.baseline):
            loaded = self._load(self.definition.artifacts / request.candidate.key)
            self._work("timing")
            latency = self._known_latency(loaded, request) or self._time(loaded.served, request.baseline)
        return request.candidate.with_measurement(
            dataclasses.replace(before, machine=self.machine, latency=latency, memory_bytes=loaded.served.memory_bytes)
        )

    def _judged(self, request: Request, loaded: Loaded) -> tuple[Judged, str]:
        """The scores of an artifact, and why it is rejected before it is measured in full; empty if it is not."""
        served = loaded.served
        if request.baseline is None:
            self._judge = Judge(self.task, "validation", served, working=self._work)
            return self._judge.baseline, ""
        if self._judge is None:
            self._judge = Judge(self.task, "validation", self._baseline(request.baseline), working=self._work)
        first = self._judge.first(served)
        self._refuse_scoreless(first, request.baseline)
        if request.name == TRIAL:
            judged = self._judge.judge({WHOLE: first})
            rejected = self._verdict.rejected(
                judged,
                request.baseline.latest(),
                size_bytes=artifact.size_bytes(loaded.folder),
                vector_bytes=served.vector_bytes,
                rivals=request.rivals,
            )
            if rejected:
                return dataclasses.replace(judged, units={}, draws=()), rejected
        return self._judge.judge(self._judge.rows(served, first)), ""

    def _refuse_scoreless(self, rows: pd.DataFrame, baseline: Candidate) -> None:
        """Gives up an artifact without a score if the baseline has one; zero vectors, for example, have no cosine.

        Raises:
            Diverged: a main metric is not a number.
        """
        baseline_quality = baseline.latest().quality
        for metric in self.task.main_metrics:
            value = self.task.metrics[metric](rows)
            if math.isfinite(baseline_quality[metric][WHOLE]) and not math.isfinite(value):
                raise Diverged(f"{metric} is {value}")

    def _measured(self, request: Request, loaded: Loaded, judged: Judged) -> Measurement:
        latency = self._known_latency(loaded, request) or {} if request.baseline else self._time(loaded.served, None)
        return loaded.measurement(judged, split="validation", purpose=SEARCH, machine=self.machine, latency=latency)

    def _known_latency(self, loaded: Loaded, request: Request | Retiming) -> dict[str, Latency] | None:
        """The known latency of an artifact's structure on this machine; None if it was not timed yet."""
        return request.timed.get(self.machine, {}).get(loaded.structure)

    def _time(self, served: Served, baseline: Candidate | None) -> dict[str, Latency]:
        reference = self._baseline(baseline) if baseline else None
        return timed(self.task, served, reference, seconds=self.definition.latency_seconds, deadline=self._deadline)

    def _baseline(self, baseline: Candidate) -> Served:
        if self._reference is None:
            self._reference = self._load(self.definition.artifacts / baseline.key).served
        return self._reference

    def _load(self, folder: Path) -> Loaded:
        return load(folder, device=self.device, pause=self._pause)

    def _made(self, plan: Plan, context: Context) -> Model:
        """Makes a plan's model, with what the dense model has reached if its training is cut short."""
        try:
            return run(plan, self.task, context, trainer=self.trainer, store=self.store)
        except CutShort as stopped:
            cut_short = stopped.with_traceback(None)  # which holds the training's memory
        context = dataclasses.replace(context, training_until=NEVER)
        if keep_epochs(self.definition.folder, cut_short.epochs) == cut_short.epochs:
            self.store.save(self._dense_key, cut_short.checkpoint)
        self._note(
            f"Training the dense model is cut short after {self.trainer.settings.epochs} epochs to leave time for the "
            f"search: {self.task.metric} is {cut_short.quality:.4f} on validation, of which the last "
            f"{self.task.training.patience} validations brought {100 * cut_short.gain:.1f} %."
        )
        return run(plan, self.task, context, trainer=self.trainer, store=self.store)

    def _save(self, request: Request, plan: Plan) -> Path:
        """Makes a plan's model, saves it as an artifact, and returns the artifact's folder."""
        artifacts, parent = self.definition.artifacts, request.baseline
        is_cut_short = cut_short_after(self.definition.folder) is not None  # and may not be so again
        until = NEVER if is_cut_short else Deadline.after(request.training_seconds)
        context = dataclasses.replace(self.context, seed=request.seed, deadline=self._deadline, training_until=until)
        # Candidates may be made several at a time, on one thread each; one made alone must come out the same.
        with on_threads(THREADS) if parent else nullcontext():
            model = self._made(plan, context)
            parts = self.task.parts(model, plan.runtime)
        provenance = {
            "task": self.task.name,
            "recipe": request.recipe,
            "key": plan.key,
            "parent": parent.key if parent else None,
            "seed": request.seed,
            "data": self.task.fingerprint(),
            "machine": machine(self.definition.device),
            "versions": versions(),
        }
        beside_from = artifacts / parent.key if parent else None
        artifact.save(parts, artifacts / plan.key, provenance=provenance, beside_from=beside_from)
        return artifacts / plan.key


def _blaming(baseline: Candidate | None) -> AbstractContextManager[None]:
    """Blames a candidate's recipe for an error; one on the baseline itself (None) would affect every recipe."""
    return of_recipe() if baseline else nullcontext()
