"""A search: the baseline, the presets, then what the sampler asks for. The driver asks, archives and tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from autoprune.artifacts import artifact
from autoprune.deadline import NEVER, Deadline, OutOfTime
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.machine import machine
from autoprune.measure.measurement import RULES, SEARCH, version_of
from autoprune.record.archive import BASELINE, TRIAL, Archive, Candidate
from autoprune.record.folder import note_machine
from autoprune.record.record import Record
from autoprune.record.unfinished import Unfinished
from autoprune.study.evaluate import Evaluator
from autoprune.study.executor import Executor
from autoprune.study.outlook import Outlook
from autoprune.study.progress import Progress
from autoprune.study.request import Request, Retiming, timings
from autoprune.study.sampler import Sampler, Told
from autoprune.study.settings import StudyConfig

Recipes = Mapping[str, Mapping[str, Any]]
"""Recipes by name."""

RESERVED = 0.25
"""The share of study.minutes that the search leaves to the verification at most."""


@dataclass(frozen=True)
class _Flight:
    """What is in the making."""

    key: str
    label: str


class Driver:
    """Drives a search; one process does at a time.

    Args:
        config: budget and objectives.
        evaluator: makes candidates of the study, wherever the executor asks it to.
        archive: where every finished candidate goes.
        executor: runs evaluations.
        report: called whenever a candidate is finished.
        deadline: when the run is to end, verification included.
        reading: seconds that reading the data took.
    """

    def __init__(
        self,
        config: StudyConfig,
        *,
        evaluator: Evaluator,
        archive: Archive,
        executor: Executor,
        report: Callable[[Progress], None],
        deadline: Deadline = NEVER,
        reading: float = 0.0,
    ) -> None:
        self.config = config
        self.evaluator = evaluator
        self.archive = archive
        self.executor = executor
        self.report = report
        self._deadline = deadline
        self._presets: dict[str, str] = {}  # keys by name
        self._stopped: str | None = None  # what was in the making when the time was over
        self._exhausted = False
        self._definition = evaluator.definition
        self._outlook = Outlook(
            archive, rounds=config.verify_rounds, reading=reading, timing=self._definition.latency_seconds
        )
        # Of whoever measures, which need not be this process.
        facts = executor.submit(machine, self._definition.device).result()
        self._machine = str(facts["id"])
        note_machine(self._definition.folder, facts)
        self._flying: dict[Future[Candidate], _Flight] = {}
        self._number = 1 + max((candidate.number for candidate in archive.candidates.values()), default=0)
        self._front: Front | None = None

    def run(self, presets: Recipes, open_sampler: Callable[[], Sampler]) -> None:
        """Searches until the budget is spent. What was finished before, by this or a killed process, is kept.

        What the time does not do for is written down in the study's folder, see `autoprune.record.unfinished`.

        Args:
            presets: measured before the sampler is asked.
            open_sampler: called once there is something to tell.
        """
        folder = self._definition.folder
        Unfinished.clear(folder)
        self._presets = {name: self.evaluator.plan(recipe).key for name, recipe in presets.items()}
        try:
            self._search(presets, open_sampler)
        except OutOfTime as stopped:
            self._stopped = stopped.doing
        except BaseException:
            for future in self._flying:  # whatever ends the search, what is finished is kept
                if future.done() and not future.cancelled() and future.exception() is None:
                    self.archive.add(future.result())
            raise
        if self._stopped is not None and (self._stopped or self._missing() or self._trials_left()):
            self._unfinished().write(folder)

    def _search(self, presets: Recipes, open_sampler: Callable[[], Sampler]) -> None:
        artifact.sweep(self._definition.artifacts)
        self._evaluate({BASELINE: {}})
        if self.archive.baseline is None:
            return
        # Everything is measured against it, so it must be whole.
        self.executor.submit(self.evaluator.restore, self._request({}, name=BASELINE, number=0)).result()
        self._time_here()
        self._evaluate(presets)
        if self._out_of_time():
            return
        sampler = open_sampler()
        sampler.tell_known(self._told_recipes({BASELINE: {}, **presets}))
        sampler.settle(lambda key: self._told(found) if (found := self.archive.candidates.get(key)) else None)
        self._sample(sampler)

    def _evaluate(self, recipes: Recipes) -> None:
        """Makes and measures what is not archived yet, in order, until the time is over."""
        for name, recipe in recipes.items():
            key = self.evaluator.plan(recipe).key
            if key in self.archive.candidates or any(flight.key == key for flight in self._flying.values()):
                continue
            if name != BASELINE and self._out_of_time():
                break
            self._submit(recipe, key, name=name)
            if len(self._flying) >= self.executor.slots:
                self._collect()
        while self._flying:
            self._collect()

    def _sample(self, sampler: Sampler) -> None:
        """Asks, evaluates and tells, as many at a time as the executor takes, until the budget is spent."""
        left = self.config.trials - self._trials(sampler)
        while True:
            while left > 0 and len(self._flying) < self.executor.slots and not self._over():
                recipe = sampler.ask(self.archive.candidates.keys())
                if recipe is None:
                    self._exhausted = True
                    break
                self._submit(recipe, self.evaluator.plan(recipe).key, name=TRIAL)
                left -= 1
            if not self._flying:
                return
            for candidate in self._collect():
                sampler.tell(self._told(candidate))

    def _submit(self, recipe: Mapping[str, Any], key: str, *, name: str) -> None:
        if name != BASELINE:
            self._check_rules()
        number = 0 if name == BASELINE else self._number
        self._number = max(self._number, number + 1)
        request = self._request(recipe, name=name, number=number)
        label = self.evaluator.plan(recipe).summary() if name == TRIAL else name
        self._flying[self.executor.submit(self.evaluator.evaluate, request)] = _Flight(key, label)

    def _check_rules(self) -> None:
        """Refuses to measure beside a baseline that was judged by other rules: of the two no ratio can be told.

        Raises:
            AutopruneError: it was.
        """
        rules = self._baseline().latest().rules
        if rules != RULES:
            raise AutopruneError(
                f"study {self._definition.folder.name!r} was begun by {version_of(rules)}, which judged quality by "
                "other rules: what is measured now could not be compared with it. Search anew under another "
                "study.name. What was found can be read, picked and verified as it is."
            )

    def _collect(self) -> list[Candidate]:
        """Waits for evaluations; archives and reports what is finished, then raises what failed."""
        wait(self._flying, return_when=FIRST_COMPLETED)
        found, failed = [], None
        for future in [future for future in self._flying if future.done()]:  # in the order they were asked for
            flight, error = self._flying.pop(future), future.exception()
            if isinstance(error, OutOfTime):
                self._stopped = f"{flight.label}, {error.doing}"
            elif error is not None:
                failed = failed or error
            else:
                found.append(future.result())
                self.archive.add(found[-1])
                self._report(found[-1])
        if failed is not None:
            raise failed
        return found

    def _request(self, recipe: Mapping[str, Any], *, name: str, number: int) -> Request:
        return Request(
            recipe=recipe,
            name=name,
            number=number,
            seed=self._definition.seed,
            baseline=self.archive.baseline if number else None,
            timed=timings(self.archive.candidates.values()),
            seconds=self._seconds(),
        )

    def _time_here(self) -> None:
        """Times on this machine what another one timed: milliseconds of two machines are never compared."""
        for candidate in list(self.archive.candidates.values()):
            if not candidate.rejected and candidate.measured(machine=self._machine) is None:
                baseline = self.archive.baseline if candidate.number else None
                timed, seconds = timings(self.archive.candidates.values()), self._seconds()
                asked = Retiming(candidate=candidate, baseline=baseline, timed=timed, seconds=seconds)
                self.archive.add(self.executor.submit(self.evaluator.time, asked).result())
        baseline = self._baseline().here(SEARCH, self._machine)
        if baseline is not None:  # timed here before, and elsewhere since
            self.archive.add(baseline)

    def _baseline(self) -> Candidate:
        baseline = self.archive.baseline
        assert baseline is not None, "the baseline comes first"
        return baseline

    def _report(self, latest: Candidate) -> None:
        front, candidates = self._renewed(), self.archive.candidates.values()
        presets, trials = len(self._missing()), self._trials_left()
        self.report(
            Progress(
                trials=sum(candidate.name == TRIAL for candidate in candidates),
                of=self.config.trials,
                front=front,
                rejected=sum(bool(candidate.rejected) for candidate in candidates),
                latest=latest,
                expected=self._outlook.expected(presets, trials, front=front, limit=self._deadline.left),
            )
        )

    def _missing(self) -> dict[str, str]:
        """Presets that are not measured, and their keys."""
        return {name: key for name, key in self._presets.items() if key not in self.archive.candidates}

    def _trials_left(self) -> int:
        done = sum(candidate.name == TRIAL for candidate in self.archive.candidates.values())
        return 0 if self._exhausted else max(0, self.config.trials - done)

    def _unfinished(self) -> Unfinished:
        missing, trials = self._missing(), self._trials_left()
        work = self._outlook.work(len(missing), trials)
        return Unfinished(
            minutes=self.config.minutes or 0.0,
            doing=self._stopped or "",
            presets=missing,
            trials=trials,
            of=self.config.trials,
            seconds=sum(work) if work else None,
        )

    def _renewed(self) -> Front:
        """The front of the study as its archive is now."""
        record = self._front.record.renewed() if self._front else Record(self._definition.folder, self.archive)
        self._front = Front(record)
        return self._front

    def _seconds(self) -> float:
        """Until the search is over; a part of the time is left to the verification of what it found."""
        left, minutes = self._deadline.left, self.config.minutes
        if minutes is None or math.isinf(left) or self.archive.baseline is None:
            return left
        return left - min(self._outlook.verification(self._front or self._renewed()), RESERVED * 60 * minutes)

    def _out_of_time(self) -> bool:
        if self._stopped is None and self._seconds() <= 0:
            self._stopped = ""  # for good: a later estimate may be lower
        return self._stopped is not None

    def _over(self) -> bool:
        """Whether no more is begun."""
        return self._exhausted or self._out_of_time()

    def _trials(self, sampler: Sampler) -> int:
        """How much of the budget is spent: new recipes that the sampler asked for and was told of."""
        told = sampler.told
        return sum(candidate.name == TRIAL and key in told for key, candidate in self.archive.candidates.items())

    def _told_recipes(self, recipes: Recipes) -> Iterable[tuple[Told, Mapping[str, Any]]]:
        for recipe in recipes.values():
            candidate = self.archive.candidates.get(self.evaluator.plan(recipe).key)
            assert candidate is not None, "presets are evaluated first"
            yield self._told(candidate), recipe

    def _told(self, candidate: Candidate) -> Told:
        return Told.of(
            candidate,
            baseline=self._baseline(),
            metrics=self.evaluator.task.main_metrics,
            requirements=self.evaluator.requirements,
            objectives=self.config.objectives,
        )
