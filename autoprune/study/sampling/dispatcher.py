"""Hands looks out to whoever takes them, and keeps what comes back; of several batches at a time, the oldest first."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from autoprune.deadline import Deadline
from autoprune.errors import Ended
from autoprune.record.looks import Look, Looks
from autoprune.study.evaluation.evaluate import Evaluator
from autoprune.study.evaluation.looker import Asked
from autoprune.study.executors.executor import Executor

GLANCE_S = 0.05
"""How long the first chunk is waited for until it is seen whether another is done."""

AHEAD = 4
"""Times as many chunks as run that may be handed out of a batch before the first of them is kept."""

Name = tuple[str, int]
"""Of a look: the key of its plan, and epochs trained."""

Flying = tuple[Sequence[Asked], Future[list[Look]]]
"""What was handed out, and what comes of it."""


@dataclass(kw_only=True, eq=False)
class Batch:
    """Looks that are asked for together.

    Attributes:
        names: of the looks, in the order of their recipes; twins share one.
        recipes: by name.
        until: when no more are begun, and those that were begun stop.
        apart: whether each is handed out on its own, because it takes long.
        aside: whether promises are not told of them.
        left: chunks that are to be handed out.
        flying: those that were, in the order in which they are kept.
        long: whether a chunk takes so long that none is to wait for another.
        tried: names that were asked for, here or in an older batch, whatever came of them.
        claimed: work that is this driver's meanwhile.
        heard: names from the first on that promises were told of.
    """

    names: Sequence[Name]
    recipes: Mapping[Name, Mapping[str, Any]]
    until: Deadline
    apart: bool = False
    aside: bool = False
    left: deque[Sequence[Asked]] = field(default_factory=deque)
    flying: deque[Flying] = field(default_factory=deque)
    long: bool = False
    tried: set[Name] = field(default_factory=set)
    claimed: Sequence[str] = ()
    heard: int = 0

    def is_room(self, most: int) -> bool:
        """Whether a chunk more can be handed out; what is done is kept first, in its turn."""
        return not self.flying or (not self.flying[0][1].done() and len(self.flying) < AHEAD * most)


class Dispatcher:
    """Hands out the chunks of batches.

    Args:
        evaluator: looks at recipes of the study, wherever the executor asks it to.
        executor: runs it.
        looks: of the study, on disk.
    """

    def __init__(self, evaluator: Evaluator, executor: Executor, looks: Looks) -> None:
        self._evaluator, self._executor, self._looks = evaluator, executor, looks
        self._batches: list[Batch] = []  # that are open, the oldest first
        self._failed: BaseException | None = None

    def open(self, batch: Batch) -> None:
        """Takes a batch in, whose chunks may come later."""
        self._batches.append(batch)

    def close(self, batch: Batch) -> None:
        """Hands out nothing more of a batch."""
        self._batches.remove(batch)

    @property
    def tried(self) -> set[Name]:
        """What was asked for in open batches."""
        return set[Name]().union(*(batch.tried for batch in self._batches))

    def most(self, *, long: bool) -> int:
        """Chunks that are handed out at a time: who is done first finds one waiting, unless it would wait for long."""
        slots = self._executor.slots
        return slots if long or slots == 1 else 2 * slots

    def kept(self, batch: Batch) -> Iterator[None]:
        """Hands chunks out until nothing of a batch is left, and of others meanwhile where there is room.

        What comes back of each batch is kept in its order. Yields whenever some looks are on disk. Of a chunk that has
        ended its processes each recipe is handed out on its own: nothing comes of the one that ends them again. Once a
        call has failed otherwise nothing more is handed out; it is raised when what others found is kept.
        """
        while True:
            self.hand_out()
            waited = self._waited(batch)
            if waited is None:
                break
            more = any(one.left for one in self._batches)
            with contextlib.suppress(TimeoutError):  # another may be done, and have room for the next
                waited.exception(GLANCE_S if more else None)
            if self.keep():
                yield
        batch.left.clear()  # there was no time for it
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise failed

    def hand_out(self) -> None:
        """Hands out as many chunks as there is room for; of a batch none before those of older ones."""
        running = sum(not future.done() for batch in self._batches for _, future in batch.flying)
        for batch in self._batches:
            most = self.most(long=batch.long)
            while batch.left and running < most and batch.is_room(most) and self._is_time(batch):
                chunk = [dataclasses.replace(one, seconds=batch.until.left) for one in batch.left.popleft()]
                future = self._executor.submit(self._evaluator.looks, chunk)
                batch.flying.append((chunk, future))
                running += not future.done()
            if batch.left and running >= most:
                return

    def keep(self) -> bool:
        """Keeps what has come back; whether something has."""
        looks = list[Look]()
        for batch in self._batches:
            again = list[Sequence[Asked]]()
            while batch.flying and batch.flying[0][1].done():
                chunk, future = batch.flying.popleft()
                error = future.exception()
                if isinstance(error, Ended) and len(chunk) > 1:
                    again += [[one] for one in chunk]
                elif isinstance(error, Ended) or error is None:
                    looks += [self.nothing(chunk[0], error)] if error else future.result()
                else:
                    self._failed = self._failed or error
            batch.left.extendleft(reversed(again))
        if looks:
            self._looks.keep(*looks)
        return bool(looks)

    def nothing(self, asked: Asked, why: Ended) -> Look:
        """The look at a recipe of which nothing came."""
        return dataclasses.replace(asked.look(self._evaluator.plan(asked.recipe)), failed=why.how)

    def _is_time(self, batch: Batch) -> bool:
        return self._failed is None and batch.until.left > 0

    def _waited(self, batch: Batch) -> Future[list[Look]] | None:
        """What is waited for next: what was handed out first of a batch, or, while there is no room for it, of others.

        Once a call has failed all are waited for.
        """
        full = bool(batch.left) and self._is_time(batch)
        batches = [batch, *self._batches] if full or self._failed is not None else [batch]
        return next((one.flying[0][1] for one in batches if one.flying), None)
