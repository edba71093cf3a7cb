"""Who works for a search: this process, and others of this machine once they pay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from autoprune.machine import cores
from autoprune.study.executors.executor import Executor, Serial, Worker
from autoprune.study.executors.forked import can_fork
from autoprune.study.executors.local import Local
from autoprune.study.settings import find_device

Argument = TypeVar("Argument")
Result = TypeVar("Result")

PAYS_S = 15.0
"""Seconds of work in one process from which others are started: each takes some to begin …"""

COPY_PAYS_S = 1.0
"""… but copies of this one, which begin at once."""


class Staff(Executor):
    """An executor that grows. Until the others have begun, this process works on.

    Args:
        worker: whose methods are to be run; other processes have it ready before they are given anything.
        workers: processes; None: one for each core, but one on a GPU, which one keeps busy. One alone is this process.
        given: who works in any case, and is closed by whoever made it; None: this process.
    """

    def __init__(self, worker: Worker, workers: int | None, *, given: Executor | None = None) -> None:
        self._here = Serial()
        self._worker, self._workers = worker, workers or _usual(worker)
        self._given = given
        self._others: Local | None = None
        self._aside: Local | None = None
        self._starting: list[Future[Any]] = []
        self._hiring = False

    @property
    def slots(self) -> int:  # type: ignore[override]  # it grows
        """Calls that can be in flight at once; copies of this process begin with the next."""
        return self._workers if self._hiring and can_fork() else self._at_work.slots

    @property
    def most(self) -> int:
        """Calls that can be in flight once all are hired."""
        return self._given.slots if self._given else self._workers

    @property
    def width(self) -> int:
        return self._given.width if self._given else 1  # whoever is hired, or is not, finds the same

    def hire(self, seconds: float) -> bool:
        """Has other processes start with the next call, if there is so much to do in one that this pays.

        Where no call comes, since all is known, none is started.

        Args:
            seconds: that it would take in one.

        Returns:
            Whether they will.
        """
        free = self._given is None and self._others is None and self._workers > 1
        self._hiring = free and seconds > (COPY_PAYS_S if can_fork() else PAYS_S)
        return self._hiring

    def submit(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        if self._hiring:
            self._hiring = False
            self._others = self._started()
            self._starting = [] if can_fork() else self._others.each(self._worker.prepare, None)
        return self._at_work.submit(function, argument)

    def beside(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result] | None:
        """Runs a call in one of other copies of this process, which leave the cores to those of `submit`."""
        if self._given is not None or self._workers == 1 or not can_fork():
            return None
        self._aside = self._aside or self._started(yielding=True)
        return self._aside.submit(function, argument)

    def submit_here(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        """Runs a call in this process: what takes all cores, or must not be disturbed."""
        return self._here.submit(function, argument)

    def here(self, function: Callable[[Argument], Result], argument: Argument) -> Result:
        """As `submit_here`, while nobody else works; returns what the call gives."""
        with self.alone():
            return self.submit_here(function, argument).result()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody works meanwhile: what is starting is waited for, and what is done beside stands still."""
        wait(self._starting)
        with self._aside.paused() if self._aside else nullcontext():
            yield

    def close(self) -> None:
        for others in (self._others, self._aside):
            if others is not None:
                others.close()
        self._others = self._aside = None

    def _started(self, *, yielding: bool = False) -> Local:
        if can_fork():
            self._worker.prepare(None)  # once, for all copies
        return Local(self._workers, worker=self._worker, yielding=yielding)

    @property
    def _at_work(self) -> Executor:
        if self._others is not None and all(future.done() for future in self._starting):
            return self._others
        return self._given or self._here


def _usual(worker: Worker) -> int:
    """Processes, where nobody says how many."""
    return 1 if find_device(worker.definition.device).type == "cuda" else cores()
