"""A study on disk: what it was asked, and every candidate so far."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from autoprune.artifacts.formats import OWN
from autoprune.errors import AutopruneError, nearest, unknown
from autoprune.fronts.front import Front
from autoprune.fronts.requirements import OBJECTIVES, Requirements, parse_flag, parse_requirements
from autoprune.measure.measurement import SEARCH, VERIFY, WHOLE
from autoprune.measure.reading import FEWEST_UNITS, binding_slices, reading_name, readings
from autoprune.record.archive import Archive, Candidate
from autoprune.record.folder import read_machines
from autoprune.record.point import Point

LOST = "Bring the file back as the study wrote it, or search anew under another study.name."
"""The way out where study.yaml is damaged."""


class Record:
    """A study that has begun: what it was asked, and every candidate so far.

    Args:
        folder: `runs/<study>`.
        archive: by default as it stands on disk.
        before: the same study a moment ago, whose points are taken over as far as they are the same.

    Raises:
        AutopruneError: there is no study in the folder, or nothing is measured yet.
    """

    def __init__(self, folder: Path, archive: Archive | None = None, *, before: Record | None = None) -> None:
        self.folder = folder
        self._before = before
        path = folder / "study.yaml"
        if not path.is_file():
            siblings = [child.parent.name for child in folder.parent.glob("*/study.yaml")]
            way = (
                nearest(folder.name, siblings)
                if siblings
                else "There is none at all: name the folder they live in with --runs, or search: "
                f"autoprune task=… study.name={folder.name}"
            )
            raise AutopruneError(f"{str(folder.parent)!r} holds no study {folder.name!r}. {way}")
        content = _read(path)
        self.definition: dict[str, Any] = content["definition"]
        self.overrides: list[str] = content["overrides"]
        self.described: str = content.get("described", "")
        """The data in a line, for people; of studies of older versions nothing is known."""
        self.config_dir: str | None = content.get("config_dir")
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
        before, self._before = self._before.points if self._before else [], None
        same = before[:1] and before[0].candidate is candidates[0]
        known = {point.number: point for point in before if same}
        return [
            known[candidate.number]
            if candidate.number in known and known[candidate.number].candidate is candidate
            else self._point(candidate, candidates[0])
            for candidate in candidates
        ]

    def _point(self, candidate: Candidate, baseline: Candidate) -> Point:
        searched, verified = candidate.beside(baseline, SEARCH), candidate.beside(baseline, VERIFY)
        assert searched is not None, "whatever is archived was measured for the search"
        if verified and verified[0].machine != verified[1].machine:
            verified = None  # what was verified elsewhere is not, where the baseline was last
        return Point(
            candidate=candidate,
            found=readings(*searched, metric=self.metric),
            folder=self.folder / "artifacts" / candidate.key,
            verified=readings(*verified, metric=self.metric) if verified else {},
            draws=tuple(verified[0].draws) if verified else (),
        )

    @cached_property
    def machines(self) -> dict[str, dict[str, str | int]]:
        """What is known of the machines that measured, by the fingerprint that stands beside every latency."""
        return read_machines(self.folder)

    def beyond(self, point: Point) -> tuple[str, float] | None:
        """The slice that loses most of those too faint to bind, if it loses more than all that bind: name and ratio."""
        baseline = self.baseline.candidate.latest(VERIFY if point.verified else SEARCH)
        parts = baseline.quality[self.metric].keys() - {WHOLE, *binding_slices(baseline, self.metric)}
        found = {
            part: point.known[reading_name(self.metric, part)].ratio
            for part in parts
            if baseline.units[self.metric][part] >= FEWEST_UNITS and reading_name(self.metric, part) in point.known
        }
        lost = {part: ratio for part, ratio in found.items() if ratio < point.known["worst_slice"].ratio}
        return min(lost.items(), key=lambda entry: entry[1]) if lost else None

    @property
    def names(self) -> list[str]:
        """The readings that a requirement can name."""
        return list(self.baseline.found)

    def requirements(self, content: Mapping[str, Any] | None = None) -> Requirements:
        """The study's own requirements, or others in the same grammar."""
        return parse_requirements(self.definition["requirements"] if content is None else content, self.names)

    def with_limits(
        self,
        requirements: Requirements,
        floors: Iterable[str] = (),
        ceilings: Iterable[str] = (),
        *,
        prefer: str | None = None,
    ) -> Requirements:
        """Requirements with other limits (`ndcg@20=0.97x`, `latency_ms=0.5x`) in place of those on the same reading.

        Args:
            prefer: `quality`, `size` or `latency`, in place of what they prefer.

        Raises:
            AutopruneError: a limit cannot be read or names what is not measured, or `prefer` is unknown.
        """
        if prefer is not None and prefer not in OBJECTIVES:
            raise unknown("objective", prefer, OBJECTIVES)
        changed = [parse_flag(floor, "min", self.names) for floor in floors]
        changed += [parse_flag(ceiling, "max", self.names) for ceiling in ceilings]
        alias = {self.metric: "quality"}
        taken = {alias.get(item.reading, item.reading) for item in changed}
        kept = [item for item in requirements.items if alias.get(item.reading, item.reading) not in taken]
        items = tuple(dict.fromkeys([*kept, *changed]))
        return dataclasses.replace(requirements, items=items, prefer=prefer or requirements.prefer)

    def front(self, requirements: Requirements | None = None, flags: Iterable[str] = (), *, format: str = OWN) -> Front:
        """The feasible candidates that no other feasible candidate beats, under the study's or other requirements.

        Args:
            flags: the words of the command line that ask for these requirements.
            format: what candidates must be writable in, such as `sentence-transformers`; all are in `autoprune`.

        Raises:
            AutopruneError: there is no such format.
        """
        return Front(self, requirements or self.requirements(), tuple(flags), format=format)

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
            *(["--config-dir", self.config_dir] if self.config_dir else []),
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


def _read(path: Path) -> dict[str, Any]:
    """What stands in a study.yaml."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AutopruneError(f"{path}: the file is no YAML ({error}).\n{LOST}") from error
    if isinstance(content, dict) and isinstance(content.get("command"), str) and "overrides" not in content:
        raise AutopruneError(
            f"{path}: this is what was recorded of a study, without its candidates; to have them, search again:\n"
            f"  {content['command']}"
        )
    for name, kind in (("definition", dict), ("overrides", list)):
        if not isinstance(content, dict) or not isinstance(content.get(name), kind):
            raise AutopruneError(f"{path}: {name} is missing, so that nobody knows what was asked. {LOST}")
    return dict(content)


def _hydra_value(value: Any) -> str:
    """A nested value in the grammar of Hydra's overrides."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_hydra_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str) and re.fullmatch(r"[/.\w-]*/[/.\w-]*", value):  # a path, which needs no quotes
        return value
    return json.dumps(value)
