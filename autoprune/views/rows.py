"""A front as rows for programs: all that its table shows, under stable names.

`front --csv` has a line for each row, the baseline first. The points of `front --json` have the same columns, except
for the readings, which are grouped by name.

number, name, recipe               `name` is `baseline`, `trial` or a preset's; `recipe` is a summary
front, pick, knee                  `yes` or `no`: on the front, what the requirements prefer, where the front bends most
profiles                           the profiles that pick it, separated by spaces
letters                            points that share a letter cannot be told apart in quality
for_sure                           lower bound of the true ratio of quality, with 95 % confidence (one-sided)
verified                           `yes` or `no`
beyond, beyond_ratio               of the slices too faint to bind, the one that lost most (the table's `*`)
busy                               `yes` or `no`: timed while the machine was busy with other work
READING, READING_ratio             the search's value, and its ratio to the baseline
test_READING…, verified_READING…   of the verification, with `_ratio`, `_low`, `_high` and `_bound`; see
                                   `record.point.columns`
artifact                           the folder
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.fronts.front import Front
from autoprune.record.point import Point, all_names, columns
from autoprune.views.marks import pickers
from autoprune.views.order import ordered
from autoprune.views.plain import finite


def listed(front: Front, *, sort: str = "quality") -> list[Point]:
    """The baseline, then the rest of the front; empty if nothing is feasible.

    Raises:
        AutopruneError: there is no reading `sort`.
    """
    others = ordered([point for point in front if point.number], front.record, sort)
    return [front.record.baseline, *others] if len(front) else []


def marked(front: Front, points: Sequence[Point]) -> list[dict[str, Any]]:
    """The columns of each point that are not readings; booleans where the CSV has `yes` or `no`."""
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
                "for_sure": finite(quality.sure_bound(upper=False)),
                "beyond": beyond[0] if beyond else None,
                "beyond_ratio": beyond[1] if beyond else None,
                "busy": point.busy,
            }
        )
    return rows


def front_csv(front: Front, *, sort: str = "quality") -> str:
    """The rows as comma-separated values; only the names of the columns if nothing is feasible.

    Raises:
        AutopruneError: there is no reading `sort`.
    """
    points = listed(front, sort=sort)
    rows = [_row(point, marks) for point, marks in zip(points, marked(front, points), strict=True)]
    baseline = front.record.baseline
    return csv_text(rows, all_names(rows or [_row(baseline, marks) for marks in marked(front, [baseline])]))


def csv_text(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Rows as comma-separated values, under these names; a value that a row lacks is left empty."""
    file = io.StringIO()
    table = csv.DictWriter(file, names, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return file.getvalue()


def _row(point: Point, marks: dict[str, Any]) -> dict[str, Any]:
    cells = {name: ("no", "yes")[value] if isinstance(value, bool) else value for name, value in marks.items()}
    return {
        "number": point.number,
        "name": point.candidate.name,
        "recipe": point.candidate.summary,
        **cells,
        "profiles": " ".join(marks["profiles"]),
        "verified": "yes" if point.verified else "no",
        **columns(point, point.found),
        "artifact": str(point.folder),
    }
