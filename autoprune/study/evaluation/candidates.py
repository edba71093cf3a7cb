"""Candidates of a search: made and measured wherever there are hands, archived, and timed while nobody else works."""

from __future__ import annotations

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

NAMED = 2
"""Of what is made at the same time, at most so many are named."""


class Candidates:
    """Makes, measures and archives what a search asks for.

    Args:
        session: what the stages of the search share.
        report: called whenever a candidate is finished.

    Attributes:
        failed: what nothing came of in this run: reasons by key.
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
        """Makes and measures what is not archived yet, as much at a time as there are hands, until the time is over.

        Args:
            recipes: each with the name of its candidate.
            until: when no more is begun; None: when the search is over.

        Raises:
            AutopruneError: the baseline came to nothing, or something failed that no recipe is to blame for.
        """
        wanted = {self._evaluator.plan(recipe).key: (name, recipe) for name, recipe in recipes}
        trials = any(name == TRIAL for name, _ in recipes)
        rivals = self._rivals() if trials else ()  # the same for all, however many are made at a time
        while left := [key for key in wanted if not self._is_known(key)]:
            if wanted[left[0]][0] != BASELINE and (self._budget.over() or (until is not None and until.left <= 0)):
                return
            works = {f"candidate {key}": key for key in left}
            claimed = self._team.claim(list(works), at_once=self._staff.slots)
            self.refresh()  # others may have finished them before they were claimed
            mine = [wanted[key] for work in claimed if not self._is_known(key := works[work])][: self._staff.slots]
            if mine and mine[0][0] != BASELINE:
                labels = some_named([self._label(name, recipe) for name, recipe in mine])
                self._session.watch.working(f"making {labels}; {len(wanted) - len(left)} of {len(wanted)} are done")
            try:
                self._keep([(self._submit(name, recipe, rivals), name, recipe) for name, recipe in mine])
            finally:
                self._team.release(claimed)
            if self._budget.stopped is not None:  # by the time, in the midst of one
                return
            if not claimed:
                self._team.wait()
                if self._budget.over():
                    return

    def refresh(self) -> None:
        """Reads what other drivers have archived, and what they had no luck with."""
        self._archive.refresh()
        self._failures.refresh()
        found, before = self._failures.found, self._failed_before
        self.failed |= {key: one.reason for key, one in found.items() if before.get(key) is not one}

    def restore(self) -> None:
        """Sees that the baseline's artifact is whole: everything is measured against it."""
        with self._team.alone(MEASURING, until=self._budget.ending) as mine:
            if mine:
                self._staff.here(self._evaluator.restore, self._request({}, name=BASELINE))

    def _submit(self, name: str, recipe: Mapping[str, Any], rivals: tuple[Rival, ...]) -> Future[Candidate]:
        run = self._staff.submit_here if name == BASELINE else self._staff.submit
        return run(self._evaluator.evaluate, self._request(recipe, name=name, rivals=rivals if name == TRIAL else ()))

    def _is_known(self, key: str) -> bool:
        """Whether a recipe is archived, or was tried in vain."""
        return key in self._archive.candidates or key in self.failed

    def _keep(self, flying: Sequence[tuple[Future[Candidate], str, Mapping[str, Any]]]) -> None:
        """Archives, times and reports what is finished, in the order it was asked for, then raises what failed."""
        found, failed = [], None
        for future, name, recipe in flying:
            error = future.exception()
            if isinstance(error, OutOfTime):
                self._budget.stopped = f"{self._label(name, recipe)}, {error.doing}"
            elif isinstance(error, Failed) and name != BASELINE:
                self._pass_over(name, recipe, error)
            elif error is not None:
                failed = failed or error
            else:
                found.append(self._archive.keep(future.result()))
        for candidate in found:  # now that nothing else is in the making
            self._report(self._timed(candidate))
        if failed is not None:
            raise failed

    def _pass_over(self, name: str, recipe: Mapping[str, Any], error: Failed) -> None:
        """Writes down that nothing came of a recipe, and says so."""
        made, reason = self._evaluator.plan(recipe), error.how if isinstance(error, Ended) else str(error)
        self.failed[made.key] = reason
        self._failures.add(Failure(name=name, key=made.key, recipe=dict(recipe), summary=made.summary(), reason=reason))
        self._session.watch.note(f"{self._label(name, recipe)} is passed over: {reason}")

    def _timed(self, candidate: Candidate) -> Candidate:
        """A candidate with its latency, where that is asked for."""
        if self._times and self._session.alone and not candidate.rejected and not candidate.latest().latency:
            candidate = self._staff.here(self._evaluator.time, self._retiming(candidate))
            self._archive.add(candidate)
        return candidate

    def time_together(self) -> None:
        """Of a team one times for all, on its machine, what was made; who comes after it finds that done."""
        with self._team.alone(MEASURING, until=self._budget.ending) as mine:
            self._archive.refresh()
            there = self._baseline().latest().machine
            made = [candidate for candidate in self._archive.candidates.values() if not candidate.rejected]
            timed = [found for one in made if (found := one.measured(machine=there)) and found.latency]
            if mine and self._times and len(timed) < len(made):
                self.time_here()

    def time_here(self) -> None:
        """Times on this machine what another one timed: milliseconds of two machines are never compared."""
        for candidate in list(self._archive.candidates.values()):
            here = candidate.measured(machine=self._session.machine)
            wanted = (self._times or not candidate.number) and self._is_there(candidate)
            if wanted and not candidate.rejected and (here is None or not here.latency):
                self._archive.add(self._staff.here(self._evaluator.time, self._retiming(candidate)))
        baseline = self._baseline().here(SEARCH, self._session.machine)
        if baseline is not None:  # timed here before, and elsewhere since
            self._archive.add(baseline)

    def _is_there(self, candidate: Candidate) -> bool:
        """Whether a candidate has its artifact still; without one it cannot win, see `eviction`."""
        return not candidate.number or (self._evaluator.definition.artifacts / candidate.key).exists()

    def _retiming(self, candidate: Candidate) -> Retiming:
        return Retiming(
            candidate=candidate,
            baseline=self._archive.baseline if candidate.number else None,
            timed=timings(self._archive.candidates.values()),
            seconds=self._budget.seconds,
        )

    def _request(self, recipe: Mapping[str, Any], *, name: str, rivals: tuple[Rival, ...] = ()) -> Request:
        number = int(name != BASELINE)  # its own is known once it is archived
        return Request(
            recipe=recipe,
            name=name,
            number=number,
            seed=self._evaluator.definition.seed,
            baseline=self._archive.baseline if number else None,
            timed=timings(self._archive.candidates.values()),
            rivals=rivals,
            seconds=self._budget.seconds,
        )

    def _rivals(self) -> tuple[Rival, ...]:
        """What a candidate may fall to, where quality and size alone decide."""
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
        """Refuses to measure beside a baseline that was judged by other rules: of the two no ratio can be told.

        Raises:
            AutopruneError: it was.
        """
        rules = self._baseline().latest().rules
        if rules != RULES:
            raise AutopruneError(
                f"study {self._evaluator.definition.folder.name!r} was begun by {version_of(rules)}, which judged "
                "quality by other rules: what is measured now could not be compared with it. Search anew under another "
                "study.name. What was found can be read, picked and verified as it is."
            )

    def _baseline(self) -> Candidate:
        baseline = self._archive.baseline
        assert baseline is not None, "the baseline comes first"
        return baseline

    def _label(self, name: str, recipe: Mapping[str, Any]) -> str:
        return self._evaluator.plan(recipe).summary() if name == TRIAL else name


def some_named(labels: Sequence[str]) -> str:
    """What is done at the same time, in words."""
    more = [f"{len(labels) - NAMED} more"] if len(labels) > NAMED else []
    return " and ".join([*labels[:NAMED], *more])
