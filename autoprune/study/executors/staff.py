"""The workers of a search: this process, and other processes of this machine once they pay off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from autoprune.machine import cores, find_device
from autoprune.study.executors.executor import Executor, Serial, Worker
from autoprune.study.executors.forked import can_fork
from autoprune.study.executors.local import Local

Argument = TypeVar("Argument")
Result = TypeVar("Result")

PAYS_S = 15.0
"""Other processes are started for at least so many seconds of work, since each takes some seconds to start …"""

COPY_PAYS_S = 1.0
"""… but copies of this process start at once."""


class Staff(Executor):
    """An executor that grows. This process does the work until the others have started.

    Args:
        worker: whose methods are run; other processes prepare it before their first call.
        workers: processes; None: one per core, but only one on a GPU, since one keeps it busy. 1 means this process.
        given: an executor to use in any case; the caller closes it. None: this process.
    """

    def __init__(self, worker: Worker, workers: int | None, *, given: Executor | None = None) -> None:
        self._here = Serial()
        self._worker, self._workers = worker, workers or _default_workers(worker)
        self._given = given
        self._others: Local | None = None
        self._low_priority: Local | None = None
        self._starting: list[Future[Any]] = []
        self._hiring = False

    @property
    def slots(self) -> int:  # type: ignore[override]  # it grows
        """Calls that can be in flight at once; hired copies count already, since they start with the next call."""
        return self._workers if self._hiring and can_fork() else self._active.slots

    @property
    def most(self) -> int:
        """Calls that can be in flight once all processes are hired."""
        return self._given.slots if self._given else self._workers

    @property
    def width(self) -> int:
        return self._given.width if self._given else 1  # results must not depend on how many are hired

    def hire(self, seconds: float) -> bool:
        """Starts other processes with the next call, if there is enough work for that to pay off.

        If no call follows, since all results are known, none is started.

        Args:
            seconds: that the work would take in one process.

        Returns:
            Whether they will be started.
        """
        can_hire = self._given is None and self._others is None and self._workers > 1
        self._hiring = can_hire and seconds > (COPY_PAYS_S if can_fork() else PAYS_S)
        return self._hiring

    def submit(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        if self._hiring:
            self._hiring = False
            self._others = self._start_local()
            self._starting = [] if can_fork() else self._others.each(self._worker.prepare, None)
        return self._active.submit(function, argument)

    def submit_in_background(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result] | None:
        """Runs a call in one of a second set of copies, which yield the cores to those of `submit`."""
        if self._given is not None or self._workers == 1 or not can_fork():
            return None
        self._low_priority = self._low_priority or self._start_local(yielding=True)
        return self._low_priority.submit(function, argument)

    def submit_here(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        """Runs a call in this process, because it takes all cores or must not be disturbed."""
        return self._here.submit(function, argument)

    def here(self, function: Callable[[Argument], Result], argument: Argument) -> Result:
        """Runs a call in this process while nothing else runs, and returns its result."""
        with self.alone():
            return self.submit_here(function, argument).result()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nothing else runs meanwhile: starting processes are waited for, and low-priority ones are suspended."""
        wait(self._starting)
        with self._low_priority.paused() if self._low_priority else nullcontext():
            yield

    def close(self) -> None:
        for executor in (self._others, self._low_priority):
            if executor is not None:
                executor.close()
        self._others = self._low_priority = None

    def _start_local(self, *, yielding: bool = False) -> Local:
        if can_fork():
            self._worker.prepare(None)  # once, before copying
        return Local(self._workers, worker=self._worker, yielding=yielding)

    @property
    def _active(self) -> Executor:
        if self._others is not None and all(future.done() for future in self._starting):
            return self._others
        return self._given or self._here


def _default_workers(worker: Worker) -> int:
    """The default number of processes."""
    return 1 if find_device(worker.definition.device).type == "cuda" else cores()
