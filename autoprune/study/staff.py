"""Who works for a search: this process, and others of this machine once they pay."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from autoprune.machine import cores
from autoprune.study.executor import Executor, Serial
from autoprune.study.local import Local

Argument = TypeVar("Argument")
Result = TypeVar("Result")

PAYS_S = 15.0
"""Seconds of work in one process from which others are started: each takes some to begin."""


class Staff(Executor):
    """An executor that grows. Until the others have begun, this process works on.

    Args:
        workers: processes; None: one for each core. One alone is this process.
        given: who works in any case, and is closed by whoever made it; None: this process.
    """

    def __init__(self, workers: int | None, *, given: Executor | None = None) -> None:
        self._here = Serial()
        self._workers = workers or cores()
        self._given = given
        self._others: Local | None = None
        self._starting: list[Future[Any]] = []
        self._prepare: Callable[[None], object] | None = None  # of others that begin with the next call

    @property
    def slots(self) -> int:  # type: ignore[override]  # it grows
        """Calls that can be in flight at once."""
        return self._at_work.slots

    def hire(self, seconds: float, prepare: Callable[[None], object]) -> None:
        """Has other processes start with the next call, if there is so much to do in one that this pays.

        Where no call comes, since all is known, none is started.

        Args:
            seconds: that it would take in one.
            prepare: run in each of them before it is given anything else, to have its data read.
        """
        pays = self._given is None and self._others is None and self._workers > 1 and seconds > PAYS_S
        self._prepare = prepare if pays else None

    def submit(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        if self._prepare is not None:
            self._others = Local(self._workers)
            self._starting, self._prepare = self._others.each(self._prepare, None), None
        return self._at_work.submit(function, argument)

    def submit_here(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        """Runs a call in this process: what takes all cores, or must not be disturbed."""
        return self._here.submit(function, argument)

    def here(self, function: Callable[[Argument], Result], argument: Argument) -> Result:
        """As `submit_here`, once no other process is starting any more; returns what the call gives."""
        wait(self._starting)
        return self.submit_here(function, argument).result()

    def close(self) -> None:
        if self._others is not None:
            self._others.close()
            self._others = None

    @property
    def _at_work(self) -> Executor:
        if self._others is not None and all(future.done() for future in self._starting):
            return self._others
        return self._given or self._here
