"""What a process needs to make models of a study: the task with its data, what steps may know, how models train."""

from __future__ import annotations

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
from autoprune.record.folder import STORE
from autoprune.study.definition import Definition
from autoprune.study.evaluation.task_worker import TaskWorker
from autoprune.tasks.task import Task

SHRINKING = ("dims", "store")
"""Steps that make the vectors that are stored smaller."""


class Maker(TaskWorker):
    """Makes models of a study.

    Args:
        definition: of the study.
        task: the study's, if it is at hand; read again otherwise.
        working: called with a few words about the work in progress.
        note: called with what should be known early.
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
        """What steps may know beside the weights.

        Raises:
            AutopruneError: there is no such device.
        """
        return self.task.context(seed=self.definition.seed, device=self.device)

    @cached_property
    def trainer(self) -> Trainer:
        """Trains models as the task says."""
        return Trainer(
            self.task.training, report=lambda message: self._working(message), note=lambda message: self._note(message)
        )

    def alone(self) -> None:
        super().alone()
        self._note = lambda message: None

    @cached_property
    def requirements(self) -> Requirements:
        """The study's.

        Raises:
            AutopruneError: one cannot be read, or names what is not measured.
        """
        task = self.task
        slices = [*(name for names in task.slices.values() for name in names), *task.perturbations]
        names = reading_names(task.metric, task.metrics, slices, task.workload_names, stored=task.stores_vectors)
        for objective in self.definition.content["study"]["objectives"]:
            if OBJECTIVES[objective][0] not in names:
                raise AutopruneError(
                    f"study.objectives: {objective} cannot be traded off: nobody stores what models of this task give."
                )
        found = parse_requirements(self.definition.content["requirements"], names).of_metrics(task.main_metrics)
        if OBJECTIVES[found.prefer][0] not in names:
            raise AutopruneError(
                f"requirements.prefer: {found.prefer} cannot be preferred: nobody stores what models of this task give."
            )
        return found

    @cached_property
    def store(self) -> Store:
        """Where trained models are kept, for all studies of a folder."""
        return Store(self.definition.folder.parent / STORE)

    @property
    def dense(self) -> Path:
        """The checkpoint of the dense model; not there where it is not trained."""
        return self.store.path(self._dense_key)

    @property
    def training_seconds(self) -> float:
        """That the dense model's training took, in whatever run; 0 where it is not trained, or nobody wrote it down."""
        return float((self.store.load(self._dense_key) or {}).get("seconds", 0.0))

    @property
    def _dense_key(self) -> str:
        return dense_key(self.plan({}).base, self.task, self.context, trainer=self.trainer)

    def check(self, deadline: Deadline = NEVER) -> None:
        """Refuses a device and requirements that cannot be.

        Args:
            deadline: for what the task computes first, such as how often rows are looked up.

        Raises:
            AutopruneError: with the path of the entry.
            OutOfTime: the time was over before that was computed.
        """
        self._deadline = deadline
        _ = self.context
        self._check_stored()

    def _check_stored(self) -> None:
        """Refuses to ask for smaller vectors where nothing makes them smaller."""
        held = self.definition.content
        asked = ["study.objectives: index"] * ("index" in held["study"]["objectives"])
        asked += [f"requirements: {item.text}" for item in self.requirements.items if item.reading == "vector_bytes"]
        tried = {*keys_of(held["space"]), *keys_of(held["presets"])}
        if asked and tried.isdisjoint(SHRINKING):
            raise AutopruneError(f"{asked[0]}: nothing in this space makes vectors smaller; search with space=index.")

    def plan(self, recipe: Mapping[str, Any]) -> Plan:
        """The normal form of a recipe for the study's task."""
        return plan(recipe, base_defaults=self.task.base, runtimes=self.task.runtimes)
