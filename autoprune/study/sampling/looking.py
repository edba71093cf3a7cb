"""Sets up everything that takes looks: the scan, other dense models, the finds. The dense model must be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoprune.errors import AutopruneError
from autoprune.fronts.promises import Promises
from autoprune.record.looks import CLOSER_LOOKS, Looks
from autoprune.study.evaluation.looker import Asked
from autoprune.study.sampling.bases import Bases
from autoprune.study.sampling.choices import Choices
from autoprune.study.sampling.finds import Finds
from autoprune.study.sampling.lookout import Lookout
from autoprune.study.sampling.sampler import RANDOM
from autoprune.study.sampling.scan import MOST_LOOKS, Scan
from autoprune.study.session import Session


@dataclass(frozen=True, kw_only=True)
class Looking:
    """The parts of a search that take looks.

    Attributes:
        choices: the open values of the space.
        lookout: where looks are taken.
        finds: chooses the best of them, perhaps by closer looks.
        trains: whether something is trained after the scan, if time remains.
        scan: looks at untrained recipes; None: no scan is wanted.
        bases: other dense models of the space, trained during the scan; None: nothing is trained.
    """

    choices: Choices
    lookout: Lookout
    finds: Finds
    trains: bool
    scan: Scan | None = None
    bases: Bases | None = None

    def undone(self) -> list[str]:
        """What a scan that was begun left undone, in words."""
        if self.scan is None or not self.scan.begun:
            return []
        stopped = [] if self.scan.done else [f"the scan was stopped after {len(self.lookout.looks)} looks"]
        coming = self.bases is not None and self.bases.coming
        return stopped + ["not all dense models of the space were trained"] * coming


def open_search(session: Session, choices: Choices, *, may_train: bool, tell: Callable[[Lookout], None]) -> Looking:
    """Looks at the dense model, unless that is on record, and sets up everything that takes looks.

    Args:
        session: its dense model must be measured.
        may_train: whether training is wanted, and there is time for it.
        tell: called as looks are taken.

    Raises:
        AutopruneError: the dense model cannot be looked at.
    """
    config, task = session.config, session.task
    lookout, closer = _lookout(session, session.looks, tell=tell), None
    if task.looks_closer:
        looks = Looks(session.looks.path.with_name(CLOSER_LOOKS), turn=session.team.turn)
        closer = _lookout(session, looks, beside=lookout, tell=tell)
    finds = Finds(lookout.promises, closer, kin=lambda look: choices.uncoded(look.recipe), hasty=task.looks_in_haste)
    trains = may_train and (bool(choices.training) or len(choices.bases) > 1)
    if config.looks == 0:
        return Looking(choices=choices, lookout=lookout, finds=finds, trains=trains)
    scan = Scan(
        choices,
        lookout,
        drawn=config.sampler == RANDOM,
        seed=session.definition.seed,
        most=config.looks or MOST_LOOKS,
        whole=config.looks is not None,
    )
    bases = Bases(choices, lookout, stand_in=task.stand_in, note=session.watch.note) if may_train else None
    return Looking(choices=choices, lookout=lookout, finds=finds, trains=trains, scan=scan, bases=bases)


def _lookout(
    session: Session, looks: Looks, *, beside: Lookout | None = None, tell: Callable[[Lookout], None]
) -> Lookout:
    """A lookout whose looks include the one at the dense model, to which all others are compared.

    Args:
        beside: the lookout of the ordinary looks, if this one is for closer looks.
    """
    evaluator, closer = session.evaluator, beside is not None
    with session.team.alone(f"{'closer ' * closer}look at the dense model"):
        looks.refresh()
        if looks.dense is None:
            request = Asked(number=0, recipe={}, closer=closer, seconds=session.budget.seconds)
            look = session.staff.here(evaluator.look, request)
            if look.failed:
                raise AutopruneError(f"the dense model cannot be looked at: {look.failed}.")
            looks.keep(look)
    dense, baseline = looks.dense, session.archive.baseline
    assert dense is not None, "it was just taken"
    assert baseline is not None, "it was made first"
    promises = Promises(
        dense,
        baseline=baseline.latest(),
        metrics=session.task.main_metrics,
        requirements=evaluator.requirements,
        objectives=session.config.objectives,
        beside=beside.promises if beside else None,
    )

    return Lookout(
        evaluator, session.staff, looks, promises, team=session.team, tell=tell, ready=session.ready, closer=closer
    )
