"""Who runs evaluations and timings: this process, a fresh one, or whatever else takes a function and plain values.

An executor is asked as those of `concurrent.futures` are: `submit` gives a `Future`. To add one (processes, a
cluster), write a subclass; neither the search nor the verification need know of it.
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
        slots: calls that it can have in flight at once.
    """

    slots: int

    @property
    def width(self) -> int:
        """Slots that it has from the first call to the last: what is asked for together may depend on them."""
        return self.slots

    @abstractmethod
    def submit(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result]:
        """Runs `function(argument)`, now or later.

        Args:
            function: of a module, or a method of a `Worker`, so that another process can find it.
            argument: plain values.
        """

    def beside(self, function: Callable[[Argument], Result], argument: Argument) -> Future[Result] | None:
        """As `submit`, but beside what is submitted, which comes first; None: there is nobody for it."""
        return None

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
    keeps it. So a method of a worker is a function of the definition and its argument, wherever it runs. A constructor
    reads nothing: what goes wrong then goes wrong in the call, and comes back from it.
    """

    @abstractmethod
    def __init__(self, definition: Definition) -> None:
        self.definition = definition

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return at_hand, (type(self), self.definition)

    def prepare(self, argument: None) -> None:  # noqa: B027  # who has nothing to read need not say so
        """Reads what most calls need, before they come."""

    def alone(self) -> None:  # noqa: B027  # likewise
        """Has it report to nobody: it is the copy of one that another process keeps."""


_HELD: list[Worker] = []
"""The worker that this process keeps; one at most, since each may hold a data set."""


def keep(worker: Worker) -> None:
    """Has this process answer calls of methods of `worker` with it."""
    _HELD[:] = [worker]


def at_hand(kind: type[Worker], definition: Definition) -> Worker:
    """The worker of this process for a definition."""
    if not (_HELD and type(_HELD[0]) is kind and _HELD[0].definition == definition):
        _HELD.clear()
        keep(kind(definition))
    return _HELD[0]


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


THREADED = "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS VECLIB_MAXIMUM_THREADS RAYON_NUM_THREADS"
ONE_THREAD = dict.fromkeys(THREADED.split(), "1")
"""What torch, Faiss, NumPy and tokenizers read when they are loaded. Processes share the cores: with more threads than
cores each would wait for others."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A process that answers calls.

    Attributes:
        asked: where it reads calls, see `answer_calls`.
        answered: where it writes answers.
        pid: its number.
        kill: ends it.
        wait: waits until it has ended, at most for so many seconds (None: for ever); how it ended, None: it has not.
    """

    asked: IO[bytes]
    answered: IO[bytes]
    pid: int
    kill: Callable[[], object]
    wait: Callable[[float | None], int | None]


class OtherProcess(Executor):
    """One call after the other, in a process that starts with the first of them and ends with `close`."""

    slots = 1

    def __init__(self) -> None:
        self._process: Begun | None = None

    @abstractmethod
    def _begin(self) -> Begun:
        """Starts the process; does not wait until it is ready."""

    def start(self) -> None:
        """Starts the process before it is asked for anything; does not wait until it is ready."""
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
        """Ends the process, also from another thread while one waits for an answer: that one then gets none."""
        if (process := self._process) is not None:
            process.kill()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Has the process stand still meanwhile, whatever it does."""
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
            ended = self._ended()
            return None, Ended(f"the process that ran {function.__qualname__} ended with {_named(ended)}")
        return outcome

    def _ended(self) -> int | None:
        """How the process ended; one that gives no answers any more is ended."""
        assert self._process is not None, "it was started"
        ended = self._process.wait(5)
        if ended is None:
            self._process.kill()
            ended = self._process.wait(None)
        self.close()
        return ended


def _named(ended: int | None) -> str:
    """How a process ended, in words."""
    short = " (too little memory?)" * (ended == -signal.SIGKILL)
    return f"{ended}{short}, see above"


def _send(process: Begun | None, sent: signal.Signals) -> None:
    """Sends a signal to a process, if it still runs."""
    if process is not None and process.wait(0) is None:
        with contextlib.suppress(ProcessLookupError):  # it has ended since
            os.kill(process.pid, sent)


class FreshProcess(OtherProcess):
    """A process that knows nothing of this one.

    Where a process puts its memory moves what is timed in it, so that verification times in several.

    Args:
        settings: variables of its environment, on top of this process's.
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
            process_group=0,  # Ctrl-C is for whoever asks; that process ends this one
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
"""What a fresh process runs. What a library prints goes to stderr, since it is no answer."""


def answer_calls(calls: IO[bytes], answers: IO[bytes]) -> None:
    """Answers one call after the other until there are no more.

    Args:
        calls: pickled (function, argument) pairs.
        answers: pickled outcomes, see `outcome_of`.
    """
    threading.Thread(target=_end_with, args=(calls,), daemon=True).start()
    while True:
        try:
            function, argument = pickle.load(calls)
        except EOFError:  # whoever asked is gone, or needs no more
            return
        outcome = outcome_of(function, argument)
        try:
            pickle.dump(outcome, answers)
            answers.flush()
        except BrokenPipeError:  # as above
            return


def outcome_of(function: Callable[[Any], Any], argument: Any) -> Outcome:
    """What a call comes to, as it can be sent to another process.

    An error that a person can mend is an outcome too, and so is one of the system; any other is raised.
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
    """Ends this process when whoever asks is gone, however that ended; also in the middle of a call."""
    gone = select.poll()
    gone.register(calls, 0)  # no event but the hang-up, which is always told
    gone.poll()
    os._exit(0)
