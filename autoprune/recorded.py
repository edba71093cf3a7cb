"""What is kept of a study when its artifacts are gone: the definition, the numbers, the picture.

study.yaml    the name, the one command, the definition
front.csv     the baseline, the front and the presets: what was searched, what was verified, the recipes
front.png     quality against size and latency
README.md     what was learned; a person writes it, and nothing here touches it
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from autoprune.archive import TRIAL
from autoprune.errors import AutopruneError
from autoprune.figure import front_figure, save
from autoprune.record import Front, Point, Record, columns

LOCAL = re.compile(r"\+{0,2}study\.(name|dir|trials|minutes)=")
"""Overrides that the recorded command does not repeat: the name and the trials are told as they came to be."""


def write(front: Front, to: Path) -> list[Path]:
    """Writes study.yaml, front.csv and front.png; those of an earlier record of the same study are replaced.

    Returns:
        The files written.

    Raises:
        AutopruneError: the folder holds another study, or matplotlib is not installed; nothing is written then.
    """
    record, path = front.record, to / "study.yaml"
    if path.exists():
        content = yaml.safe_load(path.read_text())
        name = content.get("study") if isinstance(content, Mapping) else None
        if name != record.name:
            held = f"the record of study {name!r}" if name else "something else"
            raise AutopruneError(f"{path}: there is {held}, not of {record.name!r}; name another folder with --to.")
    figure = front_figure(front)
    to.mkdir(parents=True, exist_ok=True)
    kept = {"study": record.name, "command": command(record), "definition": without_places(record.definition)}
    path.write_text(yaml.safe_dump(kept, sort_keys=False, width=1000))
    rows = [row(front, point) for point in front.finalists]
    names = list(dict.fromkeys(name for row in rows for name in row))  # not every point need be verified
    with (to / "front.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, names, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    save(figure, to / "front.png")
    return [path, to / "front.csv", to / "front.png"]


def command(record: Record) -> str:
    """The command line that does the study again, and verifies it if this one was; places are left to be filled in."""
    trials = sum(point.candidate.name == TRIAL for point in record.points)
    words = [_placeless(word) for word in record.overrides if not LOCAL.match(word)]
    search = shlex.join(["autoprune", *words, f"study.trials={trials}", f"study.name={record.name}"])
    return f"{search} && autoprune verify {record.name}" if record.baseline.verified else search


def without_places(content: Any) -> Any:
    """The same content with absolute paths, which mean nothing elsewhere, cut to `path/to/NAME`."""
    if isinstance(content, Mapping):
        return {key: without_places(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_places(value) for value in content]
    if isinstance(content, str) and (PurePosixPath(content).is_absolute() or PureWindowsPath(content).is_absolute()):
        return f"path/to/{PureWindowsPath(content).name}"
    return content


def row(front: Front, point: Point) -> dict[str, Any]:
    """A line of front.csv: six digits, the metrics as a whole and the worst slice, bytes, milliseconds, the recipe."""
    candidate = point.candidate
    on_front = any(other.candidate.number == candidate.number for other in front)
    names = [name for name in point.found if "." not in name or name.startswith("latency_ms.")]
    values = columns(point, [name for name in names if name != "latency_ms"])  # it is the first of its workloads
    return {
        "number": candidate.number,
        "name": candidate.name,
        "front": "yes" if on_front else "no",
        "fell": ", ".join(fall.words for fall in front.falls if fall.point.number == candidate.number),
        **{name: f"{value:.6g}" if not name.endswith("_bytes") else int(value) for name, value in values.items()},
        "words": candidate.words,
        "recipe": json.dumps(without_places(candidate.recipe), separators=(",", ":")),
    }


def _placeless(word: str) -> str:
    key, equals, value = word.partition("=")
    place = value.strip("'\"")
    shown = without_places(place)
    return word if shown == place else f"{key}{equals}{shown}"
