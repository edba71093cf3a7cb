"""Every candidate and what was measured of it: lines of JSON, appended, never changed.

A candidate that was measured again has a line again, with one measurement more; the latest line counts, in the
place of the first.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.fits import fits
from autoprune.measure.measurement import SEARCH, Latency, Measurement
from autoprune.record.journal import Journal, Turn

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
        number: in the order in which candidates were finished, of those in the making at once in the order in which
            they were asked for; 0 is the baseline.
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
        path: made on the first `add`.
        turn: as `autoprune.record.journal.Journal` takes it.

    Attributes:
        candidates: by key, in order of arrival. Where several were in the making at once, that is not the order of
            their numbers, and after a kill a number can be missing for good.
    """

    def __init__(self, path: Path, *, turn: Turn = nullcontext) -> None:
        self.path = path
        self.candidates: dict[str, Candidate] = {}
        self._journal = Journal(path, turn=turn)
        self._taken: set[int] = set()
        self.refresh()

    def refresh(self) -> None:
        """Reads what other processes have appended."""
        for number, line in self._journal.news():
            try:
                candidate = _read(line)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise AutopruneError(f"{self.path}:{number}: {self._explained(line, error)}") from error
            if candidate.key not in self.candidates and candidate.number in self._taken:
                # Older versions gave a number twice after a line was taken out.
                candidate = dataclasses.replace(candidate, number=max(self._taken) + 1)
            self._hold(candidate)

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
        with self._journal.turn():
            self.refresh()
            self._append(candidate)

    def keep(self, candidate: Candidate) -> Candidate:
        """As `add`, of one that was just made: it has the next number, but for the baseline, which has 0.

        Returns:
            The candidate as it is archived: another process may have been first.
        """
        with self._journal.turn():
            self.refresh()
            if candidate.key not in self.candidates:
                number = candidate.number and max(self._taken, default=0) + 1
                self._append(dataclasses.replace(candidate, number=number))
        return self.candidates[candidate.key]

    def _append(self, candidate: Candidate) -> None:
        self._journal.append([json.dumps(candidate.to_json(), separators=(",", ":"))])
        self._hold(candidate)

    def _hold(self, candidate: Candidate) -> None:
        self._taken.add(candidate.number)
        self.candidates[candidate.key] = candidate


def _read(line: bytes) -> Candidate:
    """The candidate that a line describes.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, RecursionError: it describes none.
    """
    candidate = Candidate.from_json(json.loads(line))
    whole = candidate.rejected or all(found.is_whole for found in candidate.measurements)
    searched = any(found.purpose == SEARCH for found in candidate.measurements)
    if not (whole and fits(candidate, Candidate)):
        raise ValueError("a value is missing, or of another type than was written")
    if not searched:
        raise ValueError("it was not measured for the search")
    return candidate


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
