"""A study on disk: its definition, and every candidate so far."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError
from autoprune.measure.measurement import SEARCH, VERIFY, WHOLE
from autoprune.measure.reading import FEWEST_UNITS, Reading, binding_slices, reading_name, readings
from autoprune.overrides import key_of, written
from autoprune.record.archive import LOST, Archive, Candidate
from autoprune.record.cut_short import cut_short_after
from autoprune.record.failures import FAILED, Failures
from autoprune.record.folder import read_machines, read_study, seen_from_here
from autoprune.record.looks import CLOSER_LOOKS, LOOKS, Looks
from autoprune.record.point import Point
from autoprune.record.unfinished import Unfinished

SHAPING = re.compile(r"(\+{1,2}|~)?(task\b|hydra\.|study\.(seed|device)=)")
"""Overrides without which a candidate would be different, or could not be made at all."""

NAMING = re.compile(r"\+{0,2}study\.(name|dir)=")
"""Overrides that say where the study lies; it may have been moved since."""


class Record:
    """A study that has begun: its definition, and every candidate so far.

    Args:
        folder: `runs/<study>`.
        archive: read from disk by default.

    Attributes:
        definition: what the study is, apart from its budget.
        overrides: settings on top of the defaults.
        described: its data in one line, for people; empty for studies of older versions.
        metrics: the main metrics, first the one that `quality` means; for studies of older versions only that one.
        config_dir: the user's folder of configs with which it was started, as seen from here.
        places: where the task's data lies, by override, as seen from here; None for studies of older versions.
        latency_seconds: how long each workload is timed; None for studies of older versions.
        workers: processes of this machine that judge; None: as many as there are cores.
        archive: every candidate.

    Raises:
        AutopruneError: there is no study in the folder, or nothing is measured yet.
    """

    def __init__(self, folder: Path, archive: Archive | None = None) -> None:
        self.folder = folder
        content = read_study(folder)
        self.definition: dict[str, Any] = content["definition"]
        self.overrides: list[str] = content["overrides"]
        self.described: str = content.get("described") or ""
        self.metrics: list[str] = content.get("metrics") or [self.metric]
        self._started_in: list[str] = content.get("started_in") or ["../.."]
        self.config_dir: str | None = self.seen_from_here(content.get("config_dir"))
        self._given_places: dict[str, Any] = content.get("places") or {}
        self.places: dict[str, Any] | None = self.seen_from_here(content.get("places"))
        self.latency_seconds: float | None = content.get("latency_seconds")
        self.workers: int | None = content.get("workers")
        self.archive = archive or Archive(folder / "archive.jsonl")
        if self.archive.baseline is None:
            remedy = self.unfinished or "run the study first."
            raise AutopruneError(f"{str(folder)!r}: nothing is measured yet; {remedy}")

    @property
    def unfinished(self) -> str:
        """What the search had no time for, and the command that continues it; empty if it did not run out of time."""
        unfinished = Unfinished.read(self.folder)
        if unfinished is None:
            return ""
        overrides = [self._seen_override(override) for override in self.overrides if not NAMING.match(override)]
        return unfinished.text(self.archive.candidates, command=self._search(*overrides, name=self.name))

    @property
    def cut_short(self) -> str:
        """That training the dense model was cut short, if it was; otherwise empty."""
        epochs = cut_short_after(self.folder)
        if epochs is None:
            return ""
        return (
            f"Training the dense model was cut short after epoch {epochs} to leave time for the search, although "
            "quality still rose slowly. A search under another study.name, with more study.minutes, trains it further."
        )

    @property
    def failed(self) -> str:
        """How many recipes failed when they were made, and why; empty if none did."""
        return Failures(self.folder / FAILED).text(self.archive.candidates)

    def seen_from_here(self, place: Any) -> Any:
        """Translates places, relative to where the study was started, to this process's working folder."""
        if isinstance(place, Mapping):
            return {key: self.seen_from_here(one) for key, one in place.items()}
        return seen_from_here(place, self.folder, self._started_in)

    def renewed(self) -> Record:
        """The study with the current content of its archive; reads no file.

        Unchanged points are reused.
        """
        record = copy.copy(self)
        record._by_number = self._points(known=self._by_number)
        for read in ("looks", "closer_looks", "machines"):  # read again when needed
            record.__dict__.pop(read, None)
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
        """All candidates in the order of their numbers; some numbers may be missing."""
        return list(self._by_number.values())

    def point(self, number: int) -> Point:
        """A candidate by its number.

        Raises:
            AutopruneError: there is no such candidate.
        """
        if number not in self._by_number:
            last = max(self._by_number)
            numbers = f"has 0 to {last}" + (", some of them missing" if len(self._by_number) <= last else "")
            raise AutopruneError(f"candidate {number} is unknown: study {self.name!r} {numbers}.")
        return self._by_number[number]

    @cached_property
    def _by_number(self) -> dict[int, Point]:
        return self._points(known={})

    def _points(self, known: Mapping[int, Point]) -> dict[int, Point]:
        """All candidates by number, in order.

        Args:
            known: points to reuse if their candidate and the baseline are still the same.
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
        try:
            return self._read_beside(candidate, baseline)
        except (KeyError, ValueError, ZeroDivisionError, OverflowError) as error:
            if candidate.number == 0:
                raise AutopruneError(
                    f"{self.archive.path}: the baseline, to which all others are compared, is damaged ({error!r}). "
                    f"{LOST}"
                ) from error
            raise AutopruneError(
                f"{self.archive.path}: candidate {candidate.number} was not measured as the baseline was ({error!r}); "
                "remove its line to go on without it."
            ) from error

    def _read_beside(self, candidate: Candidate, baseline: Candidate) -> Point:
        searched = candidate.beside(baseline, SEARCH)
        assert searched is not None, "whatever is archived was measured for the search"
        read = readings(*searched, metrics=self.metrics)
        verified = self._verified(candidate, baseline, read)
        if "latency_ms" not in read:  # the search did not time it, or did so on another machine
            read |= {name: reading for name, reading in verified.items() if name.startswith("latency_ms")}
        return Point(
            candidate=candidate,
            found=read,
            folder=self.folder / "artifacts" / candidate.key,
            verified=verified,
            draws=tuple(candidate.latest(VERIFY).draws) if verified else (),
        )

    def _verified(self, candidate: Candidate, baseline: Candidate, found: Mapping[str, Reading]) -> dict[str, Reading]:
        """The readings of the verification; empty if they cannot be compared to the baseline's.

        That is so if it was done on another machine than the baseline's latest, by other rules, or without readings by
        which candidates are compared and shown.

        Args:
            found: the readings of the search.
        """
        pair = candidate.beside(baseline, VERIFY)
        if pair is None or any(getattr(pair[0], one) != getattr(pair[1], one) for one in ("machine", "rules")):
            return {}
        if not pair[1].latency or not set(self.metrics) <= set(pair[1].quality):
            return {}
        if pair[0].draws and len(pair[0].draws) != len(pair[1].draws):
            return {}
        verified = readings(*pair, metrics=self.metrics)
        needed = {"quality", "worst_slice", "latency_ms", *self.metrics} & set(found)
        return verified if needed <= set(verified) else {}

    @cached_property
    def machines(self) -> dict[str, dict[str, str | int]]:
        """Facts about the machines that measured, by the fingerprint that is recorded with every latency."""
        return read_machines(self.folder)

    @cached_property
    def looks(self) -> Looks:
        """The looks that the search took; empty if it took none, or an older version made the study."""
        return Looks(self.folder / LOOKS)

    @cached_property
    def closer_looks(self) -> Looks:
        """The looks that used more of validation and chose the finds; empty if every look uses all of it."""
        return Looks(self.folder / CLOSER_LOOKS)

    @property
    def names(self) -> list[str]:
        """Names of the readings that a requirement can use."""
        return list(self.baseline.found)

    def beyond(self, point: Point) -> tuple[str, float] | None:
        """Name and ratio of the non-binding slice that loses most, if it loses more than all binding ones."""
        baseline = self.baseline.candidate.latest(VERIFY if point.verified else SEARCH)
        ratios = {
            # The name of the main metric is left out.
            slice_name if metric == self.metric else reading: point.known[reading].ratio
            for metric in self.metrics
            for slice_name, units in baseline.units[metric].items()
            if slice_name not in (WHOLE, *baseline.asides, *binding_slices(baseline, metric))
            and units >= FEWEST_UNITS
            and (reading := reading_name(metric, slice_name)) in point.known
        }
        lost = {name: ratio for name, ratio in ratios.items() if ratio < point.known["worst_slice"].ratio}
        return min(lost.items(), key=lambda entry: entry[1]) if lost else None

    def verb(self, verb: str, *more: str) -> str:
        """The command line that runs a verb on the study, wherever it lies."""
        runs = self.folder.parent
        elsewhere = ["--runs", str(runs)] if runs != Path("runs") else []
        return shlex.join(["autoprune", verb, self.name, *more, *elsewhere])

    def command(self, point: Point) -> str:
        """The command line that rebuilds and measures a candidate, alone with the baseline."""
        shaping = [self._seen_override(override) for override in self.overrides if SHAPING.match(override)]
        recipe = [f"+presets.again={written(point.candidate.recipe)}"] if point.candidate.number else []
        alone = ["presets=none", "study.looks=0", *recipe, "study.trials=0"]
        return self._search(*shaping, *alone, name=f"{self.name}-{point.candidate.number}")

    def _search(self, *overrides: str, name: str) -> str:
        """The command line of a search from here, for this study or one in the same folder."""
        flags = ["--config-dir", self.config_dir] if self.config_dir else []
        runs = self.folder.parent
        elsewhere = [f"study.dir={written(str(runs))}"] if runs != Path("runs") else []
        return shlex.join(["autoprune", *flags, *overrides, f"study.name={name}", *elsewhere])

    def _seen_override(self, override: str) -> str:
        """The override, with its place as seen from here."""
        key, place = key_of(override), (self.places or {}).get(key_of(override))
        if place is None or place == self._given_places.get(key):
            return override
        return f"{override.partition('=')[0]}={written(place)}"
