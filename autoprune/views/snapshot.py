"""The record of a study that stays when its artifacts are deleted: the definition, the numbers, a plot.

study.yaml    the name, the command, the definition
front.csv     the baseline, the front and the presets: values of the search and the verification, recipes
front.png     quality against size and latency
README.md     what was learned; a person writes it, and this module never changes it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from autoprune.errors import AutopruneError
from autoprune.fronts.front import Front
from autoprune.record.point import Point, all_names, columns
from autoprune.views.commands import search_command, without_places
from autoprune.views.front_png import front_figure, save
from autoprune.views.rows import csv_text


def write(front: Front, to: Path) -> list[Path]:
    """Writes study.yaml, front.csv and front.png; replaces those of an earlier record of the same study.

    Returns:
        The files written.

    Raises:
        AutopruneError: the folder holds another study or a damaged study.yaml, or matplotlib is not installed; nothing
            is written then.
    """
    record, path = front.record, to / "study.yaml"
    if path.exists():
        try:
            content = yaml.safe_load(path.read_bytes())
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an invalid date
            raise AutopruneError(
                f"{path}: the file is not valid YAML ({' '.join(str(error).split())}), so it is not known which study "
                "was recorded here; move it away, or name another folder with --to."
            ) from error
        name = content.get("study") if isinstance(content, Mapping) else None
        if name != record.name:
            other = f"the record of study {name!r}" if name else "no record"
            raise AutopruneError(f"{path}: it is {other}, not of {record.name!r}; name another folder with --to.")
    figure = front_figure(front)
    to.mkdir(parents=True, exist_ok=True)
    kept = {"study": record.name, "command": search_command(record), "definition": without_places(record.definition)}
    path.write_text(yaml.safe_dump(kept, sort_keys=False, width=1000), encoding="utf-8")
    rows = [row(front, point) for point in front.finalists]
    (to / "front.csv").write_text(csv_text(rows, all_names(rows)), encoding="utf-8", newline="")
    save(figure, to / "front.png")
    return [path, to / "front.csv", to / "front.png"]


def row(front: Front, point: Point) -> dict[str, Any]:
    """A line of front.csv: metrics without slices, the worst slice, sizes, latencies (six digits each), the recipe."""
    candidate = point.candidate
    on_front = any(other.candidate.number == candidate.number for other in front)
    names = [name for name in point.found if "." not in name or name.startswith("latency_ms.")]
    values = columns(point, [name for name in names if name != "latency_ms"])  # the first workload has the same value
    return {
        "number": candidate.number,
        "name": candidate.name,
        "front": "yes" if on_front else "no",
        "fell": ", ".join(fall.reason for fall in front.falls if fall.point.number == candidate.number),
        **{name: f"{value:.6g}" if not name.endswith("_bytes") else int(value) for name, value in values.items()},
        "words": candidate.summary,
        "recipe": json.dumps(without_places(candidate.recipe), separators=(",", ":")),
    }
