"""A worker that holds the study's task, reports what it does, and stops when its time is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import torch

from autoprune.deadline import NEVER
from autoprune.machine import find_device, machine
from autoprune.study.definition import Definition
from autoprune.study.executors.executor import Worker
from autoprune.tasks.task import Task


class TaskWorker(Worker):
    """A worker to which the study's task reports. Whatever it needs is made on first use.

    Args:
        definition: of the study.
        task: the study's task, if it is already loaded; otherwise it is read when needed.
        working: called with a few words about the work in progress.
    """

    doing = "measuring"
    """What `OutOfTime` says was being done when a deadline passes between requests."""

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
            AutopruneError: its data has moved or changed.
        """
        task = self._given or self.definition.make_task()
        self._listen(task)
        return task

    @cached_property
    def device(self) -> torch.device:
        """The study's device.

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
        """Reports what is being done, and stops if the time is over; long operations call this now and then."""
        self._working(message)
        self._deadline.check(message)

    def _pause(self) -> None:
        self._deadline.check(self.doing)


@contextmanager
def lent(task: Task) -> Iterator[None]:
    """Restores a task's `report` and `pause` after a worker has taken them over."""
    hooks = task.report, task.pause
    try:
        yield
    finally:
        task.report, task.pause = hooks
