"""A study on disk, judged: its candidates, the front under any requirements, and the pick."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from autoprune.archive import TRIAL, Archive, Candidate
from autoprune.errors import AutopruneError, nearest, unknown
from autoprune.front import coordinates, hypervolume, nondominated
from autoprune.measurement import Reading, readings
from autoprune.requirements import OBJECTIVES, Requirements, parse_flag, parse_requirements

if TYPE_CHECKING:  # to look at a front nobody should wait for torch and pandas
    import pandas as pd

    from autoprune.runtime.served import Served

LOWEST_FLOOR = 0.9
"""The ratio of quality below which nothing counts for the hypervolume, where no floor says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A candidate as its study sees it.

    Attributes:
        candidate: recipe and measurements.
        found: its readings against the baseline, as the search took them: quality on validation data.
        folder: where its artifact lies.
        verified: its readings as `autoprune verify` took them: quality on test data; empty where it did not.
    """

    candidate: Candidate
    found: dict[str, Reading]
    folder: Path
    verified: dict[str, Reading] = field(default_factory=dict)

    def load(self) -> Served:
        """The artifact, ready to answer."""
        from autoprune import artifact

        return artifact.load(self.folder)

    def save(self, to: str | os.PathLike[str]) -> Path:
        """Copies the artifact to a new folder.

        Raises:
            AutopruneError: the folder exists.
        """
        from autoprune import artifact

        artifact.copy(self.folder, Path(to))
        return Path(to)


class Record:
    """A study that has begun: what it was asked, and every candidate so far.

    Args:
        folder: `runs/<study>`.
        archive: by default as it stands on disk.

    Raises:
        AutopruneError: there is no study in the folder, or nothing is measured yet.
    """

    def __init__(self, folder: Path, archive: Archive | None = None) -> None:
        self.folder = folder
        path = folder / "study.yaml"
        if not path.is_file():
            siblings = [child.parent.name for child in folder.parent.glob("*/study.yaml")]
            raise AutopruneError(
                f"{str(folder.parent)!r} holds no study {folder.name!r}. {nearest(folder.name, siblings)}"
            )
        content: dict[str, Any] = yaml.safe_load(path.read_text())
        self.definition: dict[str, Any] = content["definition"]
        self.overrides: list[str] = content["overrides"]
        self.archive = archive or Archive(folder / "archive.jsonl")
        if not self.archive.candidates:
            raise AutopruneError(f"{str(folder)!r}: nothing is measured yet; run the study first.")

    @property
    def name(self) -> str:
        """The name of the study."""
        return self.folder.name

    @property
    def metric(self) -> str:
        """What `quality` means."""
        return str(self.definition["task"]["metric"])

    @property
    def objectives(self) -> list[str]:
        """What the search trades off; the first is quality."""
        return list(self.definition["study"]["objectives"])

    @property
    def baseline(self) -> Point:
        """The dense model."""
        return self.points[0]

    @cached_property
    def points(self) -> list[Point]:
        """All candidates in order of arrival."""
        candidates = list(self.archive.candidates.values())
        return [self._point(candidate, candidates[0]) for candidate in candidates]

    def _point(self, candidate: Candidate, baseline: Candidate) -> Point:
        pair = candidate.verified(baseline)
        return Point(
            candidate=candidate,
            found=readings(candidate.measured(), baseline.measured(), metric=self.metric),
            folder=self.folder / "artifacts" / candidate.key,
            verified=readings(*pair, metric=self.metric) if pair else {},
        )

    @property
    def names(self) -> list[str]:
        """The readings that a requirement can name."""
        return list(self.baseline.found)

    def requirements(self, content: Mapping[str, Any] | None = None) -> Requirements:
        """The study's own requirements, or others in the same grammar."""
        return parse_requirements(self.definition["requirements"] if content is None else content, self.names)

    def with_floors(self, requirements: Requirements, floors: Iterable[str]) -> Requirements:
        """Requirements with other floors (`ndcg@20=0.97x`) in place of those on the same reading.

        Raises:
            AutopruneError: a floor cannot be read, or names what is not measured.
        """
        changed = [parse_flag(floor, "min", self.names) for floor in floors]
        alias = {self.metric: "quality"}
        taken = {alias.get(item.reading, item.reading) for item in changed}
        kept = [item for item in requirements.items if alias.get(item.reading, item.reading) not in taken]
        return dataclasses.replace(requirements, items=tuple(dict.fromkeys([*kept, *changed])))

    def front(self, requirements: Requirements | None = None) -> Front:
        """The feasible candidates that no other feasible candidate beats, under the study's or other requirements."""
        return Front(self, requirements or self.requirements())

    def point(self, number: int) -> Point:
        """A candidate by its number.

        Raises:
            AutopruneError: there is none.
        """
        if not 0 <= number < len(self.points):
            raise AutopruneError(f"candidate {number} is unknown: study {self.name!r} has 0 to {len(self.points) - 1}.")
        return self.points[number]

    def command(self, point: Point) -> str:
        """The command line that makes and measures a candidate again, alone beside the baseline."""
        kept = [word for word in self.overrides if re.match(r"task|study\.(seed|device)=", word)]
        words = [
            "autoprune",
            *kept,
            "presets=none",
            "study.trials=0",
            f"study.name={self.name}-{point.candidate.number}",
        ]
        if point.candidate.number:
            words.insert(-2, f"+presets.again={_hydra_value(point.candidate.recipe)}")
        if self.folder.parent != Path("runs"):
            words.append(f"study.dir={_hydra_value(str(self.folder.parent))}")
        return shlex.join(words)


class Front:
    """A Pareto front; iterating gives its points, best quality first.

    Args:
        record: the study.
        requirements: what must hold.
    """

    def __init__(self, record: Record, requirements: Requirements) -> None:
        self.record = record
        self.requirements = requirements
        judged = [point for point in record.points if not point.candidate.rejected]
        self.feasible = [point for point in judged if requirements.hold(point.found)]
        compared = [coordinates(point.found, record.objectives) for point in self.feasible]
        kept = nondominated(compared, maximise=[OBJECTIVES[name][1] for name in record.objectives])
        self.points = sorted((self.feasible[at] for at in kept), key=lambda point: -point.found["quality"].value)

    def __len__(self) -> int:
        return len(self.points)

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    @property
    def finalists(self) -> list[Point]:
        """What is verified and recorded: the baseline, the front, and the other presets for reference."""
        baseline = self.record.baseline
        front = [point for point in self.points if point.candidate.number]
        presets = [point for point in self.record.points[1:] if point.candidate.name != TRIAL and point not in front]
        return [baseline, *front, *presets]

    def fallen(self, point: Point) -> dict[str, float]:
        """The requirements that held in the search and do not in the verification, and by what share of the limit."""
        held = self.requirements.violations(point.found)
        now = self.requirements.violations(point.verified)
        return {text: by for text, by in now.items() if by > 0 >= held[text]}

    @property
    def hypervolume(self) -> float:
        """How much the front covers; see `autoprune.front.hypervolume`."""
        floors = [
            item.limit
            for item in self.requirements.items
            if item.reading in ("quality", self.record.metric) and item.relative and item.limit < 1
        ]
        floor = max(floors, default=LOWEST_FLOOR)
        return hypervolume([point.found for point in self.points], self.record.objectives, floor=floor)

    def pick(self, *, prefer: str | None = None) -> Point:
        """The point that is best in one objective; of equal ones the best in quality.

        Args:
            prefer: `quality`, `size` or `latency`; by default what the requirements prefer.

        Raises:
            AutopruneError: no candidate is feasible (the message names the nearest), or `prefer` is unknown.
        """
        prefer = prefer or self.requirements.prefer
        if prefer not in OBJECTIVES:
            raise unknown("objective", prefer, OBJECTIVES)
        if not self.points:
            raise AutopruneError(self.explain_empty())
        reading, larger = OBJECTIVES[prefer]

        def badness(point: Point) -> tuple[float, float]:
            found = point.found[reading]
            value = found.ratio if prefer == "latency" else found.value
            return (-value if larger else value, -point.found["quality"].value)

        # Not from the front alone: an objective that the study did not search for can still be preferred.
        return min(self.feasible, key=badness)

    def explain_empty(self) -> str:
        """Why nothing is feasible: which requirement was missed how often, and the nearest miss."""
        judged = [point for point in self.record.points if point.candidate.number] or self.record.points
        lines = [f"no candidate of {len(self.record.points)} meets every requirement:"]
        for item in self.requirements.items:
            missed = [
                item.violation(point.found[item.reading])
                for point in judged
                if item.reading in point.found and item.violation(point.found[item.reading]) > 0
            ]
            if missed:
                lines.append(f"  {item.text}: missed by {len(missed)}, at best by {min(missed):.1%} of the limit")
        whole = [point for point in self.record.points if not point.candidate.rejected]
        nearest = min(whole, key=lambda point: max(self.requirements.violations(point.found).values(), default=0.0))
        lines.append(f"  nearest: candidate {nearest.candidate.number} ({nearest.candidate.words})")
        lines.append("Loosen a requirement (--floor, or another profile with --for), or search on with more trials.")
        return "\n".join(lines)

    def to_frame(self) -> pd.DataFrame:
        """One row a point, indexed by candidate number; ratios to the baseline end in `_ratio`.

        Where points were verified, `test_…` is quality on test data, `verified_…` what was timed again.
        """
        import pandas as pd

        rows = []
        for point in self.points:
            row: dict[str, Any] = {
                "number": point.candidate.number,
                "name": point.candidate.name,
                "recipe": point.candidate.words,
            }
            rows.append({**row, **columns(point, point.found), "artifact": str(point.folder)})
        return pd.DataFrame(rows, columns=None if rows else ["number", "name", "recipe"]).set_index("number")


def columns(point: Point, names: Iterable[str]) -> dict[str, float]:
    """Readings of a point as columns of a table: value and ratio of each, and verified ones where there are any.

    Args:
        names: of the readings; `quality` is left out, for it is another name of a metric.
    """
    row: dict[str, float] = {}
    kept = [name for name in names if name != "quality" and name in point.found]
    for name in kept:
        row[name], row[f"{name}_ratio"] = point.found[name].value, point.found[name].ratio
    for name in kept:
        if name in point.verified and not name.endswith("_bytes"):  # the same files weigh the same
            label = f"{'verified' if name.startswith('latency_ms') else 'test'}_{name}"
            row[label], row[f"{label}_ratio"] = point.verified[name].value, point.verified[name].ratio
    return row


def _hydra_value(value: Any) -> str:
    """A nested value in the grammar of Hydra's overrides."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_hydra_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str) and re.fullmatch(r"[/.\w-]*/[/.\w-]*", value):  # a path, which needs no quotes
        return value
    return json.dumps(value)
