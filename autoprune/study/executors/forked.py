"""A fork of this process that answers calls. It shares this process's memory at once, without copying it.

It works only on Linux and without a GPU, since CUDA does not survive a fork. Threads that libraries have started do not
exist in the fork, and the libraries must not wait for them; so it uses one thread, like the workers of PyTorch's data
loaders.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from typing import IO, Any

import torch
from threadpoolctl import threadpool_limits

from autoprune.study.executors.executor import ONE_THREAD, Begun, OtherProcess, Worker, answer_calls, keep

SETTINGS = {**ONE_THREAD, "TOKENIZERS_PARALLELISM": "false"}
"""Environment variables that libraries read when they are loaded or used."""

YIELDING = 10
"""The niceness of a yielding fork: another process gets about nine tenths of a core that both want."""

PR_SET_PDEATHSIG = 1
"""From Linux's <sys/prctl.h>."""

_PIPE_ENDS: set[int] = set()
"""This process's ends of the pipes to its forks. A later fork inherits them and closes them, because an earlier fork
ends only when no process has them open."""

_FORKING = threading.Lock()
"""Forks are started one at a time: a fork started during another's start would inherit the other's pipe ends."""


def can_fork() -> bool:
    """Whether a fork of this process works."""
    return sys.platform == "linux" and not torch.cuda.is_available()


class ForkedProcess(OtherProcess):
    """A fork of this process in its state at the start of the fork.

    Args:
        worker: the worker that the fork uses, with all that it has loaded.
        yielding: whether it runs at low priority, so that other processes get the cores first.
    """

    def __init__(self, worker: Worker, *, yielding: bool = False) -> None:
        super().__init__()
        self._worker, self._yielding = worker, yielding

    def _begin(self) -> Begun:
        with _FORKING:
            (calls, send), (receive, answers) = os.pipe(), os.pipe()
            ours = (send, receive)
            _PIPE_ENDS.update(ours)
            process = multiprocessing.get_context("fork").Process(
                target=_answer, args=(self._worker, calls, answers, self._yielding), daemon=True
            )
            process.start()
            os.close(calls)
            os.close(answers)

        def wait(seconds: float | None) -> int | None:
            process.join(seconds)
            if process.exitcode is not None:
                with _FORKING:
                    _PIPE_ENDS.difference_update(ours)  # before they are closed and their numbers reused
            return process.exitcode

        assert process.pid is not None, "it was started"
        return Begun(
            asked=os.fdopen(send, "wb"),
            answered=os.fdopen(receive, "rb"),
            pid=process.pid,
            kill=process.kill,
            wait=wait,
        )


def _answer(worker: Worker, calls: int, answers: int, yielding: bool) -> None:
    """Runs in the fork: answers calls until the parent is gone."""
    _end_with_parent()
    multiprocessing.current_process().daemon = False  # only for the parent: data loaders start processes
    os.setpgid(0, 0)  # Ctrl-C is for the parent, which ends this process
    sys.stdout = sys.stderr = sys.__stderr__  # not the progress display, whose lock another thread may hold
    os.nice(YIELDING if yielding else 0)
    for pipe in _PIPE_ENDS:
        os.close(pipe)
    os.dup2(2, 1)  # output of libraries must not mix with answers
    os.environ.update(SETTINGS)
    threadpool_limits(1)
    torch.set_num_threads(1)
    worker.alone()
    keep(worker)
    requests: IO[Any] = os.fdopen(calls, "rb")
    answer_calls(requests, os.fdopen(answers, "wb"))


def _end_with_parent() -> None:
    """Makes this process end with its parent, even if it hangs and does not notice that its pipe was closed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # the parent ended before prctl
        os._exit(0)
