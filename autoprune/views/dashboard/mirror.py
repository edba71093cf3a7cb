"""The study as an Optuna study: every candidate of the archive is a trial.

It is made from the archive, without looks, because the search keeps no Optuna study on disk. Constraints are written
twice: Optuna 5 stores them as `constraints:NAME`, but optuna-dashboard 0.21 reads `constraints`.
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
"""Up to so many different whole numbers are shown as choices; more become a range."""

Params = dict[str, Any]


def mirror(front: Front) -> optuna.Study:
    """The study as an Optuna study in memory: every candidate is a trial of the same number.

    Optuna numbers trials without gaps, so a missing number becomes a failed trial. Values are the search's; rejected
    candidates are pruned trials. A trial's constraints hold if and only if the candidate is in `front.feasible`. User
    attributes hold the verified values.

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
    # Candidates have no time stamps; the last change of the archive is taken as the end of the last one.
    seconds = [point.candidate.seconds for point in record.points]
    end = datetime.datetime.fromtimestamp(record.archive.path.stat().st_mtime)
    start = end - datetime.timedelta(seconds=sum(seconds))
    number = 0
    for point, own_params, spent in zip(record.points, params, seconds, strict=True):
        for _ in range(number, point.number):
            missing = create_trial(state=TrialState.FAIL)
            missing.datetime_start = missing.datetime_complete = start
            yield missing
        number = point.number + 1
        values = _values(point, record.objectives)
        violations = front.requirements.violations(point.found)
        # A requirement on a reading that was not measured is violated.
        constraints = {item.text: violations.get(item.text, 1.0) for item in front.requirements.items}
        trial = create_trial(
            state=TrialState.COMPLETE if values else TrialState.PRUNED,
            values=values,
            params=own_params,
            distributions={name: distributions[name] for name in own_params},
            user_attrs=attributes(point),
            system_attrs={"constraints": list(constraints.values())},  # for optuna-dashboard
            constraints=constraints,
        )
        trial.datetime_start, start = start, start + datetime.timedelta(seconds=spent)
        trial.datetime_complete = start
        yield trial


def _values(point: Point, objectives: Sequence[str]) -> list[float] | None:
    """The objectives' values; None if one is missing: rejected, or timed only on another machine."""
    if point.candidate.rejected or any(OBJECTIVES[name][0] not in point.found for name in objectives):
        return None
    values = coordinates(point.found, objectives)
    return None if any(map(math.isnan, values)) else values


def _attributes(front: Front) -> Callable[[Point], dict[str, Any]]:
    """A function that returns the user attributes of a candidate."""
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
        facts = {
            "name": candidate.name,
            "recipe": candidate.summary or "dense",
            "feasible": "yes" if number in feasible else "no",
            "front": "yes" if number in on_front else fell.get(number, "no"),
            "knee": "yes" if knee and number == knee.number else "",
            "picked by": ", ".join(picked_by.get(number, [])),
            "rejected": candidate.rejected,
            "not judged": "" if judged else "an objective was not measured on the baseline's machine",
            **{f"violation: {text}": by for text, by in requirements.violations(point.found).items()},
            **{f"{name} / baseline": point.found[name].ratio for name in names if name in point.found},
        }
        for name in names:
            if name in point.verified:
                facts |= _verified(name, point.verified[name])
        facts |= {"seconds": candidate.seconds, "again": record.command(point)}
        return {key: value for key, value in facts.items() if value != ""}

    return attributes


def _verified(name: str, reading: Reading) -> dict[str, Any]:
    interval = {f"verified {name}, interval": text} if (text := ends(reading)) else {}
    return {f"verified {name} / baseline": reading.ratio, **interval}


def _parameters(points: Sequence[Point]) -> list[Params]:
    """The parameters of every recipe by their paths.

    Parameters that all trials have are filled in for the baseline and presets: Optuna compares only parameters that
    every trial has, and the baseline has none.
    """
    params = [dict(leaves(point.candidate.recipe)) for point in points]
    trials = [own for own, point in zip(params, points, strict=True) if point.candidate.name == TRIAL]
    everywhere = set.intersection(*map(set, trials)) if trials else set()
    for name in sorted(everywhere):
        values = [own[name] for own in trials]
        default = 0 if any(value == 0 for value in values) else UNSAID
        if default == 0 or not isinstance(_distribution(values), FloatDistribution | IntDistribution):
            for own in params:
                own.setdefault(name, default)
    return params


def leaves(recipe: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a recipe by their paths; the value of `method` is the name of the chosen method."""
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
    return list(dict.fromkeys(name for own in params for name in own))


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    """A distribution with all values of a parameter: a range if there are many numbers, otherwise choices."""
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
