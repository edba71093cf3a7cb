"""What is tried next: the conversation with Optuna. The only one here who knows it.

A sampler keeps nothing on disk. What it was told is in the study's looks; who goes on with a search asks from the
beginning, tells what is known, and so is asked what an undisturbed search is asked.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from autoprune.recipes.domain import Domain

Values = dict[str, Any]
"""What open values are decided to be, by path."""

TPE, RANDOM = "tpe", "random"

START_UP = 10
"""What a sampler that models its trials is told before it does."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of some values, as a sampler sees it.

    Attributes:
        gains: by objective, in one order; more is better.
        violations: by requirement, in one order; above 0 is missed.
    """

    gains: Sequence[float]
    violations: Mapping[str, float] = field(default_factory=dict)


class Sampler:
    """Asks for values of domains, several at a time, and learns from what came of them.

    Every domain is asked for, also one that an alternative leaves idle: what trials do not have in common Optuna draws
    at random.

    Args:
        domains: what is open.
        objectives: how many.
        kind: `tpe` (Ozaki et al. 2020) or `random`.
        seed: of everything that is drawn.

    Attributes:
        kind: as above.
    """

    def __init__(self, domains: Sequence[Domain], *, objectives: int, kind: str, seed: int) -> None:
        self.kind, self._domains = kind, domains
        self._open: list[Trial] = []
        with quiet_optuna():
            self._study = optuna.create_study(sampler=_sampler(kind, seed=seed), directions=["maximize"] * objectives)

    @property
    def learns(self) -> bool:
        """Whether it models what it is told."""
        return self.kind != RANDOM

    def propose(self, values: Values) -> None:
        """Asks for these values next; what they leave out is drawn."""
        with quiet_optuna():
            self._study.enqueue_trial(
                {domain.path: values[domain.path] for domain in self._domains if domain.path in values}
            )

    def ask(self, count: int) -> list[Values]:
        """Values for so many trials, which are open until they are told."""
        with quiet_optuna():
            trials = [self._study.ask() for _ in range(count)]
            found = [{domain.path: _suggest(trial, domain) for domain in self._domains} for trial in trials]
        if self.learns:
            self._open += trials
        return found

    def tell(self, outcomes: Sequence[Outcome | None]) -> None:
        """Tells what came of the open trials, in the order in which they were asked for; None where nothing did.

        One that does not learn does not listen: what it is asked for need not wait for what came of the last.
        """
        if not self.learns:
            return
        for trial, outcome in zip(self._open, outcomes, strict=True):
            if outcome is None:
                self._study.tell(trial, state=TrialState.FAIL)
                continue
            for name, violation in outcome.violations.items():
                trial.set_constraint(name, violation)
            self._study.tell(trial, list(outcome.gains))
        self._open = []


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


def _sampler(kind: str, *, seed: int) -> optuna.samplers.BaseSampler:
    if kind == RANDOM:
        return optuna.samplers.RandomSampler(seed=seed)
    # What is in flight counts as bad meanwhile, so that the next ask goes elsewhere.
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=START_UP)


def _suggest(trial: Trial, domain: Domain) -> Any:
    if domain.kind in ("any_of", "choose"):
        return trial.suggest_categorical(domain.path, domain.options)
    if domain.kind == "int":
        step = int(domain.step or 1)
        return trial.suggest_int(domain.path, int(domain.low), int(domain.high), log=domain.log, step=step)
    value = trial.suggest_float(domain.path, domain.low, domain.high, log=domain.log, step=domain.step)
    return round(value, 10) if domain.step else value  # 0.1 + 2 * 0.1 is 0.3 for everybody
