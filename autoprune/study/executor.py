"""Who runs evaluations and timings: this process, a fresh one, or whatever else takes a function and plain values.

An executor is asked as those of `concurrent.futures` are: `submit` gives a `Future`. To add one (processes, a
cluster), write a subclass; neither the search nor the verification need know of it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from autoprune.errors import AutopruneError
from autoprune.study.definition import Definition

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Executor(ABC):
    """Runs calls somewhere.

    Attributes:
        slots: calls that it can have in flight at once.
    """

    slots: int

    @abstractmethod
    def submit(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        """Runs `function(argument)`, now or later.

        Args:
            function: of a module, or a method of a `Worker`, so that another process can find it.
            argument: plain values.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends what still runs; nothing is submitted any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Worker(ABC):
    """What a process keeps at hand for a study between calls: the task with its data, loaded artifacts.

    It is sent to another process as its definition: that process makes one of its own when it is first asked, and
    keeps it. So a method of a worker is a function of the definition and its argument, wherever it runs.
    """

    @abstractmethod
    def __init__(self, definition: Definition) -> None:
        self.definition = definition

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _at_hand, (type(self), self.definition)


_HELD: dict[type[Worker], Worker] = {}


def _at_hand(kind: type[Worker], definition: Definition) -> Worker:
    """The worker of a process for a definition; one of a kind is kept."""
    if kind not in _HELD or _HELD[kind].definition != definition:
        _HELD[kind] = kind(definition)
    return _HELD[kind]


class Serial(Executor):
    """One call after the other, in this process."""

    slots = 1

    def submit(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            future.set_result(function(argument))
        except Exception as error:  # Ctrl-C goes through
            future.set_exception(error)
        return future

    def close(self) -> None:
        pass


class FreshProcess(Executor):
    """One call after the other, in a process that starts with the first of them and ends with `close`.

    Where a process puts its memory moves what is timed in it, so that verification times in several.
    """

    slots = 1

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

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

    def _call(self, function: Callable[..., Any], argument: Any) -> tuple[Any, AutopruneError | None]:
        if self._process is None:
            code = f"from {__name__} import serve_calls; serve_calls()"
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None, "it was asked for"
        assert answered is not None, "it was asked for"
        try:
            pickle.dump((function, argument), asked)
            asked.flush()
            outcome: tuple[Any, AutopruneError | None] = pickle.load(answered)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            ended = self._process.wait()
            raise AutopruneError(
                f"the process that was to work ended with {ended}, see above. What was finished is kept; the "
                "same command goes on from here."
            ) from None
        return outcome

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self._process.wait()
            self._process = None


def serve_calls() -> None:
    """Answers calls on standard input until it ends: what `FreshProcess` starts.

    An `AutopruneError` is an answer too; any other error ends the process with its traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the other one ends this one
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    with contextlib.suppress(EOFError, BrokenPipeError):  # whoever asked is gone
        while True:
            function, argument = pickle.load(sys.stdin.buffer)
            try:
                outcome: tuple[Any, AutopruneError | None] = function(argument), None
            except AutopruneError as error:
                outcome = None, AutopruneError(str(error))
            pickle.dump(outcome, answers)
            answers.flush()
