"""Samplers choose what to try next. This is the only module of the search that uses Optuna.

A sampler keeps nothing on disk. Its results are in the study's looks: a resumed search asks from the beginning and
tells the known results, so it is given the same values as an undisturbed search.
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
"""Chosen values of the open parameters, by path."""

TPE, RANDOM = "tpe", "random"

START_UP = 10
"""Trials that a modelling sampler is told before it starts to model."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a trial, as a sampler sees it.

    Attributes:
        gains: by objective, always in the same order; more is better.
        violations: by requirement, always in the same order; above 0 means missed.
    """

    gains: Sequence[float]
    violations: Mapping[str, float] = field(default_factory=dict)


class Sampler:
    """Proposes values of domains, several at a time, and learns from their results.

    Every domain gets a value, even one that the chosen alternative does not use: Optuna draws parameters that trials do
    not have in common at random.

    Args:
        domains: the open values.
        objectives: how many.
        kind: `tpe` (Ozaki et al. 2020) or `random`.
        seed: of all random draws.

    Attributes:
        kind: see above.
    """

    def __init__(self, domains: Sequence[Domain], *, objectives: int, kind: str, seed: int) -> None:
        self.kind, self._domains = kind, domains
        self._open: list[Trial] = []
        with quiet_optuna():
            self._study = optuna.create_study(sampler=_sampler(kind, seed=seed), directions=["maximize"] * objectives)

    @property
    def learns(self) -> bool:
        """Whether it models the results."""
        return self.kind != RANDOM

    def propose(self, values: Values) -> None:
        """Makes these values the next trial; values that they leave out are drawn."""
        with quiet_optuna():
            self._study.enqueue_trial(
                {domain.path: values[domain.path] for domain in self._domains if domain.path in values}
            )

    def ask(self, count: int) -> list[Values]:
        """Values for `count` trials, which stay open until their results are told."""
        with quiet_optuna():
            trials = [self._study.ask() for _ in range(count)]
            values = [{domain.path: _suggest(trial, domain) for domain in self._domains} for trial in trials]
        if self.learns:
            self._open += trials
        return values

    def tell(self, outcomes: Sequence[Outcome | None]) -> None:
        """Reports the results of the oldest open trials, in the order of asking; None for a failed one.

        A sampler that does not learn ignores them, so the next ask need not wait for them.
        """
        if not self.learns:
            return
        for trial, outcome in zip(self._open[: len(outcomes)], outcomes, strict=True):
            if outcome is None:
                self._study.tell(trial, state=TrialState.FAIL)
                continue
            for name, violation in outcome.violations.items():
                trial.set_constraint(name, violation)
            self._study.tell(trial, list(outcome.gains))
        self._open = self._open[len(outcomes) :]


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna logs only errors and gives no warnings on experimental features; its settings are restored afterwards."""
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
    # Running trials count as bad meanwhile, so that the next ask goes elsewhere.
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=START_UP)


def _suggest(trial: Trial, domain: Domain) -> Any:
    if domain.kind in ("any_of", "choose"):
        return trial.suggest_categorical(domain.path, domain.options)
    if domain.kind == "int":
        step = int(domain.step or 1)
        return trial.suggest_int(domain.path, int(domain.low), int(domain.high), log=domain.log, step=step)
    value = trial.suggest_float(domain.path, domain.low, domain.high, log=domain.log, step=domain.step)
    return round(value, 10) if domain.step else value  # so that 0.1 + 2 * 0.1 is exactly 0.3
