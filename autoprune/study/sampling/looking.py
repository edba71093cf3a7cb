"""What looks are taken for: a scan, other dense models, what was found. Opened once the dense model is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoprune.errors import AutopruneError
from autoprune.fronts.promises import Promises
from autoprune.record.archive import Archive
from autoprune.record.looks import CLOSER_LOOKS, Looks
from autoprune.study.budget import Budget
from autoprune.study.evaluation.evaluate import Evaluator
from autoprune.study.evaluation.looker import Asked
from autoprune.study.executors.staff import Staff
from autoprune.study.sampling.bases import Bases
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.finds import Finds
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.sampler import RANDOM
from autoprune.study.sampling.scan import MOST_LOOKS, Scan
from autoprune.study.settings import StudyConfig
from autoprune.study.teams.team import Team


@dataclass(frozen=True)
class Looking:
    """All that a search looks for and by.

    Attributes:
        choices: what the space leaves open.
        lookout: where looks are taken.
        finds: the best of them, perhaps looked at closer.
        scan: of recipes that are not trained; None: none is wanted.
        bases: other dense models of the space, trained beside the scan; None: nothing is trained.
    """

    choices: Choices
    lookout: Lookout
    finds: Finds
    scan: Scan | None = None
    bases: Bases | None = None

    @property
    def trains(self) -> bool:
        """Whether the space leaves something to train."""
        return bool(self.choices.training) or len(self.choices.bases) > 1

    def undone(self) -> list[str]:
        """What a scan that was begun did not come to."""
        if self.scan is None or not self.scan.begun:
            return []
        stopped = [] if self.scan.done else [f"the scan was stopped after {len(self.lookout.looks)} looks"]
        coming = self.bases is not None and self.bases.coming
        return stopped + ["not all dense models of the space were trained"] * coming


class Opener:
    """Opens what looks are taken for.

    Args:
        config: how many looks and trials there may be, and the objectives.
        evaluator: looks at recipes.
        archive: holds the dense model, measured.
        looks: where looks go; closer ones go beside them.
        staff, team: who takes them, and who else does.
        budget: the time.
        tell: is told of every look.
        note: of what should be known.
    """

    def __init__(
        self,
        config: StudyConfig,
        *,
        evaluator: Evaluator,
        archive: Archive,
        looks: Looks,
        staff: Staff,
        team: Team,
        budget: Budget,
        tell: Callable[[Lookout], None],
        note: Callable[[str], None],
    ) -> None:
        self._config, self._evaluator, self._archive, self._looks = config, evaluator, archive, looks
        self._staff, self._team, self._budget, self._tell, self._note = staff, team, budget, tell, note

    def open(self, choices: Choices) -> Looking:
        """Takes looks at the dense model, unless they are on record.

        Raises:
            AutopruneError: it cannot be looked at.
        """
        config, task = self._config, self._evaluator.task
        lookout, closer = self._lookout(self._looks), None
        if task.looks_closer:
            beside = Looks(self._looks.path.with_name(CLOSER_LOOKS), turn=self._team.turn)
            closer = self._lookout(beside, beside=lookout)
        finds = Finds(
            lookout.promises, closer, kin=lambda look: choices.uncoded(look.recipe), hasty=task.looks_in_haste
        )
        if config.looks == 0:
            return Looking(choices, lookout, finds)
        scan = Scan(
            choices,
            lookout,
            drawn=config.sampler == RANDOM,
            seed=self._evaluator.definition.seed,
            most=config.looks or MOST_LOOKS,
            whole=config.looks is not None,
        )
        if config.trials == 0:
            return Looking(choices, lookout, finds, scan)
        return Looking(choices, lookout, finds, scan, Bases(choices, lookout, stand_in=task.stand_in, note=self._note))

    def _lookout(self, looks: Looks, *, beside: Lookout | None = None) -> Lookout:
        """Where looks are taken, with the look at the dense model, which all others are read against.

        Args:
            beside: where other looks are taken, to which these are closer.
        """
        closer = beside is not None
        with self._team.alone(f"{'closer ' * closer}look at the dense model"):
            looks.refresh()
            if looks.dense is None:
                asked = Asked(number=0, recipe={}, closer=closer, seconds=self._budget.seconds)
                found = self._staff.here(self._evaluator.look, asked)
                if found.failed:
                    raise AutopruneError(f"the dense model cannot be looked at: {found.failed}.")
                looks.keep(found)
        dense, baseline = looks.dense, self._archive.baseline
        assert dense is not None, "it was just taken"
        assert baseline is not None, "it was made first"
        promises = Promises(
            dense,
            baseline=baseline.latest(),
            metrics=self._evaluator.task.main_metrics,
            requirements=self._evaluator.requirements,
            objectives=self._config.objectives,
            beside=beside.promises if beside else None,
        )
        return Lookout(
            self._evaluator,
            self._staff,
            looks,
            promises,
            team=self._team,
            tell=self._tell,
            ready=self._ready,
            closer=closer,
        )

    def _ready(self, seconds: float) -> None:
        """Has this process compute what every training reads, with all cores; where others work, they do it.

        Raises:
            OutOfTime: so many seconds are over.
        """
        if self._staff.width == 1:
            with self._team.alone("what trainings read"):
                self._staff.here(self._evaluator.ready, seconds)
