"""The archive of all candidates with their measurements: lines of JSON, appended, never changed.

A candidate that is measured again gets another line, with one more measurement; its latest line counts, at the position
of its first.
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
"""The name of the candidate to which all others are compared; its number is 0."""

TRIAL = "trial"
"""The name of every candidate that the search found."""

WORDS = "words"
"""The key of a candidate's summary in the lines of an archive, as in older versions."""

LOST = "Bring the file back as the study wrote it, or search anew under another study.name."
"""The way out if a file on which a study depends is damaged."""

ROUNDS = 5
"""The default number of processes that time each artifact in a verification."""


def processes(measured: Measurement) -> int:
    """The number of processes that timed a measurement."""
    return min((max(1, len(timed.rounds)) for timed in measured.latency.values()), default=1)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recipe with its measurements.

    Attributes:
        number: in the order in which candidates were finished or, of those made at the same time, requested; 0 is the
            baseline.
        name: `baseline`, the name of a preset, or `trial`.
        key: of the plan; equal plans are one candidate.
        recipe: as nested plain values.
        summary: the plan in a few words; `words` in the archive's lines.
        rejected: why it was given up early; empty if it was not.
        measurements: in the order in which they were taken; a rejected candidate was measured only in part.
        seconds: that making and measuring it took.
        training: those of them in which the dense model was trained; 0 for every other candidate. Older versions did
            not record it.
    """

    number: int
    name: str
    key: str
    recipe: dict[str, Any]
    summary: str
    rejected: str
    measurements: tuple[Measurement, ...]
    seconds: float
    training: float = 0.0

    def latest(self, purpose: str = SEARCH) -> Measurement:
        """The latest measurement for a purpose, on whatever machine."""
        return [found for found in self.measurements if found.purpose == purpose][-1]

    def measured(self, purpose: str = SEARCH, *, machine: str) -> Measurement | None:
        """The latest measurement for a purpose on a machine; None if there is none."""
        matching = [found for found in self.measurements if found.purpose == purpose and found.machine == machine]
        return matching[-1] if matching else None

    def beside(self, baseline: Candidate, purpose: str) -> tuple[Measurement, Measurement] | None:
        """The latest measurements of this candidate and of the baseline for a purpose; None if one is missing.

        Both are from the machine of the baseline's latest measurement, if this candidate was measured there; otherwise
        only values that do not depend on the machine can be compared.
        """
        purposes = [[found.purpose for found in candidate.measurements] for candidate in (self, baseline)]
        if not all(purpose in taken for taken in purposes):
            return None
        reference = baseline.latest(purpose)
        return self.measured(purpose, machine=reference.machine) or self.latest(purpose), reference

    def with_measurement(self, measurement: Measurement) -> Candidate:
        """The candidate with a measurement that replaces those for the same purpose on the same machine."""
        place = (measurement.purpose, measurement.machine)
        others = [found for found in self.measurements if (found.purpose, found.machine) != place]
        return dataclasses.replace(self, measurements=(*others, measurement))

    def here(self, purpose: str, machine: str) -> Candidate | None:
        """The candidate with its measurement on a machine made the latest; None if it already is, or there is none."""
        measured = self.measured(purpose, machine=machine)
        return None if measured is None or self.latest(purpose) == measured else self.with_measurement(measured)

    def to_json(self) -> dict[str, Any]:
        """The candidate as plain values."""
        measurements = [found.to_json() for found in self.measurements]
        values = {**vars(self), "measurements": measurements}
        if not self.training:
            del values["training"]
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
        path: created on the first `add`.
        turn: see `autoprune.record.journal.Journal`.

    Attributes:
        candidates: by key, in order of arrival. If several were made at the same time, that is not the order of their
            numbers, and after a kill a number can be missing for good.
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
                # Older versions assigned a number twice after a line had been removed.
                candidate = dataclasses.replace(candidate, number=max(self._taken) + 1)
            self._hold(candidate)

    @property
    def baseline(self) -> Candidate | None:
        """The candidate to which all others are compared; None before it is measured."""
        return next((one for one in self.candidates.values() if one.number == 0), None)

    def _explained(self, line: bytes, error: Exception) -> str:
        """What is wrong with a line, and a way out that keeps the other results, which have cost hours."""
        newer = newer_fields(line)
        if newer:
            return f"a newer version wrote the line: {', '.join(newer)} is unknown to this one. Update autoprune."
        if self.baseline is None:
            return f"the line of the baseline, to which all others are compared, is damaged ({error}). {LOST}"
        return f"the line is not a candidate ({error}); remove it to go on without it."

    def add(self, candidate: Candidate) -> None:
        """Appends a candidate, or a known one with more measurements; it is on disk when this returns."""
        with self._journal.turn():
            self.refresh()
            self._append(candidate)

    def keep(self, candidate: Candidate) -> Candidate:
        """Adds a candidate that was just made and assigns its number: the next one, or 0 for the baseline.

        Returns:
            The candidate as it is archived; another process may have archived it first.
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
        ValueError, KeyError, TypeError, AttributeError, RecursionError: the line does not describe a candidate.
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
    """Unknown fields of a line, which a newer version wrote; empty if a known field is missing."""
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
