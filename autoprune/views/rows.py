"""A front as rows for programs: all that its table shows, under names that stay.

front --csv has a line a row, the baseline first; the points of front --json hold the same columns but for the readings,
which stand there by name.

number, name, recipe               `name` is `baseline`, `trial` or a preset's; `recipe` is in a few words
front, pick, knee                  `yes` or `no`: on the front, what the requirements prefer, where the front bends most
profiles                           that pick it, with spaces between
letters                            points that share one cannot be told apart in quality
for_sure                           the ratio of quality that the true one is not below, with 95 % confidence (one-sided)
verified                           `yes` or `no`
beyond, beyond_ratio               the slice that it loses most on of those too faint to bind (the table's `*`)
busy                               `yes` or `no`: timed while the machine was busy with other work
READING, READING_ratio             of the search: value, and ratio to the baseline
test_READING…, verified_READING…   of the verification, with `_ratio`, `_low`, `_high` and `_bound`; see
                                   `record.point.columns`
artifact                           the folder
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from autoprune.fronts.front import Front
from autoprune.measure.reading import SURE
from autoprune.record.point import Point, all_names, columns
from autoprune.views.marks import pickers
from autoprune.views.order import ordered


def listed(front: Front, *, sort: str = "quality") -> list[Point]:
    """The baseline, then the rest of the front; nothing where nothing is feasible.

    Raises:
        AutopruneError: nothing is called `sort`.
    """
    found = ordered([point for point in front if point.number], front.record, sort)
    return [front.record.baseline, *found] if len(front) else []


def marked(front: Front, points: Sequence[Point]) -> list[dict[str, Any]]:
    """What is said of each point beside its readings; true or false for what the CSV has `yes` or `no`."""
    pick, knee = front.pick() if len(front) else None, front.knee
    profiles, on_front = pickers(front.picks()), {point.number for point in front}
    rows: list[dict[str, Any]] = []
    for point in points:
        beyond, quality = front.record.beyond(point), point.known["quality"]
        rows.append(
            {
                "front": point.number in on_front,
                "pick": pick is not None and point.number == pick.number,
                "knee": knee is not None and point.number == knee.number,
                "profiles": profiles.get(point.number, []),
                "letters": front.letters.get(point.number, ""),
                "for_sure": quality.bound(SURE, upper=False) if quality.sure else None,
                "beyond": beyond[0] if beyond else None,
                "beyond_ratio": beyond[1] if beyond else None,
                "busy": point.busy,
            }
        )
    return rows


def front_csv(front: Front, *, sort: str = "quality") -> str:
    """The rows as comma-separated values; the names of the columns alone where nothing is feasible.

    Raises:
        AutopruneError: nothing is called `sort`.
    """
    points = listed(front, sort=sort)
    rows = [_row(point, said) for point, said in zip(points, marked(front, points), strict=True)]
    baseline = front.record.baseline
    names = all_names(rows or [_row(baseline, said) for said in marked(front, [baseline])])
    file = io.StringIO()
    table = csv.DictWriter(file, names, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return file.getvalue()


def _row(point: Point, said: dict[str, Any]) -> dict[str, Any]:
    told = {name: ("no", "yes")[value] if isinstance(value, bool) else value for name, value in said.items()}
    return {
        "number": point.number,
        "name": point.candidate.name,
        "recipe": point.candidate.summary,
        **told,
        "profiles": " ".join(said["profiles"]),
        "verified": "yes" if point.verified else "no",
        **columns(point, point.found),
        "artifact": str(point.folder),
    }
