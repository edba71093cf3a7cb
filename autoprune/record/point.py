"""Points: the candidates of a study, with their readings."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.artifacts.formats import OWN, Obstacle, find_format
from autoprune.artifacts.manifest import read_manifest
from autoprune.errors import AutopruneError
from autoprune.measure.measurement import SEARCH, VERIFY
from autoprune.measure.reading import Reading
from autoprune.record.archive import Candidate

if TYPE_CHECKING:  # importing torch takes long, and showing a front does not need it
    from autoprune.artifacts.served import Served

REJECTED = Obstacle(reason="it was rejected")
UNREADABLE = Obstacle(reason="its artifact is gone or damaged")


@dataclass(frozen=True, kw_only=True)
class Point:
    """A candidate of a study, with its readings.

    Attributes:
        candidate: recipe and measurements.
        found: its readings in the search: quality on validation data. If the search did not time latency, these are
            the latencies of the verification.
        folder: of its artifact.
        verified: its readings in the verification: quality on test data; empty if it was not verified.
        draws: bootstrapped ratios of the main metric on test data; the samples are the same for all verified points.
    """

    candidate: Candidate
    found: dict[str, Reading]
    folder: Path
    verified: dict[str, Reading] = field(default_factory=dict)
    draws: tuple[float, ...] = ()

    @property
    def number(self) -> int:
        """The number of the candidate."""
        return self.candidate.number

    @property
    def known(self) -> dict[str, Reading]:
        """The readings that count: the verified ones if there are any."""
        return self.verified or self.found

    @property
    def searched(self) -> dict[str, Reading]:
        """The readings of the search itself: `found` without latencies of the verification."""
        return {name: reading for name, reading in self.found.items() if reading is not self.verified.get(name)}

    @property
    def busy(self) -> bool:
        """Whether the latencies that count were timed while the machine was busy with other work."""
        return self.candidate.latest(VERIFY if self.verified else SEARCH).busy

    def obstacles(self, format: str) -> list[Obstacle]:
        """What keeps its artifact from being written in a format; empty if nothing does."""
        if format == OWN:
            return []
        if self.candidate.rejected:
            return [REJECTED]
        return [UNREADABLE] if self._manifest is None else find_format(format).obstacles(self._manifest)

    @cached_property
    def _manifest(self) -> dict[str, Any] | None:
        try:
            return read_manifest(self.folder)
        except AutopruneError:
            return None

    def load(self) -> Served:
        """The artifact, ready to answer.

        Raises:
            AutopruneError: it is missing or damaged.
        """
        from autoprune.artifacts import artifact

        self._check_kept("--to", "DIR")
        return artifact.load(self.folder)

    def save(self, to: str | os.PathLike[str], *, format: str = OWN, bare: bool = False) -> Path:
        """Copies the artifact to a new folder, or writes it there in another format.

        Args:
            to: the new folder.
            format: one of the formats of `--format`.
            bare: whether to leave out the `beside` part, such as titles and histories.

        Raises:
            AutopruneError: the folder exists, the format is unknown or can't hold the artifact, or that is missing.
        """
        form = find_format(format, bare=bare)
        self._check_kept("--to", str(Path(to)), *["--format", format] * (format != OWN), *["--bare"] * bare)
        form.write(self.folder, Path(to))
        return Path(to)

    def _check_kept(self, *flags: str) -> None:
        """Raises an error if the artifact was deleted because its candidate could not win.

        Args:
            flags: of the `pick` command that rebuilds it.

        Raises:
            AutopruneError: the artifact is missing; the message has the command.
        """
        if self.folder.exists():
            return
        if self.candidate.rejected:
            raise AutopruneError(f"candidate {self.number} was rejected and has no artifact; choose another.")
        pick = shlex.join(["autoprune", "pick", str(self.folder.parent.parent), str(self.number), *flags])
        raise AutopruneError(
            f"the artifact of candidate {self.number} is missing: {str(self.folder)!r}; to rebuild it:\n  {pick}"
        )


def columns(point: Point, names: Iterable[str]) -> dict[str, float]:
    """Readings of a point as columns of a table: the value and ratio of each, also verified ones.

    For a verified ratio, `…_low` and `…_high` are the interval of a second measurement, unless it is too wide to say
    anything, and `…_bound` is the bound of the true ratio.

    Args:
        point: whose readings.
        names: of the readings; `quality` is left out, because it is another name of a metric.
    """
    row: dict[str, float] = {}
    kept = [name for name in names if name != "quality" and name in point.found]
    searched = point.searched
    for name in kept:
        if name in searched:
            row[name], row[f"{name}_ratio"] = searched[name].value, searched[name].ratio
    for name in kept:
        if name in point.verified and not name.endswith("_bytes"):  # sizes are the same as in the search
            label = f"{'verified' if name.startswith('latency_ms') else 'test'}_{name}"
            reading = point.verified[name]
            row[label], row[f"{label}_ratio"] = reading.value, reading.ratio
            if reading.interval and not reading.vague:
                row[f"{label}_low"], row[f"{label}_high"] = reading.interval
            row[f"{label}_bound"] = reading.sure_bound(upper=name.startswith("latency_ms"))
    # nan: the slice is empty, or the bound is unknown.
    return {name: value for name, value in row.items() if not math.isnan(value)}


def all_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of all rows, in the order of the longest rows; the baseline lacks intervals."""
    return list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
