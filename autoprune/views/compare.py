"""Two studies of one task: which front beats which, and the best size and latency at the same quality."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.fronts.pareto import beats, hypervolume
from autoprune.fronts.requirements import OBJECTIVES
from autoprune.measure.measurement import SEARCH, VERIFY
from autoprune.measure.reading import Reading
from autoprune.record.folder import changes
from autoprune.record.point import Point
from autoprune.views.phrases import counted, required
from autoprune.views.plain import finite

LEVELS = (1.0, 0.99, 0.95)
"""Qualities, as ratios to the first study's baseline, at which the best size and latency are compared."""


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best point of a front in one objective, at a level of quality.

    Attributes:
        number: of the point.
        ratio: to the baseline, in the objective.
    """

    number: int
    ratio: float


@dataclass(frozen=True, kw_only=True)
class Side:
    """One study in a comparison.

    Attributes:
        name: of the study.
        quality: of its baseline, in the metric's unit.
        points: how many points of its front were compared, without the baseline.
        beaten: numbers of its points that the other front beats, each with the number of a point that beats it.
        hypervolume: of its front, above the common floor.
        best: by level of quality, then by `size` and `latency`; levels that no point reaches are empty.
    """

    name: str
    quality: float
    points: int
    beaten: dict[int, int]
    hypervolume: float
    best: dict[float, dict[str, Best]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two fronts side by side.

    Attributes:
        sides: in the order asked for.
        metric: what quality means.
        verified: whether verified values were compared; otherwise the search's values on the search's fronts.
        objectives: those that decide which point beats which, and that span the hypervolumes.
        machine: fingerprint of the machine that timed both; None if latency could not be compared.
        floor: the ratio of quality below which points do not count for the hypervolumes.
        together: hypervolume of both fronts taken as one.
        notes: what could not be compared, and why.
    """

    sides: tuple[Side, Side]
    metric: str
    verified: bool
    objectives: list[str]
    machine: str | None
    floor: float
    together: float
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain values: the attributes, each level of `best` as a text such as `0.99`."""
        sides = [
            {
                **vars(side),
                "beaten": {str(number): by for number, by in side.beaten.items()},
                "best": {
                    f"{level:g}": {name: vars(best) for name, best in by_objective.items()}
                    for level, by_objective in side.best.items()
                },
            }
            for side in self.sides
        ]
        plain: dict[str, Any] = finite({"format": 1, **vars(self), "sides": sides})
        return plain


def compare(one: Front, other: Front) -> Comparison:
    """Compares two fronts: by verified values if both are verified throughout, by the search's values otherwise.

    Quality and size are ratios to the first study's baseline. Latency is the paired ratio to each study's own baseline,
    and counts only if one machine timed both.

    Raises:
        AutopruneError: the studies are of different tasks or data; the message says what differs.
    """
    _refuse_strangers(one, other)
    fronts = (one, other)
    verified = one.verified and other.verified
    purpose = VERIFY if verified else SEARCH
    machines = {front.record.baseline.candidate.latest(purpose).machine for front in fronts}
    machine = machines.pop() if len(machines) == 1 else None
    shared = [name for name in one.record.objectives if name in other.record.objectives]
    objectives = [name for name in shared if machine or name != "latency"]
    reference = _side(one.record.baseline, verified=verified)
    readings = [_readings(front, reference, verified=verified, timed=machine is not None) for front in fronts]
    floor = min(one.floor, other.floor)
    sides = [
        Side(
            name=front.record.name,
            quality=_side(front.record.baseline, verified=verified)["quality"].value,
            points=sum(number > 0 for number in ours),
            beaten=_beaten(ours, theirs, objectives),
            hypervolume=hypervolume(list(ours.values()), objectives, floor=floor),
            best=_best(ours),
        )
        for front, ours, theirs in zip(fronts, readings, reversed(readings), strict=True)
    ]
    together = hypervolume([*readings[0].values(), *readings[1].values()], objectives, floor=floor)
    return Comparison(
        sides=(sides[0], sides[1]),
        metric=one.record.metric,
        verified=verified,
        objectives=objectives,
        machine=machine,
        floor=floor,
        together=together,
        notes=_notes(one, other, verified=verified, timed=machine is not None, compared=[len(one) for one in readings]),
    )


def _notes(one: Front, other: Front, *, verified: bool, timed: bool, compared: Sequence[int]) -> list[str]:
    """What could not be compared, and why.

    Args:
        compared: how many points of each front were compared.
    """
    fronts = (one, other)
    left_out = one.record.metrics[1:]
    notes = [f"Compared by {one.record.metric} only, without {', '.join(left_out)}."] if left_out else []
    notes += [] if timed else ["Latency is not compared: the two were timed on different machines."]
    if not verified:
        waiting = [front.record.name for front in fronts if not front.verified]
        notes.append(
            f"These are the searches' own values, because {' and '.join(waiting)} "
            f"{'are' if len(waiting) > 1 else 'is'} not fully verified."
        )
    if len({front.record.baseline.candidate.latest(VERIFY if verified else SEARCH).rules for front in fronts}) > 1:
        notes.append("Their quality was judged by the rules of different versions, which alone can make ratios differ.")
    if set(one.requirements.items) != set(other.requirements.items):
        each = "; ".join(f"{front.record.name} by {required(front)}" for front in fronts)
        notes.append(f"Each is judged by its own requirements ({each}); --for or --floor judges both alike.")
    if len({_side(front.record.baseline, verified=verified)["quality"].value for front in fronts}) > 1:
        notes.append(f"The dense models differ (another seed?): ratios are to the one of {one.record.name}.")
    for front, kept in zip(fronts, compared, strict=True):
        left = len(front.points if verified else front.searched) - kept
        if left:
            points = f"{counted(left, 'point')} of {front.record.name}"
            notes.append(f"Left out, because not timed on the same machine: {points}.")
        if not any(point.number for point in (front.points if verified else front.searched)):
            notes.append(f"Only the baseline is on the front of {front.record.name}.")
    return notes


def _refuse_strangers(one: Front, other: Front) -> None:
    definitions = [{key: front.record.definition[key] for key in ("task", "data")} for front in (one, other)]
    if definitions[0]["data"] == definitions[1]["data"]:  # then settings that only one version knows do not count
        both = definitions[0]["task"].keys() & definitions[1]["task"].keys()
        definitions = [{**own, "task": {name: own["task"][name] for name in sorted(both)}} for own in definitions]
    if definitions[0] != definitions[1]:
        names = [{"task": {"name": own["task"]["name"]}} for own in definitions]
        differing = names if names[0] != names[1] else definitions  # two different tasks have no settings to compare
        lines = changes(*differing, labels=(one.record.name, other.record.name))
        raise AutopruneError(
            "\n".join(
                [
                    f"{one.record.name!r} and {other.record.name!r} are not studies of one task on one data set:",
                    *lines,
                    "Measurements on different data cannot be compared; search both with the same task.",
                ]
            )
        )


def _side(point: Point, *, verified: bool) -> Mapping[str, Reading]:
    return point.verified if verified else point.found


def _readings(
    front: Front, reference: Mapping[str, Reading], *, verified: bool, timed: bool
) -> dict[int, dict[str, Reading]]:
    """The readings of a front's points by number, relative to one baseline; points without all of them are left out."""
    rows = {}
    own = _side(front.record.baseline, verified=verified)
    for point in front.points if verified else front.searched:
        side = _side(point, verified=verified)
        names = [one for name, (one, _) in OBJECTIVES.items() if one in reference and (timed or name != "latency")]
        if all(name in side for name in names):
            rows[point.number] = {
                name: side[name] if name == "latency_ms" else _against(side[name], own[name], reference[name])
                for name in names
            }
    return rows


def _against(reading: Reading, own: Reading, reference: Reading) -> Reading:
    """A reading relative to another baseline than its own; its errors scale with the ratio."""
    ratio, scale = reading.value / reference.value, own.value / reference.value
    return dataclasses.replace(reading, ratio=ratio, error=reading.error * scale, repeat=reading.repeat * scale)


def _beaten(
    ours: Mapping[int, Mapping[str, Reading]], theirs: Mapping[int, Mapping[str, Reading]], objectives: Sequence[str]
) -> dict[int, int]:
    beaten = {}
    for number, our in ours.items():
        by = next((their for their, readings in theirs.items() if beats(readings, our, objectives)), None)
        if number and by is not None:
            beaten[number] = by
    return beaten


def _best(by_number: Mapping[int, Mapping[str, Reading]]) -> dict[float, dict[str, Best]]:
    rows: dict[float, dict[str, Best]] = {}
    for level in LEVELS:
        good = {number: one for number, one in by_number.items() if one["quality"].ratio >= level}
        rows[level] = {}
        for name in ("size", "latency"):
            ratios = {
                number: one[OBJECTIVES[name][0]].ratio for number, one in good.items() if OBJECTIVES[name][0] in one
            }
            if ratios:
                number = min(ratios, key=lambda one: ratios[one])
                rows[level][name] = Best(number=number, ratio=ratios[number])
    return rows
