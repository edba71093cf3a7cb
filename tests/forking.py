"""A fork that is asked, with a deadline: one that waits for threads which it does not have would wait for good."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")

DEADLINE = 60
"""Seconds that a fork may take."""


@contextmanager
def two_threads() -> Iterator[None]:
    """Has torch compute on two threads here, of which a fork has one."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def answer_of_a_fork(ask: Callable[[], T]) -> T:
    """What a fork answers, which is ended in any case."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=lambda: there.send(ask()), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that a process of several threads forks
        child.start()
    there.close()
    try:
        assert here.poll(DEADLINE), "the fork answers"
        answer: T = here.recv()
    finally:
        child.kill()
        child.join()
        here.close()
    return answer
