"""One recipe in, one candidate out: make, save, load, measure; time, where that is asked for."""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path

import pandas as pd

from autoprune.artifacts import artifact
from autoprune.artifacts.served import Served
from autoprune.deadline import Deadline
from autoprune.errors import AutopruneError, Diverged, of_recipe
from autoprune.machine import THREADS, give_back_memory, machine
from autoprune.measure.judge import Judge, Judged
from autoprune.measure.measurement import SEARCH, WHOLE, Latency, Measurement
from autoprune.measure.timing import on_threads
from autoprune.recipes.recipe import Plan
from autoprune.recipes.stages import run
from autoprune.record.archive import TRIAL, Candidate
from autoprune.study.evaluation.loaded import Loaded, load, timed
from autoprune.study.evaluation.looker import Looker
from autoprune.study.evaluation.provenance import versions
from autoprune.study.evaluation.verdict import Verdict
from autoprune.study.request import Request, Retiming


class Evaluator(Looker):
    """Makes and measures candidates of a study, and looks at recipes.

    Attributes as of `autoprune.study.evaluation.maker.Maker`.
    """

    _judge: Judge | None = None
    _reference: Served | None = None  # the baseline's artifact, loaded once

    @cached_property
    def _verdict(self) -> Verdict:
        return Verdict(self.requirements, metrics=self.task.main_metrics)

    def evaluate(self, request: Request) -> Candidate:
        """Makes the artifact of a recipe and judges it.

        The baseline is timed as well. Of others what is known of their structure's latency is taken; who wants more
        asks `time`, alone. A trial that misses a floor by far, or that falls to a rival for sure, is rejected after the
        first of its answers, before slices by perturbation are scored. The baseline and the presets are references,
        and whole.

        Raises:
            OutOfTime: the request's seconds are over; training goes on from where it was when it is asked for again.
            Failed: nothing comes of the recipe: its training diverged, a step broke, or memory did not do.
            AutopruneError: nothing can be a share of the baseline, or a file of it is damaged.
        """
        self._deadline = Deadline.after(request.seconds)
        start, made = time.monotonic(), self.plan(request.recipe)
        with of_recipe() if request.baseline else nullcontext():  # what breaks on the baseline breaks on all
            loaded = self._load(self._save(request, made))
            self._work("measuring")
            judged, rejected = self._judged(request, loaded)
        measured = self._measured(request, loaded, judged)
        if rejected:
            shutil.rmtree(loaded.folder)
        seconds = 0.0
        if request.baseline is None:
            self._verdict.check_worth(measured)
            seconds = self.training_seconds  # the store may have had it
        give_back_memory()
        return Candidate(
            number=request.number,
            name=request.name,
            key=made.key,
            recipe=dict(request.recipe),
            summary=made.summary(),
            rejected=rejected,
            measurements=(measured,),
            seconds=round(max(seconds, time.monotonic() - start), 3),
        )

    def restore(self, request: Request) -> None:
        """Sees that the artifact of an archived candidate is whole, and makes it again if it is not.

        Raises:
            OutOfTime: as `evaluate`.
        """
        self._deadline = Deadline.after(request.seconds)
        made = self.plan(request.recipe)
        try:
            artifact.read(self.definition.artifacts / made.key, whole=True)
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
        self._work("timing")
        latency = self._known(loaded, asked) or self._time(loaded.served, asked.baseline)
        return asked.candidate.with_measurement(
            dataclasses.replace(known, machine=self.machine, latency=latency, memory_bytes=loaded.served.memory_bytes)
        )

    def _judged(self, request: Request, loaded: Loaded) -> tuple[Judged, str]:
        """What an artifact scored, and why it is rejected before all of it was asked for; empty if it is not."""
        served = loaded.served
        if request.baseline is None:
            self._judge = Judge(self.task, "validation", served, working=self._work)
            return self._judge.baseline, ""
        if self._judge is None:
            self._judge = Judge(self.task, "validation", self._baseline(request.baseline), working=self._work)
        first = self._judge.first(served)
        self._refuse_scoreless(first, request.baseline, loaded.folder)
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

    def _refuse_scoreless(self, rows: pd.DataFrame, baseline: Candidate, folder: Path) -> None:
        """Gives up what has no score where the baseline has one; of two vectors of zeros no cosine can be told.

        Raises:
            Diverged: a main metric is no number.
        """
        before = baseline.latest().quality
        for metric in self.task.main_metrics:
            value = self.task.metrics[metric](rows)
            if math.isfinite(before[metric][WHOLE]) and not math.isfinite(value):
                shutil.rmtree(folder)
                raise Diverged(f"{metric} is {value}")

    def _measured(self, request: Request, loaded: Loaded, judged: Judged) -> Measurement:
        latency = self._known(loaded, request) or {} if request.baseline else self._time(loaded.served, None)
        return loaded.measurement(judged, split="validation", purpose=SEARCH, machine=self.machine, latency=latency)

    def _known(self, loaded: Loaded, asked: Request | Retiming) -> dict[str, Latency] | None:
        """What is known of a structure's latency on this machine."""
        return asked.timed.get(self.machine, {}).get(loaded.structure)

    def _time(self, served: Served, baseline: Candidate | None) -> dict[str, Latency]:
        before = self._baseline(baseline) if baseline else None
        return timed(self.task, served, before, seconds=self.definition.latency_seconds, deadline=self._deadline)

    def _baseline(self, baseline: Candidate) -> Served:
        if self._reference is None:
            self._reference = self._load(self.definition.artifacts / baseline.key).served
        return self._reference

    def _load(self, folder: Path) -> Loaded:
        return load(folder, device=self.device, pause=self._pause)

    def _save(self, request: Request, made: Plan) -> Path:
        """Makes the model of a plan, and its artifact; returns the artifact's folder."""
        artifacts, parent = self.definition.artifacts, request.baseline
        context = dataclasses.replace(self.context, seed=request.seed, deadline=self._deadline)
        # Of candidates several are made at a time, on a thread each; those that are made alone come to the same.
        with on_threads(THREADS) if parent else nullcontext():
            model = run(made, self.task, context, trainer=self.trainer, store=self.store)
            parts = self.task.parts(model, made.runtime)
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
