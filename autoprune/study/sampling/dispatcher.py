"""Hands looks out to workers and keeps their results; several batches may be open, the oldest comes first."""

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
"""Seconds to wait for the first chunk before checking whether another one is done."""

AHEAD = 4
"""So many times the number of running chunks may be handed out of a batch before its first one is kept."""

Name = tuple[str, int]
"""A look's identity: the key of its plan, and the epochs trained."""

Flying = tuple[Sequence[Asked], Future[list[Look]]]
"""A chunk that was handed out, and its future results."""


@dataclass(kw_only=True, eq=False)
class Batch:
    """Looks that are requested together.

    Attributes:
        names: of the looks, in the order of their recipes; equal recipes share one.
        recipes: by name.
        until: when no more are begun, and running ones stop.
        apart: whether each is handed out on its own, because it takes long.
        aside: whether to keep these looks out of the promises.
        left: chunks still to be handed out.
        flying: chunks that were handed out, in the order in which they are kept.
        long: whether a chunk takes so long that none should wait for another.
        tried: names that were requested, in this or an older batch, whatever the result.
        claimed: pieces of work that this driver holds a claim on.
        heard: how many of the names, from the first, were passed on to the promises.
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


class Dispatcher:
    """Hands out the chunks of batches.

    Args:
        evaluator: looks at recipes of the study, in whatever process the executor runs it.
        executor: runs the looks.
        looks: of the study, on disk.
    """

    def __init__(self, evaluator: Evaluator, executor: Executor, looks: Looks) -> None:
        self._evaluator, self._executor, self._looks = evaluator, executor, looks
        self._batches: list[Batch] = []  # open ones, the oldest first
        self._failed: BaseException | None = None

    def open(self, batch: Batch) -> None:
        """Adds a batch; its chunks may follow later."""
        self._batches.append(batch)

    def close(self, batch: Batch) -> None:
        """Removes a batch; no more of it is handed out."""
        self._batches.remove(batch)

    @property
    def tried(self) -> set[Name]:
        """The names in open batches: requested, or still to be claimed from other drivers."""
        return set[Name]().union(*(batch.names for batch in self._batches))

    def most(self, *, long: bool) -> int:
        """Chunks to hand out at a time: two per slot, so that no worker idles, or one if chunks take long."""
        slots = self._executor.slots
        return slots if long or slots == 1 else 2 * slots

    def kept(self, batch: Batch) -> Iterator[None]:
        """Hands out chunks until a batch is finished, and chunks of other batches where there is room.

        Looks are kept in the order of their requests. Yields whenever some have been written to disk. If a chunk
        has ended its processes, each of its recipes is handed out on its own; one that ends them again counts as
        failed. After any other error nothing more is handed out; it is raised once the other results are kept.
        """
        while batch.flying or self._goes_on(batch) or self._failed is not None:
            self.hand_out()
            waited = self._next_future(batch)
            if waited is None:
                break
            any_left = any(one.left for one in self._batches)
            with contextlib.suppress(TimeoutError):  # another chunk may be done and leave room for the next
                waited.exception(GLANCE_S if any_left else None)
            if self.keep():
                yield
        batch.left.clear()  # there was no time for these
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise error

    def hand_out(self) -> None:
        """Hands out as many chunks as there is room for, those of older batches first.

        If looks can be kept, that comes first: an executor may take a chunk before `submit` returns.
        """
        running = sum(not future.done() for batch in self._batches for _, future in batch.flying)
        for batch in self._batches:
            most = self.most(long=batch.long)
            while batch.left and running < most and len(batch.flying) < AHEAD * most and self._is_time(batch):
                if self._can_keep:
                    return
                chunk = [dataclasses.replace(one, seconds=batch.until.left) for one in batch.left.popleft()]
                future = self._executor.submit(self._evaluator.looks, chunk)
                batch.flying.append((chunk, future))
                running += not future.done()
            if batch.left and running >= most:
                return

    @property
    def _can_keep(self) -> bool:
        """Whether `keep` would keep some looks."""
        return any(batch.flying and batch.flying[0][1].done() for batch in self._due())

    def _due(self) -> Iterator[Batch]:
        """The batches whose looks may be kept: those up to the first that is unfinished.

        Batches that train hold nothing back: a training is too long for its result to wait for another.
        """
        for batch in self._batches:
            yield batch
            if not batch.long and (batch.flying or self._goes_on(batch)):
                return

    def keep(self) -> bool:
        """Keeps the looks that came back, and returns whether there were any.

        They are kept in the order of their requests: one that was not trained waits for those before it. Only looks of
        a chunk that ended its processes come later.
        """
        looks = list[Look]()
        for batch in self._due():
            repeated = list[Sequence[Asked]]()
            while batch.flying and batch.flying[0][1].done():
                chunk, future = batch.flying.popleft()
                error = future.exception()
                if isinstance(error, Ended) and len(chunk) > 1:
                    repeated += [[one] for one in chunk]
                elif isinstance(error, Ended) or error is None:
                    looks += [self.nothing(chunk[0], error)] if error else future.result()
                else:
                    self._failed = self._failed or error
            batch.left.extendleft(reversed(repeated))
        if looks:
            self._looks.keep(*looks)
        return bool(looks)

    def _goes_on(self, batch: Batch) -> bool:
        """Whether more of a batch will be handed out."""
        return bool(batch.left) and self._is_time(batch)

    def nothing(self, asked: Asked, why: Ended) -> Look:
        """The look at a recipe that failed."""
        return dataclasses.replace(asked.look(self._evaluator.plan(asked.recipe)), failed=why.how)

    def _is_time(self, batch: Batch) -> bool:
        return self._failed is None and batch.until.left > 0

    def _next_future(self, batch: Batch) -> Future[list[Look]] | None:
        """The future to wait for next: the oldest of a batch, or any other while there is no room for its chunks.

        After an error, all batches are waited for.
        """
        if batch.flying:
            return batch.flying[0][1]
        return next((future for one in self._batches for _, future in one.flying if not future.done()), None)
