"""The executor that uses the cores of this machine: some processes of one thread each."""

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
"""Processes that a call may end: the system kills the largest where memory is short, whoever is to blame for it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Call:
    """What was asked for.

    Attributes:
        of: the process that must answer; None: any.
    """

    function: Callable[[Any], Any]
    argument: Any
    of: OtherProcess | None = None
    future: Future[Any] = field(default_factory=Future)


class Local(Executor):
    """As many calls at once as it has processes, each in the first process that is free.

    Where this process can be copied they are copies of it, ready at once. Elsewhere they start from nothing and are
    ready some seconds later; a call waits for that. One that dies has another one in its place, which is given the same
    call: it fails once it has ended `DEATHS` of them.

    Args:
        processes: 1 or more.
        worker: that copies keep at hand; None: there are none.
        yielding: whether copies leave the cores to others that want them.
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
        return self._ask(_Call(function=function, argument=argument))

    def each(self, function: Callable[[Argument], Result], argument: Argument) -> list[Future[Result]]:
        """Runs `function(argument)` once in every process, such as to have each read its data before it is needed."""
        return [self._ask(_Call(function=function, argument=argument, of=process)) for process in self._processes]

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Has all processes stand still meanwhile."""
        with contextlib.ExitStack() as still:
            for process in self._processes:
                still.enter_context(process.paused())
            yield

    def close(self) -> None:
        """Ends the processes with what they run, and cancels what has not begun."""
        with self._changed:
            self._closed = True
            for call in self._calls:
                call.future.cancel()
            self._calls.clear()
            self._changed.notify_all()
        for process, thread in zip(self._processes, self._threads, strict=True):
            while thread.is_alive():  # it may be about to start its process
                process.kill()
                thread.join(0.05)

    def _ask(self, call: _Call) -> Future[Any]:
        with self._changed:
            assert not self._closed, "nothing is submitted after close"
            self._calls.append(call)
            self._changed.notify_all()
        return call.future

    def _serve(self, process: OtherProcess) -> None:
        """Has a process answer one call after the other, until `close`."""
        with contextlib.suppress(OSError):  # it is started again for the first call, which then fails with the reason
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
            except BaseException as error:  # of whoever waits for the future
                call.future.set_exception(error)
                return
            else:
                call.future.set_result(answer)
                return

    def _next(self, process: OtherProcess) -> _Call | None:
        """The first call that a process may answer, waited for; None after `close`."""

        def found() -> _Call | None:
            return next((call for call in self._calls if call.of in (None, process)), None)

        with self._changed:
            self._changed.wait_for(lambda: self._closed or found())
            call = found()
            if call is not None:
                self._calls.remove(call)
            return call


def _process(worker: Worker | None, yielding: bool) -> OtherProcess:
    if worker is None or not can_fork():
        return FreshProcess(ONE_THREAD)
    process = ForkedProcess(worker, yielding=yielding)
    process.start()  # here, where no other thread is half way through something
    return process
