"""Executors run evaluations and timings: in this process, a fresh one, or anywhere that takes plain values.

The interface is that of `concurrent.futures`: `submit` returns a `Future`. To add another kind of executor, write a
subclass; the search and the verification need no change.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from autoprune.deadline import OutOfTime
from autoprune.errors import AutopruneError, Diverged, Ended, Failed
from autoprune.study.definition import Definition

Argument = TypeVar("Argument")
Result = TypeVar("Result")


Outcome = tuple[Any, AutopruneError | OSError | None]
"""A result and an error, one of them None."""


class Executor(ABC):
    """Runs calls somewhere.

    Attributes:
        slots: calls that can be in flight at once.
    """

    slots: int

    @property
    def width(self) -> int:
        """Slots that are there from the first call to the last; the size of batches may depend on them."""
        return self.slots

    @abstractmethod
    def submit(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        """Runs `function(argument)`, now or later.

        Args:
            function: at module level, or a method of a `Worker`, so that another process can find it.
            argument: plain values.
        """

    def submit_in_background(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result] | None:
        """As `submit`, with lower priority than submitted calls; None if no process can do so."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Ends running calls; nothing may be submitted afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Worker(ABC):
    """What a process keeps for a study between calls: the task with its data, and loaded artifacts.

    A worker is sent to another process as its definition: that process creates a worker of its own on the first call
    and keeps it. So the result of a method depends only on the definition and the argument, wherever it runs. The
    constructor reads nothing, so that errors arise in a call and are returned from it.
    """

    @abstractmethod
    def __init__(self, definition: Definition) -> None:
        self.definition = definition

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return at_hand, (type(self), self.definition)

    @property
    def files(self) -> tuple[Path, ...]:
        """What calls on another machine need besides the task's data, from the folder that the study lies in."""
        return ()

    def prepare(self, argument: None) -> None:  # noqa: B027  # optional: some workers read nothing
        """Reads in advance what most calls need."""

    def alone(self) -> None:  # noqa: B027  # optional: some workers report nothing
        """Stops its reports: this worker is a copy of one in another process."""


_KEPT_WORKER: list[Worker] = []
"""The worker that this process keeps; one at most, since each may hold a data set."""


def keep(worker: Worker) -> None:
    """Makes `worker` the one that answers calls in this process."""
    _KEPT_WORKER[:] = [worker]


def at_hand(kind: type[Worker], definition: Definition) -> Worker:
    """The worker of this process for a definition, created if needed."""
    if not (_KEPT_WORKER and type(_KEPT_WORKER[0]) is kind and _KEPT_WORKER[0].definition == definition):
        _KEPT_WORKER.clear()
        keep(kind(definition))
    return _KEPT_WORKER[0]


class Serial(Executor):
    """Runs one call after another, in this process."""

    slots = 1

    def submit(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            future.set_result(function(argument))
        except Exception as error:  # Ctrl-C is not caught
            future.set_exception(error)
        return future

    def close(self) -> None:
        pass


THREADED = "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS VECLIB_MAXIMUM_THREADS RAYON_NUM_THREADS"
ONE_THREAD = dict.fromkeys(THREADED.split(), "1")
"""Environment variables that torch, Faiss, NumPy and tokenizers read when loaded. Processes share the cores: with more
threads than cores they would wait for one another."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A process that answers calls.

    Attributes:
        asked: the pipe from which it reads calls, see `answer_calls`.
        answered: the pipe to which it writes answers.
        pid: its process ID.
        kill: ends it.
        wait: waits for its end, at most for so many seconds (None: for ever); returns its exit code, None if it runs.
    """

    asked: IO[bytes]
    answered: IO[bytes]
    pid: int
    kill: Callable[[], object]
    wait: Callable[[float | None], int | None]


class OtherProcess(Executor):
    """Runs one call after another, in a process that starts with the first call and ends with `close`."""

    slots = 1

    def __init__(self) -> None:
        self._process: Begun | None = None

    @abstractmethod
    def _begin(self) -> Begun:
        """Starts the process; does not wait until it is ready."""

    def start(self) -> None:
        """Starts the process before its first call; does not wait until it is ready."""
        if self._process is None:
            self._process = self._begin()

    def submit(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            result, error = self._call(function, argument)
        except BaseException:
            self.close()
            raise
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
        return future

    def kill(self) -> None:
        """Ends the process; a thread that is waiting for an answer then gets an `Ended` error."""
        if (process := self._process) is not None:
            process.kill()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Suspends the process meanwhile, whatever it does."""
        process = self._process
        try:
            _send(process, signal.SIGSTOP)
            yield
        finally:
            _send(process, signal.SIGCONT)

    def close(self) -> None:
        if (process := self._process) is not None:
            process.kill()
            process.wait(None)
            for pipe in (process.asked, process.answered):
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
            self._process = None

    def _call(self, function: Callable[..., Any], argument: Any) -> Outcome:
        self.start()
        assert self._process is not None, "it was started"
        try:
            pickle.dump((function, argument), self._process.asked)
            self._process.asked.flush()
            outcome: Outcome = pickle.load(self._process.answered)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            code = self._exit_code()
            return None, Ended(f"the process that ran {function.__qualname__} ended with {_described(code)}")
        return outcome

    def _exit_code(self) -> int | None:
        """The exit code of the process; it is killed if it no longer answers but still runs."""
        assert self._process is not None, "it was started"
        code = self._process.wait(5)
        if code is None:
            self._process.kill()
            code = self._process.wait(None)
        self.close()
        return code


def _described(code: int | None) -> str:
    """An exit code with its likely cause."""
    hint = " (too little memory?)" * (code == -signal.SIGKILL)
    return f"{code}{hint}, see above"


def _send(process: Begun | None, sent: signal.Signals) -> None:
    """Sends a signal to a process, if it still runs."""
    if process is not None and process.wait(0) is None:
        with contextlib.suppress(ProcessLookupError):  # it has ended in the meantime
            os.kill(process.pid, sent)


class FreshProcess(OtherProcess):
    """A new process that shares nothing with this one.

    A process's memory layout shifts what is timed in it, so verification times in several processes.

    Args:
        settings: environment variables, on top of this process's.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._settings = dict(settings or {})

    def _begin(self) -> Begun:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", ANSWERING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **self._settings},
            process_group=0,  # Ctrl-C goes to the parent alone, which then ends this process
        )
        assert process.stdin is not None, "it was asked for"
        assert process.stdout is not None, "it was asked for"

        def wait(seconds: float | None) -> int | None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=seconds)
            return process.returncode

        return Begun(asked=process.stdin, answered=process.stdout, pid=process.pid, kill=process.kill, wait=wait)


ANSWERING = """
import os, sys
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
from autoprune.study.executors.executor import answer_calls
answer_calls(sys.stdin.buffer, answers)
"""
"""What a fresh process runs. Output of libraries goes to stderr, since stdout carries the answers."""


def answer_calls(calls: IO[bytes], answers: IO[bytes]) -> None:
    """Answers one call after another until there are no more.

    Args:
        calls: pickled (function, argument) pairs.
        answers: pickled outcomes, see `outcome_of`.
    """
    threading.Thread(target=_end_with, args=(calls,), daemon=True).start()
    while True:
        try:
            function, argument = pickle.load(calls)
        except EOFError:  # the parent is gone, or needs no more
            return
        outcome = outcome_of(function, argument)
        try:
            pickle.dump(outcome, answers)
            answers.flush()
        except BrokenPipeError:  # the parent is gone
            return


def outcome_of(function: Callable[[Any], Any], argument: Any) -> Outcome:
    """The result or error of a call, in a form that can be sent to another process.

    Errors that a person can fix, and errors of the operating system, are outcomes; any other error is raised.
    """
    try:
        return function(argument), None
    except OutOfTime as stopped:
        return None, OutOfTime(stopped.doing)
    except AutopruneError as error:
        kind = next(kind for kind in (Diverged, Failed, AutopruneError) if isinstance(error, kind))
        return None, kind(str(error))
    except OSError as error:
        return None, error if error.errno is not None else OSError(str(error))


def _end_with(calls: IO[bytes]) -> None:
    """Ends this process when its parent is gone, for whatever reason, even in the middle of a call."""
    gone = select.poll()
    gone.register(calls, 0)  # only the hang-up, which is always reported
    gone.poll()
    os._exit(0)
