"""Candidates of a search: made and measured by whatever worker is free, archived, and timed while nothing else runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from autoprune.deadline import Deadline, OutOfTime
from autoprune.errors import AutopruneError, Ended, Failed
from autoprune.measure.measurement import RULES, SEARCH, version_of
from autoprune.record.archive import BASELINE, TRIAL, Candidate
from autoprune.record.failures import FAILED, Failure, Failures
from autoprune.study.request import Request, Retiming, Rival, timings
from autoprune.study.session import Session
from autoprune.study.teams.team import MEASURING

DENSE = 0.4
"""The share of the time left after which training the dense model is cut short once it has become slow; every run has
as many minutes again."""

NAMED = 2
"""At most so many of the candidates that are made at the same time are named in messages."""


class Candidates:
    """Makes, measures and archives the candidates of a search.

    Args:
        session: what the stages of the search share.
        report: called whenever a candidate is finished.

    Attributes:
        failed: recipes that failed in this run: reasons by key.
    """

    def __init__(self, session: Session, *, report: Callable[[Candidate], None]) -> None:
        self._session, self._report = session, report
        self._evaluator, self._archive = session.evaluator, session.archive
        self._staff, self._budget, self._team = session.staff, session.budget, session.team
        self._times = session.times
        self.failed: dict[str, str] = {}
        self._failures = Failures(self._archive.path.parent / FAILED, turn=self._team.turn)
        self._failed_before = dict(self._failures.found)

    def evaluate(self, recipes: Sequence[tuple[str, Mapping[str, Any]]], *, until: Deadline | None = None) -> None:
        """Makes and measures recipes that are not archived yet, as many at a time as there are workers.

        Args:
            recipes: each with the name of its candidate.
            until: when no more are begun; None: when the search ends.

        Raises:
            AutopruneError: the baseline failed, or something failed that is not the fault of a recipe.
        """
        wanted = {self._evaluator.plan(recipe).key: (name, recipe) for name, recipe in recipes}
        trials = any(name == TRIAL for name, _ in recipes)
        rivals = self._rivals() if trials else ()  # once: they must not depend on how many are made at a time
        while pending := [key for key in wanted if not self._is_known(key)]:
            if wanted[pending[0]][0] != BASELINE and (self._budget.over() or (until is not None and until.left <= 0)):
                return
            key_of_work = {f"candidate {key}": key for key in pending}
            claimed = self._team.claim(list(key_of_work), at_once=self._staff.slots)
            self.refresh()  # others may have finished them before this driver claimed them
            ours = [wanted[key] for work in claimed if not self._is_known(key := key_of_work[work])][
                : self._staff.slots
            ]
            if ours and ours[0][0] != BASELINE:
                labels = some_named([self._label(name, recipe) for name, recipe in ours])
                self._session.watch.working(f"making {labels}; {len(wanted) - len(pending)} of {len(wanted)} are done")
            try:
                self._archive_finished([(self._submit(name, recipe, rivals), name, recipe) for name, recipe in ours])
            finally:
                self._team.release(claimed)
            if self._budget.stopped is not None:  # the time ran out while one was being made
                return
            if not claimed:
                self._team.wait()
                if self._budget.over():
                    return

    def refresh(self) -> None:
        """Reads what other drivers have archived, and which recipes failed for them."""
        self._archive.refresh()
        self._failures.refresh()
        found, before = self._failures.found, self._failed_before
        self.failed |= {key: one.reason for key, one in found.items() if before.get(key) is not one}

    def restore(self) -> None:
        """Rebuilds the baseline's artifact if it is damaged or missing: everything is measured against it."""
        with self._team.alone(MEASURING, until=self._budget.ending) as claimed:
            if claimed:
                self._staff.here(self._evaluator.restore, self._request({}, name=BASELINE))

    def _submit(self, name: str, recipe: Mapping[str, Any], rivals: tuple[Rival, ...]) -> Future[Candidate]:
        run = self._staff.submit_here if name == BASELINE else self._staff.submit
        return run(self._evaluator.evaluate, self._request(recipe, name=name, rivals=rivals if name == TRIAL else ()))

    def _is_known(self, key: str) -> bool:
        """Whether a recipe is archived or has failed."""
        return key in self._archive.candidates or key in self.failed

    def _archive_finished(self, submitted: Sequence[tuple[Future[Candidate], str, Mapping[str, Any]]]) -> None:
        """Archives, times and reports finished candidates in the order of their requests, then raises any error."""
        candidates, first_error = [], None
        for future, name, recipe in submitted:
            error = future.exception()
            if isinstance(error, OutOfTime):
                self._budget.stopped = f"{self._label(name, recipe)}, {error.doing}"
            elif isinstance(error, Failed) and name != BASELINE:
                self._pass_over(name, recipe, error)
            elif error is not None:
                first_error = first_error or error
            else:
                candidates.append(self._archive.keep(future.result()))
        for candidate in candidates:  # now that nothing else is being made
            self._report(self._timed(candidate))
        if first_error is not None:
            raise first_error

    def _pass_over(self, name: str, recipe: Mapping[str, Any], error: Failed) -> None:
        """Records and reports that a recipe failed."""
        plan, reason = self._evaluator.plan(recipe), error.how if isinstance(error, Ended) else str(error)
        self.failed[plan.key] = reason
        self._failures.add(Failure(name=name, key=plan.key, recipe=dict(recipe), summary=plan.summary(), reason=reason))
        self._session.watch.note(f"{self._label(name, recipe)} is passed over: {reason}")

    def _timed(self, candidate: Candidate) -> Candidate:
        """Times a candidate if the search needs its latency."""
        if self._times and self._session.alone and not candidate.rejected and not candidate.latest().latency:
            self._time(candidate)
        return self._archive.candidates[candidate.key]

    def _time(self, candidate: Candidate) -> None:
        """Times a candidate and archives its latency; if that fails, it stays without one, and can be timed later.

        Raises:
            AutopruneError: timing the baseline failed, or something failed that is not the candidate's fault.
        """
        try:
            self._archive.add(self._staff.here(self._evaluator.time, self._retiming(candidate)))
        except Failed as error:
            if not candidate.number:
                raise
            self._session.watch.note(f"candidate {candidate.number} could not be timed: {error}")

    def time_together(self) -> None:
        """Has one driver of a team time all candidates on its machine; the others then find the work done."""
        with self._team.alone(MEASURING, until=self._budget.ending) as claimed:
            self._archive.refresh()
            machine = self._baseline().latest().machine
            to_time = [candidate for candidate in self._archive.candidates.values() if not candidate.rejected]
            timed = [measured for one in to_time if (measured := one.measured(machine=machine)) and measured.latency]
            if claimed and self._times and len(timed) < len(to_time):
                self.time_here()

    def time_here(self) -> None:
        """Times on this machine what was timed on another: milliseconds of two machines are never compared."""
        for candidate in list(self._archive.candidates.values()):
            measured = candidate.measured(machine=self._session.machine)
            is_due = (self._times or not candidate.number) and self._has_artifact(candidate)
            if is_due and not candidate.rejected and (measured is None or not measured.latency):
                self._time(candidate)
        baseline = self._baseline().here(SEARCH, self._session.machine)
        if baseline is not None:  # it was timed here, and later elsewhere
            self._archive.add(baseline)

    def _has_artifact(self, candidate: Candidate) -> bool:
        """Whether a candidate still has its artifact; one without it cannot win, see `eviction`."""
        return not candidate.number or (self._evaluator.definition.artifacts / candidate.key).exists()

    def _retiming(self, candidate: Candidate) -> Retiming:
        return Retiming(
            candidate=candidate,
            baseline=self._archive.baseline if candidate.number else None,
            timed=timings(self._archive.candidates.values()),
            seconds=self._budget.seconds,
        )

    def _request(self, recipe: Mapping[str, Any], *, name: str, rivals: tuple[Rival, ...] = ()) -> Request:
        number = int(name != BASELINE)  # any number but 0: its own is assigned when it is archived
        return Request(
            recipe=recipe,
            name=name,
            number=number,
            seed=self._evaluator.definition.seed,
            baseline=self._archive.baseline if number else None,
            timed=timings(self._archive.candidates.values()),
            rivals=rivals,
            seconds=self._budget.seconds,
            training_seconds=math.inf if self._archive.baseline else self._budget.share(DENSE).left,
        )

    def _rivals(self) -> tuple[Rival, ...]:
        """Feasible candidates that may beat a new one early; none if latency counts too."""
        if self._times:
            return ()
        metric = self._evaluator.task.metric
        return tuple(
            Rival(
                number=point.number,
                quality=point.found["quality"].ratio,
                error=point.candidate.latest().errors.get(metric, 0.0),
                size_bytes=point.candidate.latest().size_bytes,
                vector_bytes=point.candidate.latest().vector_bytes,
            )
            for point in self._session.front.renewed().feasible
        )

    def check_rules(self) -> None:
        """Refuses to go on if the baseline was judged by other rules, since ratios to it would mean nothing.

        Raises:
            AutopruneError: the baseline was judged by other rules.
        """
        rules = self._baseline().latest().rules
        if rules != RULES:
            raise AutopruneError(
                f"study {self._evaluator.definition.folder.name!r} was begun by {version_of(rules)}, which judged "
                "quality by other rules, so new measurements would not be comparable. Search anew under another "
                "study.name. The existing candidates can still be shown, picked and verified."
            )

    def _baseline(self) -> Candidate:
        baseline = self._archive.baseline
        assert baseline is not None, "the baseline comes first"
        return baseline

    def _label(self, name: str, recipe: Mapping[str, Any]) -> str:
        return self._evaluator.plan(recipe).summary() if name == TRIAL else name


def some_named(labels: Sequence[str]) -> str:
    """Names a few of the candidates that are worked on at the same time."""
    more = [f"{len(labels) - NAMED} more"] if len(labels) > NAMED else []
    return " and ".join([*labels[:NAMED], *more])
