"""Every candidate and what was measured of it: lines of JSON, appended, never changed.

A candidate that was measured again has a line again, with one measurement more; the latest line counts, in the
place of the first.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError, doing
from autoprune.fits import fits
from autoprune.measure.measurement import SEARCH, Latency, Measurement

BASELINE = "baseline"
"""The name of the candidate that all others are read against; its number is 0."""

TRIAL = "trial"
"""The name of every candidate that the sampler asked for."""

WORDS = "words"
"""What a candidate's summary is called in the lines of an archive, old ones too."""

LOST = "Bring the file back as the study wrote it, or search anew under another study.name."
"""The way out where what a study rests on is damaged."""

ROUNDS = 5
"""Processes that time each artifact for a verification, unless another number is asked for."""


def processes(measured: Measurement) -> int:
    """How many processes timed it."""
    return min((max(1, len(timed.rounds)) for timed in measured.latency.values()), default=1)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recipe with what came of it.

    Attributes:
        number: in the order in which candidates were asked for; 0 is the baseline.
        name: `baseline`, the name of a preset, or `trial`.
        key: of the plan; equal plans are one candidate.
        recipe: as nested plain values.
        summary: the plan in a few words; `words` in the archive's lines.
        rejected: the requirements for which it was given up early; empty if it was not.
        measurements: in the order they were taken; a rejected candidate was measured in part.
        seconds: that making and measuring it took.
    """

    number: int
    name: str
    key: str
    recipe: dict[str, Any]
    summary: str
    rejected: str
    measurements: tuple[Measurement, ...]
    seconds: float

    def latest(self, purpose: str = SEARCH) -> Measurement:
        """The latest measurement taken for a purpose, wherever it was."""
        return [found for found in self.measurements if found.purpose == purpose][-1]

    def measured(self, purpose: str = SEARCH, *, machine: str) -> Measurement | None:
        """The latest measurement taken for a purpose on a machine; None where there is none."""
        there = [found for found in self.measurements if found.purpose == purpose and found.machine == machine]
        return there[-1] if there else None

    def beside(self, baseline: Candidate, purpose: str) -> tuple[Measurement, Measurement] | None:
        """The latest measurement for a purpose, and the baseline's latest; None where one is missing.

        Both are of one machine if this candidate was measured where the baseline was last; if it was not, only what
        does not depend on the machine can be compared.
        """
        purposes = [[found.purpose for found in candidate.measurements] for candidate in (self, baseline)]
        if not all(purpose in taken for taken in purposes):
            return None
        reference = baseline.latest(purpose)
        return self.measured(purpose, machine=reference.machine) or self.latest(purpose), reference

    def with_measurement(self, measurement: Measurement) -> Candidate:
        """The same candidate, measured once more; in place of what was measured for the same purpose on the machine."""
        place = (measurement.purpose, measurement.machine)
        kept = [found for found in self.measurements if (found.purpose, found.machine) != place]
        return dataclasses.replace(self, measurements=(*kept, measurement))

    def here(self, purpose: str, machine: str) -> Candidate | None:
        """The same candidate, its measurement on a machine made the latest; None where it is, or there is none."""
        measured = self.measured(purpose, machine=machine)
        return None if measured is None or self.latest(purpose) == measured else self.with_measurement(measured)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        measurements = [found.to_json() for found in self.measurements]
        values = {**vars(self), "measurements": measurements}
        return {WORDS if name == "summary" else name: value for name, value in values.items()}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Candidate:
        """The inverse of `to_json`."""
        measurements = tuple(Measurement.from_json(found) for found in content["measurements"])
        values = {"summary" if name == WORDS else name: value for name, value in content.items()}
        return Candidate(**{**values, "measurements": measurements})


class Archive:
    """The candidates of a study, in a file that survives a kill at any byte.

    Args:
        path: made on the first `add`. A last line that was torn by a kill, or is being written, is left out.
        mending: whether such a line is cut off the file; only for who holds the study, and is about to append.

    Attributes:
        candidates: by key, in order of arrival. Where several were in the making at once, that is not the order of
            their numbers, and after a kill a number can be missing for good.
    """

    def __init__(self, path: Path, *, mending: bool = False) -> None:
        self.path = path
        self.candidates: dict[str, Candidate] = {}
        if mending:
            mend(path)
        taken: set[int] = set()
        for number, line in enumerate(whole_lines(path), start=1):
            try:
                candidate = Candidate.from_json(json.loads(line))
                whole = candidate.rejected or all(found.is_whole for found in candidate.measurements)
                searched = any(found.purpose == SEARCH for found in candidate.measurements)
                if not (whole and searched and fits(candidate, Candidate)):
                    raise ValueError("a value is missing, or of another type than was written")
                if all(found.purpose != SEARCH for found in candidate.measurements):
                    raise ValueError("it was not measured for the search")
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise AutopruneError(f"{path}:{number}: {self._explained(line, error)}") from error
            if candidate.key not in self.candidates and candidate.number in taken:
                # Older versions gave a number twice after a line was taken out.
                candidate = dataclasses.replace(candidate, number=max(taken) + 1)
            taken.add(candidate.number)
            self.candidates[candidate.key] = candidate

    @property
    def baseline(self) -> Candidate | None:
        """The candidate that all others are read against; None until it is there."""
        return next((one for one in self.candidates.values() if one.number == 0), None)

    def _explained(self, line: bytes, error: Exception) -> str:
        """What is wrong with a line, and the way out: what has cost hours is not to be thrown away."""
        newer = newer_fields(line)
        if newer:
            return f"a newer version wrote the line: {', '.join(newer)} is unknown to this one. Update autoprune."
        if self.baseline is None:
            return f"the line of the baseline, which all others are read against, is damaged ({error}). {LOST}"
        return f"the line is no candidate ({error}); take it out to go on without it."

    def add(self, candidate: Candidate) -> None:
        """Appends a candidate, or one that is known with more measurements; when this returns it is on disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(candidate.to_json(), separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.candidates[candidate.key] = candidate


def newer_fields(line: bytes) -> list[str]:
    """The fields that a newer version gave a line: unknown ones, where none that is known is missing."""
    try:
        content = json.loads(line)
        measured = content["measurements"]
        parts = [(content, Candidate), *((found, Measurement) for found in measured)]
        parts += [(timed, Latency) for found in measured for timed in found["latency"].values()]
        unknown, missing = set[str](), set[str]()
        for part, kind in parts:
            fields = {WORDS if one.name == "summary" else one.name: one for one in dataclasses.fields(kind)}
            unknown |= set(part) - set(fields)
            needed = {name for name, one in fields.items() if one.default is one.default_factory}  # MISSING, both
            missing |= needed - set(part)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return [] if missing else sorted(unknown)


def whole_lines(path: Path) -> list[bytes]:
    """The terminated lines of a file that is only appended to; none where there is no file."""
    with doing(f"{path} cannot be read"):
        return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def mend(path: Path) -> None:
    """Cuts an unterminated last line off a file."""
    if path.exists():
        whole = sum(len(line) + 1 for line in whole_lines(path))
        with path.open("r+b") as file:
            file.truncate(whole)
