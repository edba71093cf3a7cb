"""What is tried next: the conversation with Optuna, kept in `journal.log`. The only one here who knows it.

A candidate is told after it is in the archive, so that nothing finished is ever lost. A recipe that was asked for and
never archived is told as failed; where one is asked for at a time, it is then asked for again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from autoprune.fronts.pareto import coordinates
from autoprune.fronts.requirements import OBJECTIVES, Requirements
from autoprune.measure.measurement import SEARCH
from autoprune.measure.reading import readings
from autoprune.recipes.space import MOST_CORNERS, Domain, Recipe, Space
from autoprune.record.archive import Candidate, mend

REPEATS = 5
"""After so many asks in a row for known recipes the sampler is stuck: the next ones are drawn at random."""

STALLED = 200
"""After so many, random ones included, the space counts as exhausted."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What came of a recipe, as a sampler sees it.

    Attributes:
        key: of the recipe's plan.
        rejected: whether it was given up early.
        values: of the objectives, in their order; not read of one that was rejected.
        violations: of every requirement, in one order; above 0 is missed.
    """

    key: str
    rejected: bool
    values: Sequence[float]
    violations: Mapping[str, float]

    @staticmethod
    def of(
        candidate: Candidate,
        *,
        baseline: Candidate,
        metrics: Sequence[str],
        requirements: Requirements,
        objectives: Sequence[str],
    ) -> Told:
        """A candidate for the sampler; a requirement that is unknown while another fails is told as 0.

        Args:
            metrics: the main ones, first the one that quality means.
            objectives: names in `OBJECTIVES`.
        """
        pair = candidate.beside(baseline, SEARCH)
        assert pair is not None, "whatever is archived was measured for the search"
        found = readings(*pair, metrics=metrics)
        return Told(
            key=candidate.key,
            rejected=bool(candidate.rejected),
            values=() if candidate.rejected else coordinates(found, objectives),
            violations={
                item.key: item.violation(found[item.reading]) if item.reading in found else 0.0
                for item in requirements.items
            },
        )


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna logs errors alone, and does not warn of what is new in it; afterwards it is as talkative as it was."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


class Sampler:
    """Asks for recipes of a space, several at a time if need be, and learns from what came of them.

    What is asked for depends on the seed and on how many recipes were asked for before, not on a generator's history:
    a resumed study asks what an undisturbed one asks, and two asks in flight differ.

    Args:
        folder: of the study; this process alone drives it.
        space: what may be tried.
        objectives: names in `OBJECTIVES`.
        key: of a recipe's plan; equal plans are one candidate.
        kind: `tpe` or `random`.
        seed: of everything that is drawn.
    """

    def __init__(
        self,
        folder: Path,
        *,
        space: Space,
        objectives: Sequence[str],
        key: Callable[[Mapping[str, Any]], str],
        kind: str,
        seed: int,
    ) -> None:
        self._space = space
        self._key = key
        self._kind = kind
        self._seed = seed
        self._asked: dict[str, Trial] = {}
        path = folder / "journal.log"
        mend(path)  # a torn last line would make the next append unreadable
        for stale in folder.glob("journal.log.lock*"):
            stale.unlink(missing_ok=True)  # this process holds the study's own lock: nobody else can be writing
        with quiet_optuna():
            self._study = optuna.create_study(
                study_name=folder.name,
                storage=JournalStorage(JournalFileBackend(str(path))),
                directions=["maximize" if OBJECTIVES[name][1] else "minimize" for name in objectives],
                load_if_exists=True,
            )

    @property
    def told(self) -> set[str]:
        """Keys of the candidates that the sampler knows."""
        return {trial.user_attrs["key"] for trial in self._finished()}

    def ask(self, known: Collection[str]) -> Recipe | None:
        """A recipe that is neither known nor in flight; None where none can be found.

        Args:
            known: keys of plans.
        """
        for stalled in range(STALLED):
            trial = self._ask(stalled)
            recipe = self._space.resolve(lambda domain: _suggest(trial, domain))  # noqa: B023  # called at once
            key = self._key(recipe)
            if key not in known and key not in self._asked:
                self._asked[key] = trial
                return recipe
            # Told twice, a recipe would draw the sampler towards itself: it is dropped, and another one asked for.
            self._study.tell(trial, state=TrialState.FAIL)
        return None

    def tell(self, told: Told) -> None:
        """Tells what came of a recipe that was asked for."""
        trial = self._asked.pop(told.key)
        trial.set_user_attr("key", told.key)
        for name, violation in told.violations.items():
            trial.set_constraint(name, violation)
        if told.rejected:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, list(told.values))

    def tell_known(self, told: Iterable[tuple[Told, Mapping[str, Any]]]) -> None:
        """Tells candidates that nobody asked for (the baseline, presets), as far as they lie within the space.

        Args:
            told: each with its recipe, as the config has it.
        """
        known = self.told
        for one, recipe in told:
            if one.key in known:
                continue
            known.add(one.key)
            for parameters, completed in islice(self._space.completions(recipe), MOST_CORNERS):
                if self._key(completed) == one.key:
                    self._add(one, parameters)
                    break

    def settle(self, archived: Callable[[str], Told | None]) -> None:
        """Closes the trials that a killed process left open, and tells those whose candidates were archived.

        Args:
            archived: the candidate of a key, if it is in the archive.
        """
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            try:
                recipe = self._space.resolve(lambda domain: _plain(domain, trial.params[domain.path]))  # noqa: B023
            except KeyError:  # killed while the parameters were being asked for
                recipe = None
            told = None if recipe is None else archived(self._key(recipe))
            # Told before the open trial is closed: killed in between, it is found told, and only closed, next time.
            if told is not None and told.key not in self.told:
                self._add(told, trial.params)
            self._study.tell(trial.number, state=TrialState.FAIL)

    def _ask(self, stalled: int) -> Trial:
        ordinal = len(self._finished()) + len(self._asked)
        seed = (self._seed * 1_000_003 + ordinal * STALLED + stalled) % 2**32
        with quiet_optuna():
            self._study.sampler = (
                optuna.samplers.RandomSampler(seed=seed)
                if self._kind == "random" or stalled >= REPEATS
                # What is in flight counts as bad meanwhile, so that the next ask goes elsewhere.
                else optuna.samplers.TPESampler(
                    seed=seed, multivariate=True, group=True, constant_liar=bool(self._asked)
                )
            )
            return self._study.ask()

    def _add(self, told: Told, parameters: dict[str, Any]) -> None:
        """Tells a candidate that no open trial stands for."""
        self._study.add_trial(
            create_trial(
                state=TrialState.PRUNED if told.rejected else TrialState.COMPLETE,
                values=None if told.rejected else list(told.values),
                params=parameters,
                distributions={name: _distribution(self._space.domains[name]) for name in parameters},
                user_attrs={"key": told.key},
                constraints=dict(told.violations),
            )
        )

    def _finished(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=FINISHED)


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
    return _plain(domain, trial.suggest_float(domain.path, domain.low, domain.high, log=domain.log, step=domain.step))


def _plain(domain: Domain, value: Any) -> Any:
    """What Optuna keeps of a parameter, as a recipe has it: 0.1 + 2 * 0.1 is 0.3 for everybody."""
    return round(value, 10) if domain.kind == "float" and domain.step else value
