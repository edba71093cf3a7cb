"""What all stages of a search share: the study and its record, its workers, its time, and its observers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autoprune.config.settings import StudyConfig
from autoprune.deadline import Deadline
from autoprune.fronts.front import Front
from autoprune.machine import machine
from autoprune.record.archive import Archive
from autoprune.record.folder import note_machine
from autoprune.record.looks import Looks
from autoprune.record.record import Record
from autoprune.study.budget import Budget
from autoprune.study.definition import Definition
from autoprune.study.evaluation.evaluate import Evaluator
from autoprune.study.evaluation.remeasure import judged_at_once
from autoprune.study.executors.executor import Executor
from autoprune.study.executors.staff import Staff
from autoprune.study.progress.outlook import Outlook
from autoprune.study.progress.progress import Watching
from autoprune.study.teams.team import ALONE, Team
from autoprune.tasks.task import Task


class CurrentFront:
    """The front of a study whose archive grows; there is no front before the baseline is measured."""

    def __init__(self, folder: Path, archive: Archive) -> None:
        self._folder, self._archive = folder, archive
        self._front: Front | None = None

    def renewed(self) -> Front:
        """The front of the archive as it now stands."""
        record = self._front.record.renewed() if self._front else Record(self._folder, self._archive)
        self._front = Front(record)
        return self._front

    def last(self) -> Front:
        """The front as last computed, at no cost."""
        return self._front or self.renewed()


@dataclass(frozen=True, kw_only=True)
class Session:
    """One run of a search.

    Attributes:
        config: the section `study`: objectives, limits on looks and trials, and so on.
        evaluator: looks at recipes and makes candidates, in whatever process the staff runs it.
        archive: receives every finished candidate.
        looks: receives looks; closer looks have a file of their own.
        team: who else drives the study.
        staff: runs evaluations.
        watch: receives reports on the search.
        outlook: estimates how long the remaining work takes.
        budget: the time of the search.
        front: of the study.
        machine: fingerprint of the machine that times artifacts.
    """

    config: StudyConfig
    evaluator: Evaluator
    archive: Archive
    looks: Looks
    team: Team
    staff: Staff
    watch: Watching
    outlook: Outlook
    budget: Budget
    front: CurrentFront
    machine: str

    @property
    def definition(self) -> Definition:
        """The study's definition."""
        return self.evaluator.definition

    @property
    def task(self) -> Task:
        """The study's task."""
        return self.evaluator.task

    @property
    def alone(self) -> bool:
        """Whether nobody else may drive the study."""
        return self.team is ALONE

    @property
    def times(self) -> bool:
        """Whether the search times candidates: latency is an objective or is required. Finalists are always timed."""
        items = self.evaluator.requirements.items
        return "latency" in self.config.objectives or any(item.reading.startswith("latency_ms") for item in items)

    def ready(self, seconds: float) -> None:
        """Has this process compute, on all cores, what every training reads; on a cluster, each node does so itself.

        Raises:
            OutOfTime: `seconds` have passed; what was computed is kept.
        """
        if self.staff.width == 1:
            with self.team.alone("what trainings read"):
                self.staff.here(self.evaluator.ready, seconds)


def begin(
    config: StudyConfig,
    *,
    evaluator: Evaluator,
    archive: Archive,
    looks: Looks,
    team: Team,
    executor: Executor | None,
    watch: Watching,
    deadline: Deadline,
    reading: float,
) -> Session:
    """Opens a session and notes its machine in the study's folder.

    Args:
        executor: runs evaluations; None: this process, and up to `config.workers` processes once that pays off.
        deadline: when the run is to end, verification included.
        reading: seconds that reading the data took.
    """
    definition = evaluator.definition
    facts = machine(definition.device)
    with team.turn():
        note_machine(definition.folder, facts)
    front = CurrentFront(definition.folder, archive)
    outlook = Outlook(
        archive,
        rounds=config.verify_rounds,
        reading=reading,
        timing=definition.latency_seconds,
        at_once=judged_at_once(config.workers if executor is None else None),
    )

    def verification() -> float:
        return outlook.verification(front.last()) if archive.baseline else 0.0

    return Session(
        config=config,
        evaluator=evaluator,
        archive=archive,
        looks=looks,
        team=team,
        staff=Staff(evaluator, config.workers, given=executor),
        watch=watch,
        outlook=outlook,
        budget=Budget(deadline, minutes=config.minutes, verification=verification),
        front=front,
        machine=str(facts["id"]),
    )
