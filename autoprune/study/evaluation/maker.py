"""Makes models of a study: holds the task with its data, the context for steps, and the trainer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from autoprune.deadline import NEVER, Deadline
from autoprune.errors import AutopruneError
from autoprune.fronts.requirements import OBJECTIVES, Requirements, parse_requirements
from autoprune.measure.reading import reading_names
from autoprune.models.context import Context
from autoprune.recipes.recipe import Plan, keys_of, plan
from autoprune.recipes.stages import dense_key
from autoprune.recipes.store import Store
from autoprune.recipes.train import Trainer
from autoprune.record.cut_short import CUT_SHORT, cut_short_after
from autoprune.record.folder import STORE
from autoprune.study.definition import Definition
from autoprune.study.evaluation.task_worker import TaskWorker
from autoprune.tasks.task import Task

SHRINKING = ("dims", "store")
"""Steps that make stored vectors smaller."""


class Maker(TaskWorker):
    """Makes models of a study.

    Args:
        definition: of the study.
        task: the study's task, if it is already loaded; otherwise it is read when needed.
        working: called with a few words about the work in progress.
        note: called with messages that users should see early.
    """

    def __init__(
        self,
        definition: Definition,
        task: Task | None = None,
        *,
        working: Callable[[str], None] = lambda message: None,
        note: Callable[[str], None] = lambda message: None,
    ) -> None:
        super().__init__(definition, task, working=working)
        self._note = note

    @cached_property
    def context(self) -> Context:
        """What steps may use besides the weights.

        Raises:
            AutopruneError: there is no such device.
        """
        return self.task.context(seed=self.definition.seed, device=self.device)

    @property
    def trainer(self) -> Trainer:
        """Trains models with the task's settings; if the dense model's training was cut short, all others are so too.

        It is then a training of fewer epochs: it has a key of its own, and can be repeated.
        """
        settings, epochs = self.task.training, cut_short_after(self.definition.folder)
        return Trainer(
            settings if epochs is None else dataclasses.replace(settings, epochs=epochs),
            report=lambda message: self._working(message),
            note=lambda message: self._note(message),
        )

    def alone(self) -> None:
        super().alone()
        self._note = lambda message: None

    @cached_property
    def requirements(self) -> Requirements:
        """The study's requirements.

        Raises:
            AutopruneError: a requirement cannot be parsed, or names a reading that is not measured.
        """
        task = self.task
        slices = [*(name for names in task.slices.values() for name in names), *task.perturbations]
        names = reading_names(task.metric, task.metrics, slices, task.workload_names, stored=task.stores_vectors)
        for objective in self.definition.content["study"]["objectives"]:
            if OBJECTIVES[objective][0] not in names:
                raise AutopruneError(
                    f"study.objectives: {objective} is not available: this task's models give no vectors that are "
                    "stored."
                )
        requirements = parse_requirements(self.definition.content["requirements"], names).of_metrics(task.main_metrics)
        if OBJECTIVES[requirements.prefer][0] not in names:
            raise AutopruneError(
                f"requirements.prefer: {requirements.prefer} is not available: this task's models give no vectors that "
                "are stored."
            )
        return requirements

    @cached_property
    def store(self) -> Store:
        """Checkpoints of trained models, shared by all studies in a folder."""
        return Store(self.definition.folder.parent / STORE)

    @property
    def files(self) -> tuple[Path, ...]:
        """The baseline's artifact and, if there are any, the dense model's checkpoint and how far it was trained."""
        folder = self.definition.folder
        return self.definition.artifacts / self.plan({}).key, self.store.path(self._dense_key), folder / CUT_SHORT

    @property
    def training_seconds(self) -> float:
        """Seconds that training the dense model has taken in all runs; 0 if it is not trained or they are unknown."""
        return float(self.store.value(self._dense_key, "seconds") or 0.0)

    @property
    def epoch_seconds(self) -> float:
        """Seconds that training the dense model has taken for each epoch; 0 as above."""
        epochs = self.store.value(self._dense_key, "epochs")
        return self.training_seconds / epochs if epochs else 0.0

    @property
    def _dense_key(self) -> str:
        return dense_key(self.plan({}).base, self.task, self.context, trainer=self.trainer)

    def check(self, deadline: Deadline = NEVER) -> None:
        """Checks the device and the requirements.

        Args:
            deadline: for what the task computes at first, such as how often rows are looked up.

        Raises:
            AutopruneError: an entry is invalid; the message gives its path.
            OutOfTime: the time was over before this was computed.
        """
        self._deadline = deadline
        _ = self.context
        self._check_stored()

    def _check_stored(self) -> None:
        """Refuses a goal for the size of stored vectors if no step of the search can reduce it."""
        content = self.definition.content
        goals = ["study.objectives: index"] * ("index" in content["study"]["objectives"])
        goals += [f"requirements: {item.text}" for item in self.requirements.items if item.reading == "vector_bytes"]
        steps_tried = {*keys_of(content["space"]), *keys_of(content["presets"])}
        if goals and steps_tried.isdisjoint(SHRINKING):
            raise AutopruneError(f"{goals[0]}: no step in this space makes vectors smaller; search with space=index.")

    def plan(self, recipe: Mapping[str, Any]) -> Plan:
        """The normal form of a recipe for the study's task."""
        return plan(recipe, base_defaults=self.task.base, runtimes=self.task.runtimes)
