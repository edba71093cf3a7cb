"""A worker that has the study's task at hand, says what it does, and stops once its time is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import torch

from autoprune.deadline import NEVER
from autoprune.machine import machine
from autoprune.study.definition import Definition
from autoprune.study.executors.executor import Worker
from autoprune.study.settings import find_device
from autoprune.tasks.task import Task


class TaskWorker(Worker):
    """Has the study's task report to it. What it needs is made when it is first used.

    Args:
        definition: of the study.
        task: the study's, if it is at hand; read again otherwise.
        working: called with a few words about the work in progress.
    """

    doing = "measuring"
    """What is stopped where a deadline passes in the midst of requests."""

    def __init__(
        self, definition: Definition, task: Task | None = None, *, working: Callable[[str], None] = lambda message: None
    ) -> None:
        super().__init__(definition)
        self._given = task
        self._working, self._deadline = working, NEVER

    @cached_property
    def task(self) -> Task:
        """The study's task.

        Raises:
            AutopruneError: its data is not where it was, or not what it was.
        """
        task = self._given or self.definition.make_task()
        self._listen(task)
        return task

    @cached_property
    def device(self) -> torch.device:
        """The study's.

        Raises:
            AutopruneError: there is no such device.
        """
        return find_device(self.definition.device)

    @cached_property
    def machine(self) -> str:
        """Fingerprint of the machine that this process runs on."""
        return str(machine(self.definition.device)["id"])

    def alone(self) -> None:
        self._working = lambda message: None

    def _listen(self, task: Task) -> None:
        task.report, task.pause = self._work, self._pause

    def _work(self, message: str) -> None:
        """Says what is being done, and stops if the time is over: whatever takes long says so now and then."""
        self._working(message)
        self._deadline.check(message)

    def _pause(self) -> None:
        self._deadline.check(self.doing)


@contextmanager
def lent(task: Task) -> Iterator[None]:
    """Has a task report to whom it did before, once a worker, which takes that over, is done with it."""
    before = task.report, task.pause
    try:
        yield
    finally:
        task.report, task.pause = before
