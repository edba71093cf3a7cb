"""The executor that uses the cores of this machine: several processes of one thread each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any

from autoprune.errors import Ended
from autoprune.study.executors.executor import (
    ONE_THREAD,
    Argument,
    Executor,
    FreshProcess,
    OtherProcess,
    Result,
    Worker,
)
from autoprune.study.executors.forked import ForkedProcess, can_fork

DEATHS = 3
"""Processes that a call may lose before it fails: short of memory, the system kills the largest, whatever the cause."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Call:
    """A submitted call.

    Attributes:
        process: the process that must answer; None: any process.
    """

    function: Callable[[Any], Any]
    argument: Any
    process: OtherProcess | None = None
    future: Future[Any] = field(default_factory=Future)


class Local(Executor):
    """Runs as many calls at once as it has processes, each in the first free process.

    If this process can be copied, they are copies of it and ready at once. Otherwise they are started afresh and are
    ready some seconds later; calls wait for that. A process that dies is replaced, and its call is repeated; the call
    fails once it has ended `DEATHS` processes.

    Args:
        processes: 1 or more.
        worker: that copies keep ready; None: fresh processes are started, not copies.
        yielding: whether copies yield the cores to other processes.
    """

    def __init__(self, processes: int, *, worker: Worker | None = None, yielding: bool = False) -> None:
        assert processes >= 1, f"processes >= 1 must hold, but got {processes}"
        self.slots = processes
        self._calls: list[_Call] = []
        self._closed = False
        self._changed = Condition()
        self._processes = [_process(worker, yielding) for _ in range(processes)]
        self._threads = [Thread(target=self._serve, args=(process,), daemon=True) for process in self._processes]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        return self._enqueue(_Call(function=function, argument=argument))

    def each(self, function: Callable[[Argument], Result], argument: Argument) -> list[Future[Result]]:
        """Runs `function(argument)` once in every process, such as to have each read its data before it is needed."""
        calls = [_Call(function=function, argument=argument, process=process) for process in self._processes]
        return [self._enqueue(call) for call in calls]

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Suspends all processes meanwhile."""
        with contextlib.ExitStack() as stack:
            for process in self._processes:
                stack.enter_context(process.paused())
            yield

    def close(self) -> None:
        """Ends the processes with their running calls, and cancels waiting calls."""
        with self._changed:
            self._closed = True
            for call in self._calls:
                call.future.cancel()
            self._calls.clear()
            self._changed.notify_all()
        for process, thread in zip(self._processes, self._threads, strict=True):
            while thread.is_alive():  # the thread may be about to start its process
                process.kill()
                thread.join(0.05)

    def _enqueue(self, call: _Call) -> Future[Any]:
        with self._changed:
            assert not self._closed, "nothing is submitted after close"
            self._calls.append(call)
            self._changed.notify_all()
        return call.future

    def _serve(self, process: OtherProcess) -> None:
        """Has a process answer one call after another, until `close`."""
        with contextlib.suppress(OSError):  # the first call starts it again, and then fails with the reason
            process.start()
        while (call := self._next(process)) is not None:
            if call.future.set_running_or_notify_cancel():
                self._answer(call, process)
        process.close()

    def _answer(self, call: _Call, process: OtherProcess) -> None:
        for death in range(1, DEATHS + 1):
            try:
                answer = process.submit(call.function, call.argument).result()
            except Ended as error:
                if death == DEATHS or self._closed:
                    call.future.set_exception(Ended(f"{error.how}, as did {DEATHS - 1} before it"))
                    return
            except BaseException as error:  # raised where the future is awaited
                call.future.set_exception(error)
                return
            else:
                call.future.set_result(answer)
                return

    def _next(self, process: OtherProcess) -> _Call | None:
        """Waits for the first call that a process may answer; None after `close`."""

        def first() -> _Call | None:
            return next((call for call in self._calls if call.process in (None, process)), None)

        with self._changed:
            self._changed.wait_for(lambda: self._closed or first())
            call = first()
            if call is not None:
                self._calls.remove(call)
            return call


def _process(worker: Worker | None, yielding: bool) -> OtherProcess:
    if worker is None or not can_fork():
        return FreshProcess(ONE_THREAD)
    process = ForkedProcess(worker, yielding=yielding)
    process.start()  # here, where no other thread is in the middle of something
    return process
