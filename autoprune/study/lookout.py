"""Takes looks: those that are known from the study's file, all others from whoever is free."""

from __future__ import annotations

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

CHUNK_S = 1.0
"""Looks that are asked for together take about so long: then they are written down, and said."""

MOST_IN_CHUNK = 64


class Lookout:
    """Takes looks at recipes, several at a time if there are processes for it.

    Args:
        evaluator: looks at recipes of the study, wherever the executor asks it to.
        executor: runs it.
        looks: of the study, on disk.
        promises: what they promise.
        tell: called with this whenever some were taken.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        executor: Executor,
        looks: Looks,
        promises: Promises,
        *,
        tell: Callable[[Lookout], None] = lambda lookout: None,
    ) -> None:
        self._evaluator, self._executor, self._tell = evaluator, executor, tell
        self.looks, self.promises = looks, promises
        self._begun: dict[tuple[str, int], tuple[Asked, Future[list[Look]]]] = {}  # beside the others
        self._number = max((look.number for look in looks.found.values()), default=0)

    @property
    def pace(self) -> float:
        """Seconds that an untrained look takes, as the latest ones did; 0 while none is known."""
        taken = [look.seconds for look in self.looks.found.values() if not look.epochs]
        return median(taken[-200:]) if taken else 0.0

    @property
    def slots(self) -> int:
        """Looks that are taken at the same time."""
        return self._executor.slots

    def begin(self, recipes: Sequence[Mapping[str, Any]], *, until: Deadline) -> None:
        """Has looks taken beside all others, if there is somebody for that. Who wants one takes it, and waits for it.

        Args:
            until: when no more are begun, and those that were begun stop.
        """
        for recipe in recipes:
            name = self._evaluator.plan(recipe).key, 0
            if name not in self.looks.found:
                asked = Asked(number=1, recipe=recipe, seconds=until.left)  # it is numbered when it is taken
                future = self._executor.beside(self._evaluator.looks, [asked])
                if future is not None:
                    self._begun[name] = asked, future

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
        missing = {
            name: recipe
            for name, recipe in zip(names, recipes, strict=True)
            if name not in self.looks.found and name not in self._begun
        }
        asked = []
        for (_, trained), recipe in missing.items():
            self._number += 1
            asked.append(Asked(number=self._number, recipe=recipe, epochs=trained))
        long = apart or any(one.epochs for one in asked)
        size = 1 if long else self._chunk(len(asked))
        chunks = [asked[at : at + size] for at in range(0, len(asked), size)]
        found = self.looks.found
        for _ in self._kept(chunks, long=long, until=until):
            if not aside:
                self.promises.add(*(found[name] for name in takewhile(found.__contains__, names)))
            self._tell(self)
        if not aside:
            self.promises.add(*(found[name] for name in names if name in found))
        return [found.get(name) for name in names]

    def outcome(self, look: Look | None) -> Outcome | None:
        """What a sampler is told of a look; None of one that failed, or was not taken."""
        if look is None or look.failed:
            return None
        return Outcome(gains=self.promises.gains(look), violations=self.promises.violations(look))

    def _fetch(self, names: Sequence[tuple[str, int]], *, until: Deadline) -> None:
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
                for look in [self._nothing(asked, error)] if error else future.result():
                    self._number += 1
                    self.looks.add(dataclasses.replace(look, number=self._number))
        if failed is not None:
            raise failed

    def _chunk(self, count: int) -> int:
        share = -(-count // (2 * self._executor.slots))  # who is done first takes one more
        return max(1, min(share, MOST_IN_CHUNK, int(CHUNK_S / self.pace) if self.pace else 1))

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
        flying: list[tuple[list[Asked], Future[list[Look]]]] = []
        left = list(chunks)
        failed: BaseException | None = None
        while True:
            while left and len(flying) < self._most(long=long) and until.left > 0 and failed is None:
                chunk = [dataclasses.replace(one, seconds=until.left) for one in left.pop(0)]
                flying.append((chunk, self._executor.submit(self._evaluator.looks, chunk)))
            if not flying:
                break
            chunk, future = flying.pop(0)
            error = future.exception()
            if isinstance(error, Ended) and len(chunk) > 1:
                left[:0] = [[one] for one in chunk]
            elif isinstance(error, Ended) or error is None:
                self.looks.add(*([self._nothing(chunk[0], error)] if error else future.result()))
                yield
            else:
                failed = failed or error
        if failed is not None:
            raise failed

    def _nothing(self, asked: Asked, why: Ended) -> Look:
        """The look at a recipe of which nothing came."""
        return dataclasses.replace(asked.look(self._evaluator.plan(asked.recipe)), failed=why.how)
