"""The study for Optuna's eyes: every candidate of the archive is a trial.

It is made from the archive: candidates alone, no looks. The search keeps no study of Optuna's on disk, and Optuna 5
writes constraints (`constraints:NAME`) where optuna-dashboard 0.21 does not look (`constraints`).
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.pareto import coordinates
from autoprune.fronts.requirements import OBJECTIVES
from autoprune.measure.reading import Reading
from autoprune.record.archive import TRIAL
from autoprune.record.point import Point
from autoprune.study.sampling.sampler import quiet_optuna
from autoprune.views.dashboard.notes import UNSAID, note, objective_name, picks_of
from autoprune.views.intervals import ends
from autoprune.views.marks import pickers

MOST_CHOICES = 12
"""So many different whole numbers are shown as choices; more are a range."""

Params = dict[str, Any]


def mirror(front: Front) -> optuna.Study:
    """The study for Optuna's eyes, in memory: every candidate is a trial of the same number.

    Trials are numbered without gaps: a number that no candidate has is a failed trial.
    Values are those that the search measured; what was rejected is pruned. A candidate is feasible by
    its constraints if and only if it is among `front.feasible`; what verification found is in the user attributes.

    Raises:
        AutopruneError: optuna-dashboard is not installed.
    """
    save_note = package().save_note
    record = front.record
    with quiet_optuna():
        study = optuna.create_study(
            study_name=record.name,
            storage=optuna.storages.InMemoryStorage(),
            directions=["maximize" if OBJECTIVES[name][1] else "minimize" for name in record.objectives],
        )
        study.set_metric_names([objective_name(front, name) for name in record.objectives])
    study.set_user_attr("read-only mirror of", str(record.folder))
    study.set_user_attr("requirements", ", ".join(item.text for item in front.requirements.items) or "none")
    study.add_trials(_trials(front))
    save_note(study, note(front))
    return study


def package() -> ModuleType:
    """The module `optuna_dashboard`.

    Raises:
        AutopruneError: it is not installed.
    """
    try:
        import optuna_dashboard
    except ImportError as error:
        raise AutopruneError(f"this needs optuna-dashboard ({error}): pip install 'autoprune[dashboard]'") from error
    module: ModuleType = optuna_dashboard
    return module


def _trials(front: Front) -> Iterator[FrozenTrial]:
    record = front.record
    params = _parameters(record.points)
    distributions = {name: _distribution([one[name] for one in params if name in one]) for name in _names(params)}
    attributes = _attributes(front)
    # No candidate carries a time of day; the last change of the archive is when the last one came.
    seconds = [point.candidate.seconds for point in record.points]
    end = datetime.datetime.fromtimestamp(record.archive.path.stat().st_mtime)
    start = end - datetime.timedelta(seconds=sum(seconds))
    number = 0
    for point, said, spent in zip(record.points, params, seconds, strict=True):
        for _ in range(number, point.number):
            nothing = create_trial(state=TrialState.FAIL)
            nothing.datetime_start = nothing.datetime_complete = start
            yield nothing
        number = point.number + 1
        values = _values(point, record.objectives)
        violations = front.requirements.violations(point.found)
        # What was not measured cannot hold.
        constraints = {item.text: violations.get(item.text, 1.0) for item in front.requirements.items}
        trial = create_trial(
            state=TrialState.COMPLETE if values else TrialState.PRUNED,
            values=values,
            params=said,
            distributions={name: distributions[name] for name in said},
            user_attrs=attributes(point),
            system_attrs={"constraints": list(constraints.values())},  # where optuna-dashboard looks
            constraints=constraints,
        )
        trial.datetime_start, start = start, start + datetime.timedelta(seconds=spent)
        trial.datetime_complete = start
        yield trial


def _values(point: Point, objectives: Sequence[str]) -> list[float] | None:
    """The objectives' values; None where there are none to judge: rejected, or timed on another machine alone."""
    if point.candidate.rejected or any(OBJECTIVES[name][0] not in point.found for name in objectives):
        return None
    values = coordinates(point.found, objectives)
    return None if any(map(math.isnan, values)) else values


def _attributes(front: Front) -> Callable[[Point], dict[str, Any]]:
    """What people should see beside parameters and values, by candidate."""
    record, requirements = front.record, front.requirements
    feasible = {point.number for point in front.feasible}
    on_front = {point.number for point in front}
    fell = {fall.point.number: f"fell: {fall.reason}" for fall in front.falls}
    knee = front.knee
    picked_by = pickers(picks_of(front))
    objectives = [OBJECTIVES[name][0] for name in record.objectives]
    names = list(dict.fromkeys([*objectives, "worst_slice", *(item.reading for item in requirements.items)]))

    def attributes(point: Point) -> dict[str, Any]:
        candidate, number = point.candidate, point.number
        judged = candidate.rejected or _values(point, record.objectives)
        found = {
            "name": candidate.name,
            "recipe": candidate.summary or "dense",
            "feasible": "yes" if number in feasible else "no",
            "front": "yes" if number in on_front else fell.get(number, "no"),
            "knee": "yes" if knee and number == knee.number else "",
            "picked by": ", ".join(picked_by.get(number, [])),
            "rejected": candidate.rejected,
            "not judged": "" if judged else "an objective was not measured beside the baseline",
            **{f"violation: {text}": by for text, by in requirements.violations(point.found).items()},
            **{f"{name} / baseline": point.found[name].ratio for name in names if name in point.found},
        }
        for name in names:
            if name in point.verified:
                found |= _verified(name, point.verified[name])
        found |= {"seconds": candidate.seconds, "again": record.command(point)}
        return {key: value for key, value in found.items() if value != ""}

    return attributes


def _verified(name: str, reading: Reading) -> dict[str, Any]:
    between = {f"verified {name}, interval": told} if (told := ends(reading)) else {}
    return {f"verified {name} / baseline": reading.ratio, **between}


def _parameters(points: Sequence[Point]) -> list[Params]:
    """The leaves of every recipe by their paths.

    What all trials say and a recipe made by hand does not is filled in: Optuna compares only the parameters that every
    trial has, and the baseline, which has none, would leave nothing to compare.
    """
    found = [dict(leaves(point.candidate.recipe)) for point in points]
    trials = [said for said, point in zip(found, points, strict=True) if point.candidate.name == TRIAL]
    everywhere = set.intersection(*map(set, trials)) if trials else set()
    for name in sorted(everywhere):
        values = [said[name] for said in trials]
        nothing = 0 if any(value == 0 for value in values) else UNSAID
        if nothing == 0 or not isinstance(_distribution(values), FloatDistribution | IntDistribution):
            for said in found:
                said.setdefault(name, nothing)
    return found


def leaves(recipe: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a recipe by their paths; `method` has the name of what was chosen."""
    for key, value in recipe.items():
        name = f"{path}{key}"
        if not isinstance(value, Mapping):
            yield name, value if isinstance(value, bool | int | float | str | None) else json.dumps(value)
            continue
        if key == "method":
            yield name, ", ".join(value) or "none"
        elif not value and not path.endswith("method."):
            yield name, "as it is"
        yield from leaves(value, f"{name}.")


def _names(params: Sequence[Params]) -> list[str]:
    return list(dict.fromkeys(name for said in params for name in said))


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    """One that holds all the values that a parameter took: a range of numbers where there are many, or choices."""
    distinct = list(dict.fromkeys((type(value), value) for value in values))
    kinds = {kind for kind, _ in distinct}
    numbers = [value for kind, value in distinct if kind in (int, float) and math.isfinite(value)]
    if kinds <= {int, float} and len(numbers) == len(distinct):
        if float in kinds:
            return FloatDistribution(min(numbers), max(numbers))
        if len(numbers) > MOST_CHOICES:
            return IntDistribution(min(numbers), max(numbers))
        return CategoricalDistribution(sorted(numbers))
    return CategoricalDistribution(sorted((value for _, value in distinct), key=lambda value: str(value)))
