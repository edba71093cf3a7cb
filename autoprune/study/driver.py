"""A search: the baseline, the presets, then what the sampler asks for. The door to Optuna."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from autoprune.artifacts import artifact
from autoprune.errors import AutopruneError, unknown
from autoprune.fronts.front import Front
from autoprune.fronts.pareto import coordinates
from autoprune.fronts.requirements import OBJECTIVES, Requirements
from autoprune.machine import machine
from autoprune.measure.measurement import SEARCH
from autoprune.measure.reading import Reading, readings
from autoprune.recipes.recipe import Plan, plan
from autoprune.recipes.space import MOST_CORNERS, Domain, Space
from autoprune.record.archive import TRIAL, Archive, Candidate, mend
from autoprune.record.record import Record
from autoprune.study.evaluate import Evaluator
from autoprune.study.progress import Progress
from autoprune.tasks.task import Task

REPEATS = 5
"""After so many asks in a row for known recipes the sampler is stuck: the next ones are drawn at random."""

STALLED = 200
"""After so many, random ones included, the space counts as exhausted."""

SAMPLERS = ("tpe", "random")


@dataclass(kw_only=True)
class StudyConfig:
    """What a study is told beside task, space and requirements; `conf/study/default.yaml` comments each entry."""

    name: str | None = None
    trials: int = 40
    minutes: float | None = None
    seed: int = 0
    objectives: list[str] = field(default_factory=lambda: list(OBJECTIVES))
    sampler: str = "tpe"
    latency_seconds: float = 0.4
    verify_rounds: int = 5
    device: str = "cpu"
    dir: str = "runs"

    def check(self) -> None:
        """Refuses what cannot be.

        Raises:
            AutopruneError: with the path of the entry.
        """
        if self.seed < 0:
            raise AutopruneError(f"study.seed: a whole number >= 0 must be given, but got {self.seed}.")
        if self.trials < 0:
            raise AutopruneError(f"study.trials: a whole number >= 0 must be given, but got {self.trials}.")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise AutopruneError(
                f"study.minutes: more than 0 must be given, or null for no limit, but got {self.minutes}."
            )
        if not 0 < self.latency_seconds < math.inf:
            raise AutopruneError(f"study.latency_seconds: more than 0 must be given, but got {self.latency_seconds}.")
        if self.verify_rounds < 0:
            raise AutopruneError(
                f"study.verify_rounds: a whole number >= 0 must be given, but got {self.verify_rounds}."
            )
        if self.sampler not in SAMPLERS:
            raise unknown("study.sampler", self.sampler, SAMPLERS)
        for objective in self.objectives:
            if objective not in OBJECTIVES:
                raise unknown("study.objectives: objective", objective, OBJECTIVES)
        if self.objectives[:1] != ["quality"] or not 2 <= len(set(self.objectives)) == len(self.objectives):
            raise AutopruneError(
                f"study.objectives: quality and one or two of size, latency must be given, but got {self.objectives}."
            )


class Study:
    """A search in a folder, which one process drives at a time.

    Args:
        folder: `runs/<study>`; holds study.yaml, archive.jsonl, journal.log and artifacts/.
        config: budget, seed, objectives.
        task: what is searched for.
        space: what may be tried.
        presets: recipes measured before the sampler starts, by name.
        requirements: what the sampler is bound by, and the front judged by.
        archive: where every finished candidate goes.
        evaluator: makes candidates; its `candidates` are this study's archive.
        report: called whenever a candidate is finished.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config: StudyConfig,
        task: Task,
        space: Space,
        presets: Mapping[str, Mapping[str, Any]],
        requirements: Requirements,
        archive: Archive,
        evaluator: Evaluator,
        report: Callable[[Progress], None],
    ) -> None:
        self.folder = folder
        self.config = config
        self.task = task
        self.space = space
        self.presets = presets
        self.requirements = requirements
        self.archive = archive
        self.evaluator = evaluator
        self.report = report
        self._started = time.monotonic()
        self._record: Record | None = None

    def run(self) -> None:
        """Searches until the budget is spent. What was finished before, by this or a killed process, is kept."""
        artifact.sweep(self.evaluator.artifacts)
        self._candidate(self._plan({}), {}, name="baseline")
        self.evaluator.keep(self._plan({}), {})  # everything is measured against it, so it must be whole
        self._time_here()
        planned = {name: (self._plan(recipe), recipe) for name, recipe in self.presets.items()}
        for name, (preset, recipe) in planned.items():
            if self._out_of_time():
                return
            self._candidate(preset, recipe, name=name)
        optuna_study = self._open_sampler()
        self._tell_presets(optuna_study, [preset for preset, _ in planned.values()])
        self._settle_interrupted(optuna_study)
        stalled = 0
        while self._trials(optuna_study) < self.config.trials and stalled < STALLED and not self._out_of_time():
            trial = self._ask(optuna_study, stalled)
            recipe = self.space.resolve(lambda domain: _suggest(trial, domain))  # noqa: B023  # called at once
            asked = self._plan(recipe)
            if asked.key in self.archive.candidates:
                # Told twice, a recipe would draw the sampler towards itself: it is dropped, and another one asked for.
                optuna_study.tell(trial, state=TrialState.FAIL)
                stalled += 1
                continue
            stalled = 0
            candidate = self._candidate(asked, recipe, name=TRIAL, trials=self._trials(optuna_study) + 1)
            self._tell(optuna_study, trial, candidate)

    def _time_here(self) -> None:
        """Times on this machine what another one timed: milliseconds of two machines are never compared."""
        here = str(machine()["id"])
        for candidate in list(self.archive.candidates.values()):
            if not candidate.rejected and candidate.measured(machine=here) is None:
                self.archive.add(self.evaluator.timed_again(candidate))
        baseline = self.archive.baseline and self.archive.baseline.here(SEARCH, here)
        if baseline:  # timed here before, and elsewhere since
            self.archive.add(baseline)

    def _plan(self, recipe: Mapping[str, Any]) -> Plan:
        return plan(recipe, base_defaults=self.task.base, runtimes=self.task.runtimes)

    def _candidate(self, asked: Plan, recipe: Mapping[str, Any], *, name: str, trials: int = 0) -> Candidate:
        """The candidate of a plan: from the archive, or made, measured and archived now."""
        known = self.archive.candidates.get(asked.key)
        if known is not None:
            return known
        candidate = self.evaluator.evaluate(asked, recipe, name=name, number=len(self.archive.candidates))
        self.archive.add(candidate)
        self._report(candidate, trials)
        return candidate

    def _report(self, latest: Candidate, trials: int) -> None:
        self._record = record = self._record.renewed() if self._record else Record(self.folder, self.archive)
        rejected = sum(bool(candidate.rejected) for candidate in self.archive.candidates.values())
        spent = [candidate.seconds for candidate in self.archive.candidates.values() if candidate.name == TRIAL]
        left = (self.config.trials - trials) * sum(spent) / len(spent) if spent else None
        if self.config.minutes is not None:
            until = self._started + self.config.minutes * 60 - time.monotonic()
            left = until if left is None else min(left, until)
        self.report(
            Progress(
                trials=trials,
                of=self.config.trials,
                front=Front(record),
                rejected=rejected,
                latest=latest,
                seconds_left=left,
            )
        )

    def _out_of_time(self) -> bool:
        minutes = self.config.minutes
        return minutes is not None and time.monotonic() - self._started > minutes * 60

    # What follows is the conversation with Optuna. A trial is told after its candidate is in the archive, so that
    # nothing finished is ever lost; a trial that was asked and never archived is told as failed, and asked again.

    def _open_sampler(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = self.folder / "journal.log"
        mend(path)  # a torn last line would make the next append unreadable
        for stale in self.folder.glob("journal.log.lock*"):
            stale.unlink(missing_ok=True)  # this process holds the study's own lock: nobody else can be writing
        return optuna.create_study(
            study_name=self.folder.name,
            storage=JournalStorage(JournalFileBackend(str(path))),
            directions=["maximize" if OBJECTIVES[name][1] else "minimize" for name in self.config.objectives],
            load_if_exists=True,
        )

    def _ask(self, optuna_study: optuna.Study, stalled: int) -> Trial:
        # Seeded by how much was told, not by a generator's history: a resumed study asks what an undisturbed one asks.
        told = len(_finished(optuna_study))
        seed = (self.config.seed * 1_000_003 + told * STALLED + stalled) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group=True
            optuna_study.sampler = (
                optuna.samplers.RandomSampler(seed=seed)
                if self.config.sampler == "random" or stalled >= REPEATS
                else optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=False)
            )
        return optuna_study.ask()

    def _tell(self, optuna_study: optuna.Study, trial: Trial, candidate: Candidate) -> None:
        trial.set_user_attr("key", candidate.key)
        for name, violation in self._constraints(candidate).items():
            trial.set_constraint(name, violation)
        if candidate.rejected:
            optuna_study.tell(trial, state=TrialState.PRUNED)
        else:
            optuna_study.tell(trial, self._values(candidate))

    def _tell_presets(self, optuna_study: optuna.Study, presets: list[Plan]) -> None:
        """Tells the baseline and the presets as far as they lie within the space; the others are references only."""
        told = _told_keys(optuna_study)
        for known, recipe in [(self._plan({}), {}), *zip(presets, self.presets.values(), strict=True)]:
            if known.key in told:
                continue
            told.add(known.key)
            for parameters, completed in islice(self.space.completions(recipe), MOST_CORNERS):
                if self._plan(completed).key == known.key:
                    self._add(optuna_study, self.archive.candidates[known.key], parameters)
                    break

    def _settle_interrupted(self, optuna_study: optuna.Study) -> None:
        """Closes the trials that a killed process left open, and tells those whose candidates were archived."""
        for trial in optuna_study.get_trials(states=(TrialState.RUNNING,)):
            try:
                recipe = self.space.resolve(lambda domain: trial.params[domain.path])  # noqa: B023  # called at once
            except KeyError:  # killed while the parameters were being asked for
                recipe = None
            candidate = None if recipe is None else self.archive.candidates.get(self._plan(recipe).key)
            # Told before the open trial is closed: killed in between, it is found told, and only closed, next time.
            if candidate is not None and candidate.key not in _told_keys(optuna_study):
                self._add(optuna_study, candidate, trial.params)
            optuna_study.tell(trial.number, state=TrialState.FAIL)

    def _add(self, optuna_study: optuna.Study, candidate: Candidate, parameters: dict[str, Any]) -> None:
        """Tells a candidate that no open trial stands for."""
        optuna_study.add_trial(
            create_trial(
                state=TrialState.PRUNED if candidate.rejected else TrialState.COMPLETE,
                values=None if candidate.rejected else self._values(candidate),
                params=parameters,
                distributions={name: _distribution(self.space.domains[name]) for name in parameters},
                user_attrs={"key": candidate.key},
                constraints=self._constraints(candidate),
            )
        )

    def _trials(self, optuna_study: optuna.Study) -> int:
        """How much of the budget is spent: new recipes that the sampler asked for."""
        told = _told_keys(optuna_study)
        return sum(candidate.name == TRIAL and key in told for key, candidate in self.archive.candidates.items())

    def _values(self, candidate: Candidate) -> list[float]:
        return coordinates(self._readings(candidate), self.config.objectives)

    def _constraints(self, candidate: Candidate) -> dict[str, float]:
        """Every requirement's violation, in one order; one that is unknown while another fails is told as 0."""
        violations = self.requirements.violations(self._readings(candidate))
        return {item.text: violations.get(item.text, 0.0) for item in self.requirements.items}

    def _readings(self, candidate: Candidate) -> dict[str, Reading]:
        assert self.archive.baseline is not None, "it is measured first"
        pair = candidate.beside(self.archive.baseline, SEARCH)
        assert pair is not None, "whatever is archived was measured for the search"
        return readings(*pair, metric=self.task.metric)


def _finished(optuna_study: optuna.Study) -> list[FrozenTrial]:
    return optuna_study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _told_keys(optuna_study: optuna.Study) -> set[str]:
    return {trial.user_attrs["key"] for trial in _finished(optuna_study)}


def _distribution(domain: Domain) -> BaseDistribution:
    if domain.kind in ("any_of", "choose"):
        return CategoricalDistribution(domain.options)
    if domain.kind == "int":
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def _suggest(trial: Trial, domain: Domain) -> Any:
    if domain.kind in ("any_of", "choose"):
        return trial.suggest_categorical(domain.path, domain.options)
    if domain.kind == "int":
        step = int(domain.step or 1)
        return trial.suggest_int(domain.path, int(domain.low), int(domain.high), log=domain.log, step=step)
    value = trial.suggest_float(domain.path, domain.low, domain.high, log=domain.log, step=domain.step)
    return round(value, 10) if domain.step else value  # 0.1 + 2 * 0.1 is 0.3 for everybody
