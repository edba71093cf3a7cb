"""Takes looks: those that are known from the study's file, all others from whoever is free."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from itertools import takewhile
from statistics import median
from typing import Any

from autoprune.deadline import Deadline
from autoprune.errors import Ended
from autoprune.fronts.promises import Promises
from autoprune.record.looks import Look, Looks
from autoprune.study.evaluate import Evaluator
from autoprune.study.executor import Executor
from autoprune.study.looker import Asked
from autoprune.study.sampler import Outcome
from autoprune.study.team import ALONE, Team

CHUNK_S = 1.0
"""Looks that are asked for together take about so long: then they are written down, and said."""

MOST_IN_CHUNK = 64

PER_WORKER = 10
"""Looks of those that are asked for together, for each of many workers: so who is done first does not idle …"""

GENERATIONS = 4
"""… but all that is asked for is asked for in so many turns at least, of which each learns from those before it."""

GLANCE_S = 0.05
"""How long the first chunk is waited for until it is seen whether another is done."""

AHEAD = 4
"""Times as many chunks as run that may be handed out before the first of them is kept."""

NEW = 1
"""The number of a look that is asked for; which it has in the end is known when it is kept."""

Name = tuple[str, int]
"""Of a look: the key of its plan, and epochs trained."""

Flying = tuple[list[Asked], Future[list[Look]]]
"""What was handed out, and what comes of it."""


class Lookout:
    """Takes looks at recipes, several at a time if there are processes for it.

    Args:
        evaluator: looks at recipes of the study, wherever the executor asks it to.
        executor: runs it.
        looks: of the study, on disk.
        promises: what they promise.
        team: who else drives the study.
        tell: called with this whenever some were taken.
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
    ) -> None:
        self._evaluator, self._executor, self._tell = evaluator, executor, tell
        self.looks, self.promises, self._team = looks, promises, team
        self._begun: dict[Name, tuple[Asked, Future[list[Look]]]] = {}  # beside the others

    @property
    def pace(self) -> float:
        """Seconds that an untrained look takes, as the latest ones did; 0 while none is known."""
        taken = [look.seconds for look in self.looks.found.values() if not look.epochs]
        return median(taken[-200:]) if taken else 0.0

    @property
    def slots(self) -> int:
        """Looks that are taken at the same time."""
        return self._executor.slots

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
            if name in self.looks.found or not self._team.claim([_work(name)], at_once=1):
                continue
            asked = Asked(number=NEW, recipe=recipe, seconds=until.left)
            future = self._executor.beside(self._evaluator.looks, [asked])
            if future is not None:
                self._begun[name] = asked, future
            else:
                self._team.release([_work(name)])

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

        Promises hear of looks when they are asked for, not when they are read from the file, and in the order of the
        recipes: so a search that is gone on with decides what an undisturbed one decides.

        Args:
            epochs: that each is trained for; one number for all, or one for each.
            until: when no more are begun, and those that were begun stop.
            apart: whether each is handed out on its own, because it takes long.
            aside: whether promises are not told of them, because they are nothing that the search may find.

        Raises:
            AutopruneError: as who looks does; what others found is kept before.
        """
        each = [epochs] * len(recipes) if isinstance(epochs, int) else list(epochs)
        plans = [self._evaluator.plan(recipe) for recipe in recipes]
        names = [(plan.key, min(most, plan.epochs)) for plan, most in zip(plans, each, strict=True)]
        self._fetch(names, until=until)
        found = self.looks.found
        for _ in self._taken(dict(zip(names, recipes, strict=True)), apart=apart, until=until):
            if not aside:
                self.promises.add(*(found[name] for name in takewhile(found.__contains__, names)))
            self._tell(self)
        if not aside:
            self.promises.add(*(found[name] for name in names if name in found))
        return [found.get(name) for name in names]

    def _taken(self, wanted: Mapping[Name, Mapping[str, Any]], *, apart: bool, until: Deadline) -> Iterator[None]:
        """Takes those looks that nobody else does, and waits for the others; yields whenever some are on disk.

        Args:
            wanted: recipes.
        """
        tried = set(self._begun)
        while (missing := [name for name in wanted if name not in self.looks.found and name not in tried]) and (
            until.left > 0
        ):
            known = len(self.looks)
            long = apart or any(epochs for _, epochs in missing)
            size = 1 if long else self._chunk(len(missing))
            works = {_work(name): name for name in missing}
            claimed = self._team.claim(list(works), at_once=size * self._most(long=long))
            self.looks.refresh()  # others may have finished them before they were claimed
            mine = [name for work in claimed if (name := works[work]) not in self.looks.found]
            asked = [Asked(number=NEW, recipe=wanted[name], epochs=name[1]) for name in mine]
            asked.sort(key=lambda one: -one.epochs)  # what takes longest first, so that the end comes for all at once
            tried.update(mine)
            try:
                yield from self._kept(
                    [asked[at : at + size] for at in range(0, len(asked), size)], long=long, until=until
                )
            finally:
                self._team.release(claimed)
            if not claimed:
                self._team.wait()
                if len(self.looks) > known:
                    yield

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
                self.looks.keep(*([self._nothing(asked, error)] if error else future.result()))
                self._team.release([_work(name)])
        if failed is not None:
            raise failed

    def _chunk(self, count: int) -> int:
        share = -(-count // (2 * self._executor.slots))  # who is done first takes one more
        return max(1, min(share, MOST_IN_CHUNK, int(CHUNK_S / self.pace) if self.pace else 1))

    def _is_room(self, flying: Sequence[Flying], *, long: bool) -> bool:
        """Whether a chunk more can be handed out; what is done is kept first, in its turn."""
        most = self._most(long=long)
        running = sum(not future.done() for _, future in flying)
        return not flying or (not flying[0][1].done() and running < most and len(flying) < AHEAD * most)

    def _most(self, *, long: bool) -> int:
        """Chunks that are handed out at a time: who is done first finds one waiting, unless it would wait for long."""
        slots = self._executor.slots
        return slots if long or slots == 1 else 2 * slots

    def _kept(self, chunks: Sequence[Sequence[Asked]], *, long: bool, until: Deadline) -> Iterator[None]:
        """Hands chunks out, and keeps what comes back in their order; yields whenever some looks are on disk.

        Of a chunk that has ended its processes each recipe is handed out on its own: nothing comes of the one that ends
        them again. Once a call has failed otherwise nothing more is handed out; it is raised when what others found is
        kept.
        """
        flying: list[Flying] = []
        left = list(chunks)
        failed: BaseException | None = None
        while True:
            while left and self._is_room(flying, long=long) and until.left > 0 and failed is None:
                chunk = [dataclasses.replace(one, seconds=until.left) for one in left.pop(0)]
                flying.append((chunk, self._executor.submit(self._evaluator.looks, chunk)))
            if not flying:
                break
            with contextlib.suppress(TimeoutError):  # another may be done, and have room for the next
                flying[0][1].exception(GLANCE_S if left else None)
            landed = list[Flying]()
            while flying and flying[0][1].done():
                landed.append(flying.pop(0))
            looks, again = list[Look](), list[list[Asked]]()
            for chunk, future in landed:
                error = future.exception()
                if isinstance(error, Ended) and len(chunk) > 1:
                    again += [[one] for one in chunk]
                elif isinstance(error, Ended) or error is None:
                    looks += [self._nothing(chunk[0], error)] if error else future.result()
                else:
                    failed = failed or error
            left = again + left
            if looks:
                self.looks.keep(*looks)
                yield
        if failed is not None:
            raise failed

    def _nothing(self, asked: Asked, why: Ended) -> Look:
        """The look at a recipe of which nothing came."""
        return dataclasses.replace(asked.look(self._evaluator.plan(asked.recipe)), failed=why.how)


def _work(name: Name) -> str:
    """What a look is called among drivers."""
    key, epochs = name
    return f"look {key} {epochs}"
