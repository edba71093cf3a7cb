"""A copy of this process that answers calls: what this one has in memory it has too, at once and without a second copy.

Only where a copy can work: on Linux, without a GPU (CUDA does not survive a copy). Libraries that have started threads
keep none of them in the copy and must not look for them, so that it uses one thread, as PyTorch's own data loaders do.
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
"""Variables that libraries read when they are loaded or used."""

YIELDING = 10
"""By so much a copy that yields is nicer: others get about nine tenths of a core that both want."""

PR_SET_PDEATHSIG = 1
"""Of Linux's <sys/prctl.h>."""

_OURS: set[int] = set()
"""This process's ends of the pipes to its copies. A later copy has them as well, and closes them: an earlier one ends
when nobody holds them any more."""


_FORKING = threading.Lock()
"""One at a time: a copy that is made while another one's pipes are open here would hold that one's ends."""


def can_fork() -> bool:
    """Whether copies of this process can work."""
    return sys.platform == "linux" and not torch.cuda.is_available()


class ForkedProcess(OtherProcess):
    """A copy of this process, as it is when the copy starts.

    Args:
        worker: that the copy keeps at hand, with all that was read and made for it.
        yielding: whether it leaves the cores to others that want them.
    """

    def __init__(self, worker: Worker, *, yielding: bool = False) -> None:
        super().__init__()
        self._worker, self._yielding = worker, yielding

    def _begin(self) -> Begun:
        with _FORKING:
            (calls, asked), (answered, answers) = os.pipe(), os.pipe()
            ours = (asked, answered)
            _OURS.update(ours)
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
                    _OURS.difference_update(ours)  # before they are closed, and their numbers used again
            return process.exitcode

        assert process.pid is not None, "it was started"
        return Begun(
            asked=os.fdopen(asked, "wb"),
            answered=os.fdopen(answered, "rb"),
            pid=process.pid,
            kill=process.kill,
            wait=wait,
        )


def _answer(worker: Worker, calls: int, answers: int, yielding: bool) -> None:
    """What a copy does: answers calls until whoever asks is gone."""
    _end_with_parent()
    os.setpgid(0, 0)  # Ctrl-C is for whoever asks; that process ends this one
    sys.stdout = sys.stderr = sys.__stderr__  # not what shows progress, whose lock another thread may hold
    os.nice(YIELDING if yielding else 0)
    for pipe in _OURS:
        os.close(pipe)
    os.dup2(2, 1)  # what a library prints is no answer
    os.environ.update(SETTINGS)
    threadpool_limits(1)
    torch.set_num_threads(1)
    worker.alone()
    keep(worker)
    asked: IO[Any] = os.fdopen(calls, "rb")
    answer_calls(asked, os.fdopen(answers, "wb"))


def _end_with_parent() -> None:
    """Has this process end when its parent does, also while it stands still and cannot see its pipe's end."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it ended before
        os._exit(0)
