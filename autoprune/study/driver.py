"""A search, one stage after another: the baseline, the presets, the scan, training. The driver asks and archives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from autoprune.artifacts import artifact
from autoprune.deadline import NEVER, Deadline, OutOfTime
from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.promises import Promises
from autoprune.machine import machine
from autoprune.measure.measurement import RULES, SEARCH, version_of
from autoprune.record.archive import BASELINE, TRIAL, Archive, Candidate
from autoprune.record.folder import note_machine
from autoprune.record.looks import Looks
from autoprune.record.record import Record
from autoprune.record.unfinished import Unfinished
from autoprune.study.choices import Choices
from autoprune.study.evaluate import Evaluator
from autoprune.study.executor import Executor
from autoprune.study.looker import Asked
from autoprune.study.lookout import Lookout
from autoprune.study.outlook import Outlook
from autoprune.study.progress import Expected, Progress, Watching
from autoprune.study.request import Request, Retiming, Rival, timings
from autoprune.study.rungs import SLACK, Rungs
from autoprune.study.sampler import RANDOM, Values
from autoprune.study.scan import MOST_LOOKS, Scan
from autoprune.study.settings import StudyConfig
from autoprune.study.staff import Staff
from autoprune.study.verdict import HOPELESS

Recipes = Mapping[str, Mapping[str, Any]]
"""Recipes by name."""

RESERVED = 0.25
"""The share of study.minutes that the search leaves to the verification at most."""

SCANNED = 0.5
"""The share of what is left after the dense model that a scan may take …"""

PRESETS = 0.5
"""… and of what is left then, the making of presets."""

EXPECTED_LOOKS = 1000
"""Looks that a scan takes, about: for so many other processes are started, if that pays."""

MADE = 12
"""Of the looks' front, as many are made and measured after the scan …"""

MADE_LATER = 6
"""… and after training."""

BASE_LOOKS = 500
"""Looks at each further dense model, at most: they begin with what was found on the first."""

NEAR = 0.03
"""A smaller dense model is trained if what stands in for it misses no floor by a larger share."""

NEAREST = 3
"""Looks that are made where none holds, so that it can be said what is missing."""


class Driver:
    """Drives a search; one process does at a time.

    Args:
        config: budget and objectives.
        evaluator: looks at recipes and makes candidates of the study, wherever an executor asks it to.
        archive: where every finished candidate goes.
        looks: where every look goes.
        executor: runs evaluations; None: this process, and as many as `config.workers` says once that pays.
        watch: is told how the search goes.
        deadline: when the run is to end, verification included.
        reading: seconds that reading the data took.
    """

    def __init__(
        self,
        config: StudyConfig,
        *,
        evaluator: Evaluator,
        archive: Archive,
        looks: Looks,
        executor: Executor | None = None,
        watch: Watching,
        deadline: Deadline = NEVER,
        reading: float = 0.0,
    ) -> None:
        self.config = config
        self.evaluator = evaluator
        self.archive = archive
        self.looks = looks
        self._watch = watch
        self._deadline = deadline
        self._definition = evaluator.definition
        self._staff = Staff(config.workers, given=executor)
        self._outlook = Outlook(
            archive, rounds=config.verify_rounds, reading=reading, timing=self._definition.latency_seconds
        )
        facts = machine(self._definition.device)
        self._machine = str(facts["id"])
        note_machine(self._definition.folder, facts)
        self._number = 1 + max((candidate.number for candidate in archive.candidates.values()), default=0)
        self._front: Front | None = None
        self._presets: dict[str, str] = {}  # keys of those that are to be made, by name
        self._chosen: set[str] = set()  # keys of the looks that were chosen to be made
        self._stage = ""
        self._trials = 0
        self._looking = 0.0  # seconds that the looks take that are still to come
        self._stopped: str | None = None  # what was in the making when the time was over
        self._undone: list[str] = []  # what the time did not do for

    def run(
        self, presets: Recipes, choices: Choices, *, between: Callable[[Record], None] = lambda record: None
    ) -> None:
        """Searches until the budget is spent. What was finished before, by this or a killed process, is kept.

        What the time does not do for is written down in the study's folder, see `autoprune.record.unfinished`.

        Args:
            presets: measured before anything is searched.
            choices: what the space leaves open.
            between: called once the scan's finds are measured, before training begins.
        """
        folder = self._definition.folder
        Unfinished.clear(folder)
        self._presets = {name: self._key(recipe) for name, recipe in presets.items()}
        try:
            self._search(presets, choices, between)
        except OutOfTime as stopped:
            self._stopped = stopped.doing
        finally:
            self._staff.close()
        if self._stopped or self._missing() or self._undone:
            self._unfinished().write(folder)

    def _search(self, presets: Recipes, choices: Choices, between: Callable[[Record], None]) -> None:
        artifact.sweep(self._definition.artifacts)
        self._stage = BASELINE
        self._evaluate([(BASELINE, {})])
        if self.archive.baseline is None:
            return
        # Everything is measured against it, so it must be whole.
        self._staff.here(self.evaluator.restore, self._request({}, name=BASELINE, number=0))
        self._time_here()
        searches = bool(self.config.looks != 0 or self.config.trials != 0)
        lookout = self._open_lookout() if searches else None
        quick = {name: recipe for name, recipe in presets.items() if not self._epochs(recipe)}
        scan = lookout if self.config.looks != 0 else None
        if scan is not None:
            self._scan(choices, scan, list(quick.values()))
        self._evaluate_presets(quick, lookout)
        if scan is not None:
            self._make(scan, MADE)
        self._evaluate_presets(presets, lookout)
        if lookout is not None and self.config.trials != 0 and not self._out_of_time("training was not begun"):
            if self.config.looks != 0:
                between(Record(self._definition.folder, self.archive))
            self._train(choices, lookout)

    def _open_lookout(self) -> Lookout:
        """Where looks are taken, with the look at the dense model, which all others are read against."""
        if self.looks.dense is None:
            found = self._staff.here(self.evaluator.look, Asked(number=0, recipe={}, seconds=self._seconds()))
            if found.failed:
                raise AutopruneError(f"the dense model cannot be looked at: {found.failed}.")
            self.looks.add(found)
        dense = self.looks.dense
        assert dense is not None, "it was just taken"
        promises = Promises(
            dense,
            metrics=self.evaluator.task.main_metrics,
            requirements=self.evaluator.requirements,
            objectives=self.config.objectives,
        )
        return Lookout(self.evaluator, self._staff, self.looks, promises, tell=self._say)

    def _evaluate_presets(self, presets: Recipes, lookout: Lookout | None) -> None:
        """Makes presets; one that a look shows to miss a floor by far is not made, and this is said."""
        self._stage = "presets"
        until = self._share(PRESETS)
        left = {name: recipe for name, recipe in presets.items() if name in self._presets}
        untrained = [name for name, recipe in left.items() if not self._epochs(recipe)]
        looks = lookout.take([left[name] for name in untrained], until=until) if lookout else []
        for name, look in zip(untrained, looks, strict=False):
            missed = lookout.promises.violations(look) if lookout and look and not look.failed else {}
            far = [text for text, violation in missed.items() if violation > HOPELESS]
            if far:
                del left[name], self._presets[name]
                self._watch.note(f"preset {name} is not made: a look at it misses {', '.join(far)} by far")
        self._evaluate(list(left.items()), until=until)

    def _scan(self, choices: Choices, lookout: Lookout, starts: Sequence[Mapping[str, Any]]) -> None:
        """Looks at what needs no training, the presets first."""
        self._stage = "scan"
        until = self._share(SCANNED)
        if not choices.cuts:
            self._watch.note("There is nothing to scan: all that the space leaves open is a matter of training.")
        if not self._out_of_time("the scan was not begun"):
            lookout.take(starts, until=until)  # which tells how long a look takes
            self._staff.hire(max(0, EXPECTED_LOOKS - len(self.looks)) * lookout.pace, self.evaluator.prepare)
            asked = self.config.looks
            scan = self._new_scan(choices, lookout, choices.bases[0], most=asked or MOST_LOOKS, whole=asked is not None)
            scan.run(starts, until=until)
            if not scan.done:
                self._undone.append(f"the scan was stopped after {len(self.looks)} looks")
            self._looking = 0.0

    def _new_scan(self, choices: Choices, lookout: Lookout, base: Values, *, most: int, whole: bool) -> Scan:
        drawn, seed = self.config.sampler == RANDOM, self._definition.seed
        return Scan(choices, lookout, base=base, drawn=drawn, seed=seed, most=most, whole=whole)

    def _train(self, choices: Choices, lookout: Lookout) -> None:
        """Trains smaller dense models, then what the scan found, in rungs; makes and measures what came of it."""
        self._stage = "training"
        until = self._share(1.0, but=MADE_LATER * self._outlook.making)
        self._staff.hire(self._baseline().seconds, self.evaluator.prepare)
        if self.config.looks != 0:
            self._scan_bases(choices, lookout, until)
        rungs = Rungs(
            choices,
            lookout,
            epochs=self._epochs,
            random=self.config.sampler == RANDOM,
            seed=self._definition.seed,
            most=self.config.trials,
            scanned=self.config.looks != 0,
        )
        rungs.run(until=until, tell=self._count)
        if not rungs.done:
            self._undone.append(f"training was stopped after {rungs.trials} of at most {rungs.most} recipes")
        self._make(lookout, MADE_LATER)

    def _scan_bases(self, choices: Choices, lookout: Lookout, until: Deadline) -> None:
        """Trains the other dense models that the space allows, and looks at what the scan found on each of them."""
        found = lookout.promises.front(slack=SLACK)
        cuts = [values for look in found if (values := choices.values(look.recipe)) is not None]
        if not cuts or len(choices.bases) == 1:
            return
        bases = [base for base in choices.bases[1:] if self._worth_training(choices.recipe(base), lookout, until)]
        first = [choices.recipe({**cuts[0], **base}) for base in bases]
        self._say(lookout)
        trained = lookout.take(first, until=until, apart=True)
        for base, look in zip(bases, trained, strict=True):
            if look is None:
                self._undone.append("not all dense models of the space were trained")
                return
            starts = [choices.recipe({**values, **base}) for values in cuts]
            most = min(BASE_LOOKS, self.config.looks or MOST_LOOKS)
            self._new_scan(choices, lookout, base, most=most, whole=False).run(starts, until=until)

    def _worth_training(self, recipe: Mapping[str, Any], lookout: Lookout, until: Deadline) -> bool:
        """Whether a dense model of other settings can come near the floors, by what stands in for it untrained."""
        alike = self.evaluator.task.stand_in(recipe.get("base", {}))
        if alike is None:
            return True
        (look,) = lookout.take([alike], until=until)
        missed = {} if look is None or look.failed else lookout.promises.violations(look)
        return max(missed.values(), default=0.0) <= NEAR

    def _make(self, lookout: Lookout, count: int) -> None:
        """Makes and measures looks that stand for their front, beside presets and what was chosen before.

        What is archived does not matter: a search that is run again chooses the same.
        """
        promises = lookout.promises
        found = promises.front(wanted=lambda look: look.done)
        there = [look for look in found if look.key in {*self._chosen, *self._presets.values()}]
        chosen = promises.thinned([look for look in found if look not in there], count, beside=there)
        if not found:
            chosen = [look for look in promises.nearest() if look.done][:NEAREST]
        self._chosen |= {look.key for look in chosen}
        self._evaluate([(TRIAL, look.recipe) for look in chosen])

    def _evaluate(self, recipes: Sequence[tuple[str, Mapping[str, Any]]], *, until: Deadline | None = None) -> None:
        """Makes and measures what is not archived yet, as much at a time as there are hands, until the time is over.

        Args:
            recipes: each with the name of its candidate.
            until: when no more is begun; None: when the search is over.
        """
        left = [pair for pair in recipes if self._key(pair[1]) not in self.archive.candidates]
        while left:
            wave, left = left[: self._staff.slots], left[self._staff.slots :]
            if wave[0][0] != BASELINE:
                if self._out_of_time("") or (until is not None and until.left <= 0):
                    return
                self._check_rules()
            flying = [(self._submit(name, recipe), name, recipe) for name, recipe in wave]
            self._archive([(future, self._label(name, recipe)) for future, name, recipe in flying])

    def _submit(self, name: str, recipe: Mapping[str, Any]) -> Future[Candidate]:
        number = 0 if name == BASELINE else self._number
        self._number = max(self._number, number + 1)
        request = self._request(recipe, name=name, number=number)
        run = self._staff.submit_here if name == BASELINE else self._staff.submit
        return run(self.evaluator.evaluate, request)

    def _archive(self, flying: Sequence[tuple[Future[Candidate], str]]) -> None:
        """Archives, times and reports what is finished, in the order it was asked for, then raises what failed."""
        found, failed = [], None
        for future, label in flying:
            error = future.exception()
            if isinstance(error, OutOfTime):
                self._stopped = f"{label}, {error.doing}"
            elif error is not None:
                failed = failed or error
            else:
                found.append(future.result())
                self.archive.add(found[-1])
        for candidate in found:  # now that nothing else is in the making
            self._report(self._timed(candidate))
        if failed is not None:
            raise failed

    def _timed(self, candidate: Candidate) -> Candidate:
        """A candidate with its latency, where that is asked for."""
        if self._wants_latency and not candidate.rejected and not candidate.latest().latency:
            candidate = self._staff.here(self.evaluator.time, self._retiming(candidate))
            self.archive.add(candidate)
        return candidate

    @property
    def _wants_latency(self) -> bool:
        """Whether the search steers by latency, or has limits on it; finalists are timed in any case."""
        items = self.evaluator.requirements.items
        return "latency" in self.config.objectives or any(item.reading.startswith("latency_ms") for item in items)

    def _time_here(self) -> None:
        """Times on this machine what another one timed: milliseconds of two machines are never compared."""
        for candidate in list(self.archive.candidates.values()):
            here = candidate.measured(machine=self._machine)
            if not candidate.rejected and (here is None or (self._wants_latency and not here.latency)):
                self.archive.add(self._staff.here(self.evaluator.time, self._retiming(candidate)))
        baseline = self._baseline().here(SEARCH, self._machine)
        if baseline is not None:  # timed here before, and elsewhere since
            self.archive.add(baseline)

    def _retiming(self, candidate: Candidate) -> Retiming:
        return Retiming(
            candidate=candidate,
            baseline=self.archive.baseline if candidate.number else None,
            timed=timings(self.archive.candidates.values()),
            seconds=self._seconds(),
        )

    def _request(self, recipe: Mapping[str, Any], *, name: str, number: int) -> Request:
        return Request(
            recipe=recipe,
            name=name,
            number=number,
            seed=self._definition.seed,
            baseline=self.archive.baseline if number else None,
            timed=timings(self.archive.candidates.values()),
            rivals=self._rivals() if name == TRIAL else (),
            seconds=self._seconds(),
        )

    def _rivals(self) -> tuple[Rival, ...]:
        """What a candidate may fall to, where quality and size alone decide."""
        if self._wants_latency:
            return ()
        metric = self.evaluator.task.metric
        return tuple(
            Rival(
                number=point.number,
                quality=point.found["quality"].ratio,
                error=point.candidate.latest().errors.get(metric, 0.0),
                size_bytes=point.candidate.latest().size_bytes,
            )
            for point in self._renewed().feasible
        )

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

    def _baseline(self) -> Candidate:
        baseline = self.archive.baseline
        assert baseline is not None, "the baseline comes first"
        return baseline

    def _key(self, recipe: Mapping[str, Any]) -> str:
        return self.evaluator.plan(recipe).key

    def _epochs(self, recipe: Mapping[str, Any]) -> int:
        """That a recipe asks for."""
        return self.evaluator.plan(recipe).epochs

    def _label(self, name: str, recipe: Mapping[str, Any]) -> str:
        return self.evaluator.plan(recipe).summary() if name == TRIAL else name

    def _count(self, trials: int) -> None:
        self._trials = trials

    def _say(self, lookout: Lookout) -> None:
        """Says how far the looks are."""
        promises = lookout.promises
        front = promises.front()
        smallest = min((look.size_bytes for look in front), default=promises.dense.size_bytes)
        trained = f"{self._trials} trained, " * bool(self._trials)
        if self._stage == "scan":
            left = max(0, (self.config.looks or EXPECTED_LOOKS) - len(self.looks))
            self._looking = left * lookout.pace / self._staff.slots
        self._watch.working(
            f"{self._stage}: {len(self.looks):,} looks, {trained}{len(front)} on their front, the smallest "
            f"{promises.dense.size_bytes / smallest:.1f}x smaller, hypervolume {promises.hypervolume:.3f}"
        )
        self._watch.expect(self._expected())

    def _report(self, latest: Candidate) -> None:
        front, candidates = self._renewed(), self.archive.candidates.values()
        self._watch.report(
            Progress(
                stage=self._stage,
                looks=len(self.looks),
                trials=self._trials,
                front=front,
                rejected=sum(bool(candidate.rejected) for candidate in candidates),
                latest=latest,
                expected=self._expected(),
            )
        )

    def _expected(self) -> Expected | None:
        making = len(self._missing()) + MADE * (self._stage in ("presets", "scan"))
        return self._outlook.expected(
            stage=self._looking,
            making=making,
            front=self._front or self._renewed(),
            limit=self._deadline.left,
        )

    def _missing(self) -> dict[str, str]:
        """Presets that are not measured, and their keys."""
        return {name: key for name, key in self._presets.items() if key not in self.archive.candidates}

    def _unfinished(self) -> Unfinished:
        return Unfinished(
            minutes=self.config.minutes or 0.0,
            doing=self._stopped or "",
            presets=self._missing(),
            undone=list(dict.fromkeys(self._undone)),
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

    def _share(self, share: float, *, but: float = 0.0) -> Deadline:
        """When a stage is to end that may take a share of what is left, and leaves some seconds to what follows it."""
        return Deadline.after(max(0.0, share * self._seconds() - but))

    def _out_of_time(self, undone: str) -> bool:
        """Whether the search is over; notes what it did not come to."""
        if self._stopped is None and self._seconds() <= 0:
            self._stopped = ""  # for good: a later estimate may be lower
        if self._stopped is not None and undone:
            self._undone.append(undone)
        return self._stopped is not None
