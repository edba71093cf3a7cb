"""A front for programs, as plain values that are valid JSON; null stands for whatever was not measured.

format          1
study, task     names; `data` is the digest of the data, `metric` what quality means, `metrics` all main ones
objectives      the objectives of the search
requirements    [{text, reading, kind: floor | ceiling, limit, relative, confidence}], and `prefer`
machine         {search, verify}: {id, cpu, cores, …}; null if unknown
candidates, feasible, verified     how many, how many, whether all of the search's front was verified
baseline        a point, like those in `points`
points          the front, in the order of --sort: [{number, name, words, recipe, artifact, search, verified, and the
                columns of `autoprune.views.rows`: front, pick, knee, profiles, letters, for_sure, beyond,
                beyond_ratio, busy}]; `recipe` is a mapping, `words` its summary.
                `search` (validation data) and `verified` (test data; empty if not verified) hold readings by name:
                {value, ratio, low, high, bound}: the ratio to the baseline, its interval of a re-measurement (null
                if it says nothing), and the bound of the true ratio with 95 % confidence (one-sided)
headline        the pick in a sentence; a text
workload        the workload that `latency_ms` means
notes           the notes below the table of the front: texts
pick, knee      numbers of points, or null
picks           numbers, or null, by profile
falls           [{number, words, missed, doubted, undecided, beaten_by}]: points of the search's front that fell in
                the verification; `doubted` are those of `missed` whose value holds, `undecided` those that are missed
                by less than the uncertainty of their value
letters         by number: points that share one cannot be told apart in quality
hypervolume, floor, optimism       numbers, or null
optimism_by     the optimism by reading: of `metric` (the same as `optimism`), and of others that have a floor
explanation     why nothing is feasible, a text; null if something is
looks           the front of the looks, without recipes that were made, best quality first: [{words, recipe,
                quality_ratio, size_ratio, units, of_units, epochs, of_epochs}]. These are not measurements: a model in
                memory answered `units` of the `of_units` units of validation data, trained for `epochs` of `of_epochs`.
                If there are closer looks, it is their front only
looked          {taken, failed, made, off_median, off_most, closer}: how many looks there are, how many failed, how
                many of their recipes were made and measured, by how much the ratio of quality differed then, and how
                many closer looks there are; null without looks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.fronts.fall import Fall
from autoprune.fronts.front import Front
from autoprune.fronts.promises import Promises
from autoprune.fronts.requirements import Requirement, is_cost
from autoprune.measure.measurement import SEARCH, VERIFY
from autoprune.measure.reading import Reading
from autoprune.record.point import Point
from autoprune.views import looks
from autoprune.views.headline import headline
from autoprune.views.intervals import telling
from autoprune.views.order import ordered
from autoprune.views.pace import timed
from autoprune.views.phrases import notes
from autoprune.views.plain import finite
from autoprune.views.rows import marked

FORMAT = 1


def front_json(front: Front, *, sort: str = "quality") -> dict[str, Any]:
    """The structure above.

    Args:
        sort: how the points are ordered, as in `autoprune.views.order.ordered`.

    Raises:
        AutopruneError: there is no reading `sort`.
    """
    record, some = front.record, len(front) > 0
    machines = {SEARCH: record.baseline.candidate.latest().machine}
    if record.baseline.verified:
        machines[VERIFY] = record.baseline.candidate.latest(VERIFY).machine
    facts: dict[str, Any] = {
        "format": FORMAT,
        "study": record.name,
        "task": record.definition["task"]["name"],
        "data": record.definition["data"],
        "metric": record.metric,
        "metrics": record.metrics,
        "objectives": record.objectives,
        "requirements": [_requirement(item) for item in front.requirements.items],
        "prefer": front.requirements.prefer,
        "machine": {purpose: record.machines.get(machines.get(purpose, "")) for purpose in (SEARCH, VERIFY)},
        "candidates": len(record.points),
        "feasible": len(front.feasible),
        "verified": front.verified,
        "baseline": _points(front, [record.baseline])[0],
        "points": _points(front, ordered(front.points, record, sort)),
        "headline": headline(front),
        "workload": next(iter(timed(record.baseline)), None),
        "notes": notes(front),
        "pick": front.pick().number if some else None,
        "knee": front.knee.number if front.knee else None,
        "picks": {name: point.number if point else None for name, point in front.picks().items()},
        "falls": [_fall(fall) for fall in front.falls],
        "letters": {str(number): letters for number, letters in front.letters.items()},
        "hypervolume": front.hypervolume,
        "floor": front.floor,
        "optimism": front.optimism.get(record.metric),
        "optimism_by": front.optimism,
        "explanation": None if some else front.explain_empty(),
        "looks": _looks(front, promises) if (promises := looks.choosing(front)) else [],
        "looked": _looked(front, front.promises) if front.promises else None,
    }
    plain: dict[str, Any] = finite(facts)
    return plain


def _requirement(item: Requirement) -> dict[str, Any]:
    return {
        "text": item.text,
        "reading": item.reading,
        "kind": "ceiling" if item.ceiling else "floor",
        "limit": item.limit,
        "relative": item.relative,
        "confidence": item.confidence,
    }


def _fall(fall: Fall) -> dict[str, Any]:
    return {
        "number": fall.point.number,
        "words": fall.reason,
        "missed": fall.missed,
        "doubted": list(fall.doubted),
        "undecided": list(fall.undecided),
        "beaten_by": fall.beaten_by.number if fall.beaten_by else None,
    }


def _looks(front: Front, promises: Promises) -> list[dict[str, Any]]:
    rows = []
    for look in looks.unmade(front, promises):
        ratios, (units, of) = promises.readings(look), looks.asked(front, look)
        rows.append(
            {
                "words": look.summary,
                "recipe": look.recipe,
                "quality_ratio": ratios["quality"].ratio,
                "size_ratio": ratios["size_bytes"].ratio,
                "units": units,
                "of_units": of,
                "epochs": look.epochs,
                "of_epochs": look.of_epochs,
            }
        )
    return rows


def _looked(front: Front, promises: Promises) -> dict[str, Any]:
    taken, accuracy = looks.others(front), looks.foretold(front, promises)
    return {
        "taken": len(taken),
        "failed": looks.failures(taken)[0],
        "made": accuracy.made if accuracy else 0,
        "off_median": accuracy.middle if accuracy else None,
        "off_most": accuracy.most if accuracy else None,
        "closer": len(looks.others(front, closer=True)),
    }


def _points(front: Front, points: Sequence[Point]) -> list[dict[str, Any]]:
    return [
        {
            "number": point.number,
            "name": point.candidate.name,
            "words": point.candidate.summary,
            "recipe": point.candidate.recipe,
            "artifact": str(point.folder),
            **columns,
            "search": _readings(point.searched),
            "verified": _readings(point.verified),
        }
        for point, columns in zip(points, marked(front, points), strict=True)
    ]


def _readings(found: Mapping[str, Reading]) -> dict[str, dict[str, float | None]]:
    rows = {}
    for name, reading in found.items():
        low, high = telling(reading) or (None, None)
        bound = reading.sure_bound(upper=is_cost(name))
        rows[name] = {"value": reading.value, "ratio": reading.ratio, "low": low, "high": high, "bound": bound}
    return rows
