"""A study on disk: what it was asked, and every candidate so far."""

from __future__ import annotations

import copy
import json
import re
import shlex
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from autoprune.errors import AutopruneError, nearest
from autoprune.measure.measurement import SEARCH, VERIFY, WHOLE
from autoprune.measure.reading import FEWEST_UNITS, binding_slices, reading_name, readings
from autoprune.record.archive import Archive, Candidate
from autoprune.record.folder import read_machines
from autoprune.record.point import Point
from autoprune.record.unfinished import Unfinished

LOST = "Bring the file back as the study wrote it, or search anew under another study.name."
"""The way out where study.yaml is damaged."""


class Record:
    """A study that has begun: what it was asked, and every candidate so far.

    Args:
        folder: `runs/<study>`.
        archive: by default as it stands on disk.

    Attributes:
        definition: what the study is, whatever its budget.
        overrides: what was asked for on top of the defaults.
        described: its data in a line, for people; of studies of older versions nothing is known.
        config_dir: the folder of configs that it was started with, beside the shipped ones.
        archive: every candidate.

    Raises:
        AutopruneError: there is no study in the folder, or nothing is measured yet.
    """

    def __init__(self, folder: Path, archive: Archive | None = None) -> None:
        self.folder = folder
        content = _read(folder)
        self.definition: dict[str, Any] = content["definition"]
        self.overrides: list[str] = content["overrides"]
        self.described: str = content.get("described", "")
        self.config_dir: str | None = content.get("config_dir")
        self.archive = archive or Archive(folder / "archive.jsonl")
        if self.archive.baseline is None:
            way = self.unfinished or "run the study first."
            raise AutopruneError(f"{str(folder)!r}: nothing is measured yet; {way}")

    @property
    def unfinished(self) -> str:
        """What the search had no time for, and what goes on with it; empty where it did not end for want of time."""
        found = Unfinished.read(self.folder)
        if found is None:
            return ""
        flags = ["--config-dir", self.config_dir] if self.config_dir else []
        return found.text(self.archive.candidates, command=shlex.join(["autoprune", *flags, *self.overrides]))

    def renewed(self) -> Record:
        """The same study with what its archive holds now; reads no file.

        Points are taken over as far as they are the same.
        """
        record = copy.copy(self)
        record._by_number = self._points(known=self._by_number)
        return record

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
        return self._by_number[0]

    @property
    def points(self) -> list[Point]:
        """All candidates in the order of their numbers, of which some can be missing."""
        return list(self._by_number.values())

    def point(self, number: int) -> Point:
        """A candidate by its number.

        Raises:
            AutopruneError: there is none.
        """
        if number not in self._by_number:
            last = max(self._by_number)
            known = f"has 0 to {last}" + (", some of them missing" if len(self._by_number) <= last else "")
            raise AutopruneError(f"candidate {number} is unknown: study {self.name!r} {known}.")
        return self._by_number[number]

    @cached_property
    def _by_number(self) -> dict[int, Point]:
        return self._points(known={})

    def _points(self, known: Mapping[int, Point]) -> dict[int, Point]:
        """All candidates by number, in order.

        Args:
            known: points that can be taken over, where candidate and baseline are still the same.
        """
        baseline = self.archive.baseline
        assert baseline is not None, "a record has one"
        if known and known[0].candidate is not baseline:
            known = {}
        return {
            candidate.number: known[candidate.number]
            if candidate.number in known and known[candidate.number].candidate is candidate
            else self._point(candidate, baseline)
            for candidate in sorted(self.archive.candidates.values(), key=lambda one: one.number)
        }

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

    @property
    def names(self) -> list[str]:
        """The readings that a requirement can name."""
        return list(self.baseline.found)

    def beyond(self, point: Point) -> tuple[str, float] | None:
        """The slice that loses most of those too faint to bind, if it loses more than all that bind: name and ratio."""
        baseline = self.baseline.candidate.latest(VERIFY if point.verified else SEARCH)
        binding, units = {WHOLE, *binding_slices(baseline, self.metric)}, baseline.units[self.metric]
        found = {
            slice_name: point.known[reading].ratio
            for slice_name in baseline.quality[self.metric]
            if slice_name not in binding
            and units[slice_name] >= FEWEST_UNITS
            and (reading := reading_name(self.metric, slice_name)) in point.known
        }
        lost = {slice_name: ratio for slice_name, ratio in found.items() if ratio < point.known["worst_slice"].ratio}
        return min(lost.items(), key=lambda entry: entry[1]) if lost else None

    def command(self, point: Point) -> str:
        """The command line that makes and measures a candidate again, alone beside the baseline."""
        kept = [override for override in self.overrides if re.match(r"task|study\.(seed|device)=", override)]
        arguments = [
            "autoprune",
            *(["--config-dir", self.config_dir] if self.config_dir else []),
            *kept,
            "presets=none",
            "study.trials=0",
            f"study.name={self.name}-{point.candidate.number}",
        ]
        if point.candidate.number:
            arguments.insert(-2, f"+presets.again={_hydra_value(point.candidate.recipe)}")
        if self.folder.parent != Path("runs"):
            arguments.append(f"study.dir={_hydra_value(str(self.folder.parent))}")
        return shlex.join(arguments)


def _read(folder: Path) -> dict[str, Any]:
    """What stands in the study.yaml of a folder."""
    path = folder / "study.yaml"
    if not path.is_file():
        raise _missing(folder)
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


def _missing(folder: Path) -> AutopruneError:
    """There is no study in a folder: which one might be meant."""
    siblings = [child.parent.name for child in folder.parent.glob("*/study.yaml")]
    way = (
        nearest(folder.name, siblings)
        if siblings
        else "There is none at all: name the folder they live in with --runs, or search: "
        f"autoprune task=… study.name={folder.name}"
    )
    return AutopruneError(f"{str(folder.parent)!r} holds no study {folder.name!r}. {way}")


def _hydra_value(value: Any) -> str:
    """A nested value in the grammar of Hydra's overrides."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_hydra_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, str) and re.fullmatch(r"[/.\w-]*/[/.\w-]*", value):  # a path, which needs no quotes
        return value
    return json.dumps(value)
