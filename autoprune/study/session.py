"""What all stages of a search share: the study and its record, who works for it, its time, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
from autoprune.study.settings import StudyConfig
from autoprune.study.teams.team import ALONE, Team
from autoprune.tasks.task import Task


class CurrentFront:
    """The front of a study whose archive grows; there is none before the baseline is measured."""

    def __init__(self, folder: Path, archive: Archive) -> None:
        self._folder, self._archive = folder, archive
        self._front: Front | None = None

    def renewed(self) -> Front:
        """As the archive is now."""
        record = self._front.record.renewed() if self._front else Record(self._folder, self._archive)
        self._front = Front(record)
        return self._front

    def last(self) -> Front:
        """As it was when it was last computed, which costs nothing."""
        return self._front or self.renewed()


@dataclass(frozen=True, kw_only=True)
class Session:
    """One run of a search.

    Attributes:
        config: objectives, and how many looks and trials there may be.
        evaluator: looks at recipes and makes candidates of the study, wherever the staff asks it to.
        archive: where every finished candidate goes.
        looks: where looks go; closer ones go beside them.
        team: who else drives the study.
        staff: runs evaluations.
        watch: is told how the search goes.
        outlook: estimates how long things take.
        budget: the time.
        front: of the study.
        machine: fingerprint of the one that times.
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
        """The study's."""
        return self.evaluator.definition

    @property
    def task(self) -> Task:
        """The study's."""
        return self.evaluator.task

    @property
    def alone(self) -> bool:
        """Whether nobody else may drive the study."""
        return self.team is ALONE

    @property
    def times(self) -> bool:
        """Whether it steers by latency, or has limits on it; finalists are timed in any case."""
        items = self.evaluator.requirements.items
        return "latency" in self.config.objectives or any(item.reading.startswith("latency_ms") for item in items)

    def ready(self, seconds: float) -> None:
        """Has this process compute what every training reads, with all cores; where others work, they do it.

        Raises:
            OutOfTime: so many seconds are over; what was computed is kept.
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
    """A session, whose machine is noted in the study's folder.

    Args:
        executor: runs evaluations; None: this process, and as many as `config.workers` says once that pays.
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
