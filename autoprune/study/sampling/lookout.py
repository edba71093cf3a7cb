"""Takes looks: those that are known from the study's file, all others from whoever is free."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from itertools import takewhile
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
"""Looks that are asked for together take about so long: then they are written down, and said."""

MOST_IN_CHUNK = 64

PER_WORKER = 10
"""Looks that are asked for, for each of many workers, before the first of them is known: so nobody idles …"""

GENERATIONS = 4
"""… but no more than such a part of all, so that there is something to learn from."""

TELL_S = 0.5
"""Seconds between two times that it is told how far looks are, at least …"""

TELLING = 0.05
"""… and such a share of the time is spent on it: of many looks it takes a while to find their front."""

NEW = 1
"""The number of a look that is asked for; which it has in the end is known when it is kept."""


class Lookout:
    """Takes looks at recipes, several at a time if there are processes for it.

    Args:
        evaluator: looks at recipes of the study, wherever the executor asks it to.
        executor: runs it.
        looks: of the study, on disk.
        promises: what they promise.
        team: who else drives the study.
        tell: called with this whenever some were taken, but not all the time.
        ready: called once before something is trained, with the seconds that it may take.
        closer: whether its looks ask more of validation than others do; then `looks` and `promises` hold no others.
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
        self._told, self._silent = len(looks), -math.inf  # of how many looks, and until when no more is told
        self._ready: Callable[[float], None] | None = ready
        self._begun: dict[Name, tuple[Asked, Future[list[Look]]]] = {}  # beside the others

    @property
    def pace(self) -> float:
        """Seconds that an untrained look takes, as the latest ones did; 0 while none is known."""
        taken = [look.seconds for look in self.looks.found.values() if not look.epochs]
        return median(taken[1:][-200:] or taken) if taken else 0.0  # at the dense model nothing is made

    @property
    def slots(self) -> int:
        """Looks that are taken at the same time."""
        return self._executor.slots

    def key(self, recipe: Mapping[str, Any]) -> str:
        """Of the structure that a recipe comes to: two recipes of one key have the same looks."""
        return self._evaluator.plan(recipe).key

    def together(self, fewest: int, *, most: int) -> int:
        """Recipes that are asked for together: the fewest, or more where workers of a cluster would be idle.

        Args:
            most: that are asked for in all.
        """
        workers = self._executor.width
        return fewest if workers <= fewest else max(fewest, min(PER_WORKER * workers, most // GENERATIONS))

    def begin(self, recipes: Sequence[Mapping[str, Any]], *, until: Deadline) -> None:
        """Has looks taken beside all others, if there is somebody for that. Who wants one takes it, and waits for it.

        Args:
            until: when no more are begun, and those that were begun stop.
        """
        for recipe in recipes:
            name = self._evaluator.plan(recipe).key, 0
            if name in self.looks.found or not self._team.claim([self._work(name)], at_once=1):
                continue
            asked = Asked(number=NEW, recipe=recipe, closer=self.closer, seconds=until.left)
            future = self._executor.beside(self._evaluator.looks, [asked])
            if future is not None:
                self._begun[name] = asked, future
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
        """A look at each recipe, in their order; None where the time was over before.

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
        """Asks for a look at each recipe. They are taken while this or an older batch is waited for.

        Args:
            epochs: that each is trained for; one number for all, or one for each.
            until: when no more are begun, and those that were begun stop.
            apart: whether each is handed out on its own, because it takes long.
            aside: whether promises are not told of them, because they are nothing that the search may find.

        Returns:
            What is to be waited for, batch by batch in the order in which they were asked for.
        """
        each = [epochs] * len(recipes) if isinstance(epochs, int) else list(epochs)
        plans = [self._evaluator.plan(recipe) for recipe in recipes]
        names = [(plan.key, min(most, plan.epochs)) for plan, most in zip(plans, each, strict=True)]
        self._fetch(names, until=until)
        batch = Batch(
            names=names,
            recipes=dict(zip(names, recipes, strict=True)),
            until=until,
            apart=apart,
            aside=aside,
            tried=self._dispatcher.tried.union(self._begun),
        )
        self._claim(batch)
        self._dispatcher.open(batch)
        return batch

    def wait(self, batch: Batch) -> list[Look | None]:
        """The looks of a batch, in the order of its recipes; None where the time was over before.

        Promises hear of looks when they are waited for, not when they are read from the file or come back, and in the
        order of the recipes: so a search that is gone on with decides what an undisturbed one decides.

        Raises:
            AutopruneError: as who looks does; what others found is kept before.
        """
        try:
            for _ in self._taken(batch):
                self._hear(batch)
                self._say()
        finally:
            self._dispatcher.close(batch)
            self._team.release(batch.claimed)
        found = self.looks.found
        if not batch.aside:
            self.promises.add(*(found[name] for name in batch.names[batch.heard :] if name in found))
        self._say(at_once=True)
        return [found.get(name) for name in batch.names]

    def _taken(self, batch: Batch) -> Iterator[None]:
        """Takes those looks that nobody else does, and waits for the others; yields whenever some are on disk."""
        while batch.left or batch.flying or self._missing(batch):
            known = len(self.looks)
            if batch.left or batch.flying:
                yield from self._dispatcher.kept(batch)
                self._team.release(batch.claimed)
                batch.claimed = ()
            elif not self._claim(batch):
                self._dispatcher.keep()
                self._dispatcher.hand_out()  # of later batches
                self._team.wait()
                if len(self.looks) > known:
                    yield

    def _claim(self, batch: Batch) -> bool:
        """Claims what nobody else does of what is missing; whether there was something."""
        missing = self._missing(batch)
        if not missing:
            return False
        trained = any(epochs for _, epochs in missing)
        if trained and self._ready is not None:
            with suppress(OutOfTime):  # nothing is begun then
                self._ready(batch.until.left)
                self._ready = None
        long = batch.long = batch.apart or trained
        size = 1 if long else self._chunk(len(missing))
        works = {self._work(name): name for name in missing}
        batch.claimed = self._team.claim(list(works), at_once=size * self._dispatcher.most(long=long))
        self.looks.refresh()  # others may have finished them before they were claimed
        mine = [name for work in batch.claimed if (name := works[work]) not in self.looks.found]
        asked = [Asked(number=NEW, recipe=batch.recipes[name], epochs=name[1], closer=self.closer) for name in mine]
        asked.sort(key=lambda one: -one.epochs)  # what takes longest first, so that the end comes for all at once
        batch.tried.update(mine)
        batch.left.extend(asked[at : at + size] for at in range(0, len(asked), size))
        return bool(batch.claimed)

    def _missing(self, batch: Batch) -> list[Name]:
        """What may still be taken."""
        if batch.until.left <= 0:
            return []
        return [name for name in batch.recipes if name not in self.looks.found and name not in batch.tried]

    def _hear(self, batch: Batch) -> None:
        """Tells promises of the looks of a batch up to the first that is not there."""
        found = self.looks.found
        heard = list(takewhile(found.__contains__, batch.names[batch.heard :]))
        batch.heard += len(heard)
        if not batch.aside:
            self.promises.add(*(found[name] for name in heard))

    def _say(self, *, at_once: bool = False) -> None:
        """Tells how far looks are, if there are more and it was not just told."""
        began = time.monotonic()
        if len(self.looks) > self._told and (at_once or began >= self._silent):
            self._tell(self)
            ended = time.monotonic()
            self._told, self._silent = len(self.looks), ended + max(TELL_S, (ended - began) / TELLING)

    def outcome(self, look: Look | None) -> Outcome | None:
        """What a sampler is told of a look; None of one that failed, or was not taken."""
        if look is None or look.failed:
            return None
        return Outcome(gains=self.promises.gains(look), violations=self.promises.violations(look))

    def _fetch(self, names: Sequence[Name], *, until: Deadline) -> None:
        """Waits for those that were begun; what is not there in time stays begun."""
        begun = {name: self._begun[name] for name in names if name in self._begun}
        futures = [future for _, future in begun.values()]
        wait(futures, timeout=None if math.isinf(until.left) else max(0.0, until.left))
        failed: BaseException | None = None
        for name, (asked, future) in begun.items():
            if future.done():
                del self._begun[name]
                error = future.exception()
                if error is not None and not isinstance(error, Ended):
                    failed = failed or error
                    continue
                self.looks.keep(*([self._dispatcher.nothing(asked, error)] if error else future.result()))
                self._team.release([self._work(name)])
        if failed is not None:
            raise failed

    def _chunk(self, count: int) -> int:
        share = -(-count // (2 * self._executor.slots))  # who is done first takes one more
        return max(1, min(share, MOST_IN_CHUNK, int(CHUNK_S / self.pace) if self.pace else 1))

    def _work(self, name: Name) -> str:
        """What a look is called among drivers."""
        key, epochs = name
        return f"{'closer ' * self.closer}look {key} {epochs}"
