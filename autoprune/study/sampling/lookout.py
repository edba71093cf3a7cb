"""Takes looks: known ones are read from the study's file, all others are given to free workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from itertools import pairwise, takewhile
from statistics import median
from typing import Any

from autoprune.deadline import Deadline, OutOfTime
from autoprune.errors import Ended
from autoprune.fronts.promises import Promises
from autoprune.record.looks import Look, Looks
from autoprune.study.evaluation.evaluate import Evaluator
from autoprune.study.evaluation.looker import Asked
from autoprune.study.executors.executor import Executor
from autoprune.study.sampling.dispatcher import Batch, Dispatcher, Name
from autoprune.study.sampling.sampler import Outcome
from autoprune.study.teams.team import ALONE, Team

CHUNK_S = 1.0
"""A chunk of looks takes about so long; then it is written to disk and reported."""

MOST_IN_CHUNK = 64

PER_WORKER = 10
"""So many looks are requested per worker before the first result, so that no worker idles …"""

GENERATIONS = 4
"""… but no more than all looks divided by this, so that there is something to learn from."""

TELL_S = 0.5
"""At least so many seconds pass between two progress reports …"""

TELLING = 0.05
"""… and at most this share of the time is spent on them: computing the front of many looks takes a while."""

NEW = 1
"""A placeholder for the number of a requested look, which is assigned when it is kept."""


class Lookout:
    """Takes looks at recipes, several at a time if there are enough processes.

    Args:
        evaluator: looks at recipes of the study, in whatever process the executor runs it.
        executor: runs the looks.
        looks: of the study, on disk.
        promises: what the looks promise.
        team: who else drives the study.
        tell: called with this lookout when looks were taken, but not too often.
        ready: called once before something is trained, with the seconds that it may take.
        closer: whether its looks use more of validation; then `looks` and `promises` hold only closer looks.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        executor: Executor,
        looks: Looks,
        promises: Promises,
        *,
        team: Team = ALONE,
        tell: Callable[[Lookout], None] = lambda lookout: None,
        ready: Callable[[float], None] = lambda seconds: None,
        closer: bool = False,
    ) -> None:
        self._evaluator, self._executor, self._tell = evaluator, executor, tell
        self.looks, self.promises, self._team, self.closer = looks, promises, team, closer
        self._dispatcher = Dispatcher(evaluator, executor, looks)
        self._reported, self._silent_until = len(looks), -math.inf  # looks at the last report; when the next may come
        self._ready: Callable[[float], None] | None = ready
        self._in_background: dict[Name, tuple[Asked, Future[list[Look]]]] = {}  # running in the background

    @property
    def pace(self) -> float:
        """Seconds that an untrained look takes, judging by the latest ones; 0 before the first."""
        seconds = [look.seconds for look in self.looks.found.values() if not look.epochs]
        return median(seconds[1:][-200:] or seconds) if seconds else 0.0  # nothing is made for the first

    @property
    def slots(self) -> int:
        """Looks that are taken at the same time."""
        return self._executor.slots

    def key(self, recipe: Mapping[str, Any]) -> str:
        """The key of a recipe's plan: recipes with the same key have the same looks."""
        return self._evaluator.plan(recipe).key

    def together(self, fewest: int, *, most: int) -> int:
        """The number of recipes to request together: `fewest`, or more if workers of a cluster would idle.

        Args:
            fewest: in any case.
            most: recipes that are requested in total.
        """
        workers = self._executor.width
        return fewest if workers <= fewest else max(fewest, min(PER_WORKER * workers, most // GENERATIONS))

    def begin(self, recipes: Sequence[Mapping[str, Any]], *, until: Deadline) -> None:
        """Starts looks in the background, if there are free workers; a later `take` or `ask` waits for them.

        Args:
            recipes: to look at.
            until: when no more are begun, and running ones stop.
        """
        for recipe in recipes:
            name = self._evaluator.plan(recipe).key, 0
            if name in self.looks.found or not self._team.claim([self._work(name)], at_once=1):
                continue
            request = Asked(number=NEW, recipe=recipe, closer=self.closer, seconds=until.left)
            future = self._executor.submit_in_background(self._evaluator.looks, [request])
            if future is not None:
                self._in_background[name] = request, future
            else:
                self._team.release([self._work(name)])

    def take(
        self,
        recipes: Sequence[Mapping[str, Any]],
        *,
        epochs: Sequence[int] | int = 0,
        until: Deadline,
        apart: bool = False,
        aside: bool = False,
    ) -> list[Look | None]:
        """A look at each recipe, in their order; None for each that there was no time for.

        Args, errors: as those of `ask` and `wait`.
        """
        return self.wait(self.ask(recipes, epochs=epochs, until=until, apart=apart, aside=aside))

    def ask(
        self,
        recipes: Sequence[Mapping[str, Any]],
        *,
        epochs: Sequence[int] | int = 0,
        until: Deadline,
        apart: bool = False,
        aside: bool = False,
    ) -> Batch:
        """Requests a look at each recipe. The looks are taken while this or an older batch is waited for.

        Args:
            recipes: to look at.
            epochs: that each is trained for; one number for all, or one for each.
            until: when no more are begun, and running ones stop.
            apart: whether each is handed out on its own, because it takes long.
            aside: whether to keep the looks out of the promises, because the search must not choose these recipes.

        Returns:
            The batch, for `wait`; batches must be waited for in the order in which they were requested.
        """
        epochs_each = [epochs] * len(recipes) if isinstance(epochs, int) else list(epochs)
        plans = [self._evaluator.plan(recipe) for recipe in recipes]
        names = [(plan.key, min(most, plan.epochs)) for plan, most in zip(plans, epochs_each, strict=True)]
        self._wait_for_background(names, until=until)
        batch = Batch(
            names=names,
            recipes=dict(zip(names, recipes, strict=True)),
            until=until,
            apart=apart,
            aside=aside,
            tried=self._dispatcher.tried.union(self._in_background),
        )
        self._claim(batch)
        self._dispatcher.open(batch)
        return batch

    def wait(self, batch: Batch) -> list[Look | None]:
        """The looks of a batch, in the order of its recipes; None for each that there was no time for.

        Looks are added to the promises when they are waited for, in the order of the recipes, not when they are read
        from the file or come back. So a resumed search decides the same as an undisturbed one.

        Raises:
            AutopruneError: a look raised it; the results of others are kept first.
        """
        try:
            for _ in self._take_batch(batch):
                self._pass_on(batch)
                self._report()
        finally:
            self._dispatcher.close(batch)
            self._team.release(batch.claimed)
        found = self.looks.found
        if not batch.aside:
            self.promises.add(*(found[name] for name in batch.names[batch.heard :] if name in found))
        self._report(at_once=True)
        return [found.get(name) for name in batch.names]

    def _take_batch(self, batch: Batch) -> Iterator[None]:
        """Takes the looks that no other driver takes, and waits for the rest; yields whenever some are on disk."""
        while batch.left or batch.flying or self._missing(batch):
            before = len(self.looks)
            if batch.left or batch.flying:
                yield from self._dispatcher.kept(batch)
                self._team.release(batch.claimed)
                batch.claimed = ()
            elif not self._claim(batch):
                self._dispatcher.keep()
                self._dispatcher.hand_out()  # of later batches
                self._team.wait()
                if len(self.looks) > before:
                    yield

    def _claim(self, batch: Batch) -> bool:
        """Claims missing looks that no other driver has claimed; returns whether there were any."""
        missing = self._missing(batch)
        if not missing:
            return False
        trained = any(epochs for _, epochs in missing)
        if trained and self._ready is not None:
            with suppress(OutOfTime):  # no training begins then
                self._ready(batch.until.left)
                self._ready = None
        long = batch.long = batch.apart or trained
        size = 1 if long else self._chunk(len(missing))
        name_of_work = {self._work(name): name for name in missing}
        batch.claimed = self._team.claim(list(name_of_work), at_once=size * self._dispatcher.most(long=long))
        self.looks.refresh()  # others may have finished them before this driver claimed them
        ours = [name for work in batch.claimed if (name := name_of_work[work]) not in self.looks.found]
        requests = [Asked(number=NEW, recipe=batch.recipes[name], epochs=name[1], closer=self.closer) for name in ours]
        requests.sort(key=lambda one: -one.epochs)  # the longest first, so that all finish at about the same time
        batch.tried.update(ours)
        batch.left.extend(_even_chunks(requests, size))
        return bool(batch.claimed)

    def _missing(self, batch: Batch) -> list[Name]:
        """The looks of a batch that are still to be taken."""
        if batch.until.left <= 0:
            return []
        return [name for name in batch.recipes if name not in self.looks.found and name not in batch.tried]

    def _pass_on(self, batch: Batch) -> None:
        """Adds the looks of a batch to the promises, up to the first that is missing."""
        found = self.looks.found
        available = list(takewhile(found.__contains__, batch.names[batch.heard :]))
        batch.heard += len(available)
        if not batch.aside:
            self.promises.add(*(found[name] for name in available))

    def _report(self, *, at_once: bool = False) -> None:
        """Reports progress if there are new looks and the last report was not too recent."""
        began = time.monotonic()
        if len(self.looks) > self._reported and (at_once or began >= self._silent_until):
            self._tell(self)
            ended = time.monotonic()
            self._reported, self._silent_until = len(self.looks), ended + max(TELL_S, (ended - began) / TELLING)

    def outcome(self, look: Look | None) -> Outcome | None:
        """A look's outcome for a sampler; None if it failed or was not taken."""
        if look is None or look.failed:
            return None
        return Outcome(gains=self.promises.gains(look), violations=self.promises.violations(look))

    def _wait_for_background(self, names: Sequence[Name], *, until: Deadline) -> None:
        """Waits for background looks; one that is not done in time keeps running."""
        running = {name: self._in_background[name] for name in names if name in self._in_background}
        futures = [future for _, future in running.values()]
        wait(futures, timeout=None if math.isinf(until.left) else max(0.0, until.left))
        first_error: BaseException | None = None
        for name, (request, future) in running.items():
            if future.done():
                del self._in_background[name]
                error = future.exception()
                if error is not None and not isinstance(error, Ended):
                    first_error = first_error or error
                    continue
                self.looks.keep(*([self._dispatcher.nothing(request, error)] if error else future.result()))
                self._team.release([self._work(name)])
        if first_error is not None:
            raise first_error

    def _chunk(self, count: int) -> int:
        share = -(-count // (2 * self._executor.slots))  # two chunks per worker: the first to finish takes one more
        return max(1, min(share, MOST_IN_CHUNK, int(CHUNK_S / self.pace) if self.pace else 1))

    def _work(self, name: Name) -> str:
        """The name of a look as a piece of work that drivers can claim."""
        key, epochs = name
        return f"{'closer ' * self.closer}look {key} {epochs}"


def _even_chunks(requests: Sequence[Asked], size: int) -> list[Sequence[Asked]]:
    """Chunks of at most `size`, in order, as few and as even as possible, so that no worker waits for a longer one."""
    count = -(-len(requests) // size)
    ends = [len(requests) * number // max(count, 1) for number in range(count + 1)]
    return [requests[start:end] for start, end in pairwise(ends)]
